"""Coding one cell, with what the cells of one encoder and one pair of networks share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from dmic_gym.agents.planning import Planner
from dmic_gym.agents.registry import make_agent
from dmic_gym.agents.search.posterior_cache import PosteriorCache
from dmic_gym.agents.video_planning import GopPlanner
from dmic_gym.agents.video_registry import make_gop_planner
from dmic_gym.bench.cells import Cell, Row, find_still
from dmic_gym.bench.clips import code_clip, replay_clip
from dmic_gym.bench.datasets import Source
from dmic_gym.codecs.base import Encoded
from dmic_gym.envs.evaluator import Evaluator
from dmic_gym.envs.parallel import processor_seconds
from dmic_gym.envs.results import EncodeResult, Figures, Reference, encode_result
from dmic_gym.envs.settings import DEFAULT_QP_OFFSETS, make_codec
from dmic_gym.envs.video_evaluator import VideoEvaluator
from dmic_gym.tasks.data.clip import Clip
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.segmenters.find import find_segmenter

_KEPT = 4


class Workbench:
    """Encoder, networks and agents, with all that they keep of images seen.

    Attributes:
        evaluator: encoder and segmenter.
        qp_offsets: the action table of agents that step.
        second: the same with the network that only scores, or None.
        agent_provenance: what each agent brings into a cell's identity, by spec, seed, and
            whether it codes clips.

    Args:
        codec: ``"x265"`` or ``"ffmpeg"``.
        ctu_size: of the encoder.
        preset: of the encoder.
        segmenter: see `find_segmenter`.
        second: the same, for the network that only scores; empty for none.
    """

    qp_offsets = DEFAULT_QP_OFFSETS

    def __init__(self, codec: str, ctu_size: int, preset: str, segmenter: str, second: str) -> None:
        network = find_segmenter(segmenter, dtype="float32")  # so that machines agree
        self.evaluator = Evaluator(make_codec(codec, ctu_size, preset), network)
        self.second = None
        if second:
            held_out = find_segmenter(second, dtype="float32")
            self.second = Evaluator(self.evaluator.codec, held_out)
        self.agent_provenance: dict[tuple[str, int, bool], dict[str, Any]] = {}
        self._posteriors = PosteriorCache(network)
        self._planners: dict[tuple[str, int, bool], Planner] = {}
        self._gop_planners: dict[tuple[str, int, bool], GopPlanner] = {}

    @cached_property
    def video(self) -> VideoEvaluator:
        """Encoder and segmenter of clips; raise InvalidInputError if the codec codes stills."""
        return VideoEvaluator(self.evaluator.codec, self.evaluator.segmenter)

    @cached_property
    def second_video(self) -> VideoEvaluator | None:
        """The same with the network that only scores, or None."""
        if self.second is None:
            return None
        return VideoEvaluator(self.evaluator.codec, self.second.segmenter)

    def planner_of(self, cell: Cell, *, strict: bool = False) -> Planner | GopPlanner:
        """Return the agent of a cell, of images or of clips."""
        make = self.planner if cell.gop is None else self.gop_planner
        return make(cell.agent, cell.seed, strict=strict)

    def gop_planner(self, spec: str, seed: int, *, strict: bool = False) -> GopPlanner:
        """Return the agent of clips of that spec and seed; see `make_gop_planner`."""
        key = (spec, seed, strict)
        if key not in self._gop_planners:
            self._gop_planners[key] = make_gop_planner(
                spec, self.video, qp_offsets=self.qp_offsets, seed=seed, strict=strict
            )
        return self._gop_planners[key]

    def planner(self, spec: str, seed: int, *, strict: bool = False) -> Planner:
        """Return the agent of that spec and seed; see `make_agent`."""
        key = (spec, seed, strict)
        if key not in self._planners:
            self._planners[key] = make_agent(
                spec,
                self.evaluator,
                qp_offsets=self.qp_offsets,
                posteriors=self._posteriors,
                seed=seed,
                strict=strict,
            )
        return self._planners[key]

    def code(self, cell: Cell, source: Source) -> Row:
        """Code a cell's image or clip.

        Raises:
            CodecError: an encoder or decoder failed.
            SegmenterError: a segmenter failed.
        """
        if cell.is_still:
            return self.replay(cell, source, [])
        if isinstance(source, Clip):
            chooser = self.gop_planner(cell.agent, cell.seed)
            return code_clip(self.video, chooser, source, cell, self.second_video)
        planner = self.planner(cell.agent, cell.seed)
        return code_image(self.evaluator, planner, source, cell.point, self.second)

    def replay(self, cell: Cell, source: Source, qp_map: list[Any]) -> Row:
        """Code a cell's image with a given map (a still codec at the cell's quality): no agent.

        Of a clip, `qp_map` holds a map for each frame.

        Raises:
            InvalidInputError: the map does not fit the image.
            CodecError: an encoder or decoder failed.
            SegmenterError: a segmenter failed.
        """
        if isinstance(source, Clip):
            return replay_clip(self.video, source, cell, qp_map, self.second_video)
        reference = self.evaluator.reference(source)
        begin = processor_seconds()
        result = self.result(cell, reference, qp_map)
        seconds = processor_seconds() - begin
        return make_row(source, result, self.second, encodes=1, seconds=seconds)

    def result(self, cell: Cell, reference: Reference, qp_map: list[list[int]]) -> EncodeResult:
        """Return what `replay` makes a row of: bitstream, reconstruction and mask."""
        if not cell.is_still:
            return self.evaluator.score(reference, np.array(qp_map))
        still = find_still(cell.codec)
        data = still.encode(reference.sample.image, cell.point)
        decoded = still.decode(data)
        encoded = Encoded(data, decoded, 8 * len(data), 8 * still.payload_size(data))
        probability = self.evaluator.segment([decoded], reference.sample)[0]
        return encode_result(reference, encoded, probability, np.zeros((0, 0), np.int16))


def code_image(
    evaluator: Evaluator,
    planner: Planner,
    sample: Sample,
    base_qp: int,
    second: Evaluator | None = None,
) -> Row:
    """Let a planner code an image.

    Raises:
        CodecError: the encoder or decoder failed.
        SegmenterError: the segmenter failed.
    """
    reference = evaluator.reference(sample)
    evaluator.anchor(reference, base_qp)  # first-visit cost, kept out of the time below
    begin = processor_seconds()
    plan = planner.plan(evaluator, reference, base_qp)
    seconds = processor_seconds() - begin + plan.seconds_saved
    return make_row(sample, plan.result, second, encodes=plan.encodes, seconds=seconds)


def make_row(
    sample: Sample,
    result: EncodeResult,
    second: Evaluator | None,
    *,
    encodes: int,
    seconds: float,
) -> Row:
    """Return the row of one encode.

    Args:
        sample: the image.
        result: of the encode.
        second: scores the reconstruction with a segmenter that no agent asks. A gain that it does
            not see is luck with the first one, not information kept in the image.
        encodes: see `Row`.
        seconds: see `Row`.
    """
    seen = None if second is None else _seen_by(second, sample, result)
    return Row(
        second_dice=None if seen is None else seen.dice,
        second_consistency_dice=None if seen is None else seen.consistency_dice,
        encodes=encodes,
        seconds=seconds,
        qp_map=result.qp_map.tolist(),
        sha256=hashlib.sha256(result.encoded.bitstream).hexdigest(),
        **asdict(result.figures),
    )


def _seen_by(second: Evaluator, sample: Sample, result: EncodeResult) -> Figures:
    probability = second.segment([result.encoded.reconstruction], sample)[0]
    reference = second.reference(sample)
    return encode_result(reference, result.encoded, probability, result.qp_map).figures


def workbench(cell: Cell) -> Workbench:
    """Return the workbench for a cell, made once in a process while it is among the last few."""
    encoder = ("x265", 64, "medium") if cell.is_still else (cell.codec, cell.ctu_size, cell.preset)
    return _workbench(*encoder, cell.segmenter, cell.second)


_workbench: Callable[..., Workbench] = lru_cache(_KEPT)(Workbench)
