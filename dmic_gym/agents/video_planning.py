"""Planners of video: whoever chooses the QP maps of a group of pictures (GOP)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from dmic_gym.agents.planning import best_of_tables, check_budget
from dmic_gym.agents.search.gop_objective import GopObjective
from dmic_gym.agents.search.objective import PosteriorMap
from dmic_gym.agents.search.refine import refine
from dmic_gym.agents.search.tables import COARSE_TABLE_QPS, allocate, build_tables
from dmic_gym.codecs.base import Codec, map_shape
from dmic_gym.envs.video_evaluator import GopReference, GopResult, GopSession, VideoEvaluator
from dmic_gym.errors import InvalidInputError
from dmic_gym.types import Image, Mask, Probability, QPMap


@dataclass(frozen=True, eq=False)
class GopPlan:
    """What a planner settled on.

    Attributes:
        result: of the maps it chose.
        encodes: how often the group was coded to find them, its own time included.
        seconds_saved: what encodes that an earlier plan had made would have taken.
    """

    result: GopResult
    encodes: float
    seconds_saved: float = 0.0


@runtime_checkable
class GopPlanner(Protocol):
    """Whoever chooses the QP maps of a group of pictures."""

    def plan(self, evaluator: VideoEvaluator, reference: GopReference, base_qp: int) -> GopPlan:
        """Choose a QP map for each frame and code the group with them.

        Args:
            evaluator: encoder and segmenter.
            reference: the group, from ``evaluator.reference(gop)``.
            base_qp: the anchor's QP.

        Raises:
            CodecError: the encoder or decoder failed.
            SegmenterError: the segmenter failed.
        """
        ...


@dataclass(frozen=True, eq=False)
class NextFrame:
    """What a rule may know of the frame that is to be coded next.

    Attributes:
        index: of the frame in its group, 0 for the intra frame.
        image: uint8 (H, W), the frame as it was recorded.
        importance: float32 (H, W), by default the segmenter's probability on the reconstruction
            of the frame before; see `VideoEvaluator`.
        base_qp: the anchor's QP.
        codec: the encoder.
    """

    index: int
    image: Image
    importance: Probability
    base_qp: int
    codec: Codec

    @classmethod
    def of(cls, session: GopSession, base_qp: int, codec: Codec) -> NextFrame:
        """Look at the next frame of a session."""
        return cls(session.index, session.frame, session.importance, base_qp, codec)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the QP map, (rows, cols)."""
        height, width = self.image.shape
        return map_shape((height, width), self.codec.ctu_size)


Rule = Callable[[NextFrame], QPMap]
"""Chooses a frame's QPs, int16 (rows, cols) within the codec's range."""


class RulePlanner:
    """Asks a rule for the QP map of each frame when its turn has come: one encode.

    Args:
        rule: chooses the QPs.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule

    def plan(self, evaluator: VideoEvaluator, reference: GopReference, base_qp: int) -> GopPlan:
        """Code the group by the rule."""
        with evaluator.open(reference, base_qp) as session:
            while not session.over:
                session.encode(self.rule(NextFrame.of(session, base_qp, evaluator.codec)))
            return GopPlan(session.result(), 1)


class GopTableAgent:
    """`TableAgent` of a group: one map for all frames, by tables summed over them.

    The posterior is the segmenter's probability on the original frames.
    """

    def plan(self, evaluator: VideoEvaluator, reference: GopReference, base_qp: int) -> GopPlan:
        """Allocate by tables of uniform encodes, and code the group once with the map."""
        objective = GopObjective(evaluator, reference, reference.importance, base_qp)
        return _coded(objective, allocate(build_tables(objective), objective))


class GopOracleAgent:
    """`OracleAgent` of a group, which knows the expert masks: not usable in practice."""

    def plan(self, evaluator: VideoEvaluator, reference: GopReference, base_qp: int) -> GopPlan:
        """Allocate by the expert masks; raise InvalidInputError if there are none."""
        masks: Mask | PosteriorMap | None = reference.gop.masks
        if masks is None:
            raise InvalidInputError(
                f"The oracle needs expert masks, and {reference.name!r} has none: use search."
            )
        objective = GopObjective(evaluator, reference, masks, base_qp)
        return _coded(objective, best_of_tables(objective).qp_map)


class GopSearchAgent:
    """`SearchAgent` of a group: one map for all frames, refined by coding the group again.

    Args:
        budget: encodes of a group at a base QP, tables and the last one included; at least
            `MIN_BUDGET`.
        seed: of the order in which maps are tried.
    """

    MIN_BUDGET = len(COARSE_TABLE_QPS) + 2

    def __init__(self, budget: int, seed: int = 0) -> None:
        self.budget = check_budget(budget, self.MIN_BUDGET)
        self._seed = seed

    def plan(self, evaluator: VideoEvaluator, reference: GopReference, base_qp: int) -> GopPlan:
        """Search a QP map, and code the group once more with the best."""
        objective = GopObjective(evaluator, reference, reference.importance, base_qp)
        start = best_of_tables(objective, COARSE_TABLE_QPS)
        found = refine(objective, start, self.budget - 1 - objective.encodes, self._seed)
        return _coded(objective, found.qp_map)


def _coded(objective: GopObjective, qp_map: QPMap) -> GopPlan:
    result = objective.code(qp_map)
    return GopPlan(result, objective.encodes + 1, objective.seconds_saved)
