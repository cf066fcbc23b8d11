"""QP maps for the frames of pictures, and how much of the diagnosis they keep."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from dmic_gym.agents.policy.shipped import policy_names
from dmic_gym.codecs.base import uniform_map
from dmic_gym.deploy.pictures import Picture
from dmic_gym.envs.evaluator import Evaluator
from dmic_gym.envs.settings import DEFAULT_QP_OFFSETS, make_codec
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.metrics import binarize, expected_dice
from dmic_gym.tasks.segmenters.find import find_segmenter
from dmic_gym.tasks.segmenters.protocol import SegmenterSpec
from dmic_gym.types import Image, QPMap

if TYPE_CHECKING:
    from dmic_gym.agents.baselines import Agent
    from dmic_gym.agents.planning import Planner
    from dmic_gym.agents.search.posterior_cache import PosteriorCache

AnyAgent: TypeAlias = "str | Agent | Planner"

ANCHOR = "anchor"
_POLICY = "dmic"


def default_agent() -> str:
    """Return who codes where nobody is named: the shipped policy if any, else the anchor."""
    return _POLICY if _POLICY in policy_names() else ANCHOR


class Allocator:
    """Lets an agent choose QP maps, and the segmenter judge what is left.

    Both see the upper 8 bits of a picture. No network is loaded where the
    anchor codes and nobody asks for Dice.

    Args:
        agent: who chooses.
        ctu_size: 64, 32 or 16.
        preset: x265's.
        segmenter: the diagnosis network; None is the shipped one.
        strict: refuse a policy that was trained for another CTU size, instead of warning.
        workers: threads that the trials of a search are coded in.
    """

    def __init__(
        self,
        agent: AnyAgent,
        ctu_size: int,
        preset: str,
        segmenter: SegmenterSpec,
        strict: bool = False,
        workers: int = 1,
    ) -> None:
        self.agent = agent
        self.ctu_size = ctu_size
        self.preset = preset
        self._segmenter = segmenter
        self._strict = strict
        self._workers = workers

    def prepare(self) -> None:
        """Load the agent now; raise InvalidInputError if there is none of that name."""
        if self.agent != ANCHOR:
            _ = self._planner

    def qp_maps(self, picture: Picture, qp: int) -> Iterator[QPMap]:
        """Yield one map a frame, absolute QPs, for a base QP; each is planned when asked for.

        Raises:
            InvalidInputError: there is no such agent, or it needs an expert mask.
            CodecError: the encoder or decoder failed.
            SegmenterError: the segmenter failed.
        """
        for sample in samples_of(picture):
            if self.agent == ANCHOR:
                yield uniform_map(picture.shape, self.ctu_size, qp)
            else:
                yield self._planned(sample, qp)

    def retained_dice(self, picture: Picture, reconstruction: Picture) -> float:
        """Return the lowest of the frames' retained Dice; see `dmic_gym.encode`."""
        frames = zip(samples_of(picture), reconstruction.eight_bit, strict=True)
        return min(self._retained(sample, decoded) for sample, decoded in frames)

    @cached_property
    def evaluator(self) -> Evaluator:
        """Encoder and segmenter."""
        codec = make_codec("x265", self.ctu_size, self.preset)
        return Evaluator(codec, find_segmenter(self._segmenter), workers=self._workers)

    def close(self) -> None:
        """Free the encoders and threads that agents used."""
        if "evaluator" in self.__dict__:
            self.evaluator.close()
            self.evaluator.codec.close()

    @cached_property
    def _posteriors(self) -> PosteriorCache:
        from dmic_gym.agents.search.posterior_cache import PosteriorCache

        return PosteriorCache(self.evaluator.segmenter)

    @cached_property
    def _planner(self) -> Planner:
        from dmic_gym.agents.registry import as_planner, make_agent

        if isinstance(self.agent, str):
            return make_agent(
                self.agent, self.evaluator, posteriors=self._posteriors, strict=self._strict
            )
        return as_planner(self.agent, DEFAULT_QP_OFFSETS)

    def _planned(self, sample: Sample, qp: int) -> QPMap:
        reference = self.evaluator.reference(sample)
        return self._planner.plan(self.evaluator, reference, qp).result.qp_map

    def _retained(self, sample: Sample, decoded: Image) -> float:
        reference = self.evaluator.reference(sample)
        posterior = self._posteriors(reference)
        kept = expected_dice(binarize(self.evaluator.segment([decoded])[0]), posterior)
        whole = expected_dice(reference.mask, posterior)
        return min(kept / whole, 1.0) if whole else 1.0


def samples_of(picture: Picture) -> list[Sample]:
    """Return the frames as samples without expert masks."""
    return [Sample(frame, name=f"frame {n}") for n, frame in enumerate(picture.eight_bit, 1)]
