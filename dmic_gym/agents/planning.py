"""Planners: whoever chooses the QP map of an image, CTU by CTU or with the encoder in the loop."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from dmic_gym.agents.baselines import Agent
from dmic_gym.agents.search.objective import Objective, PosteriorMap, R, SearchObjective, Trial
from dmic_gym.agents.search.refine import MIN_SEARCH_QP, STEPS_FROM_A_PLAN, refine
from dmic_gym.agents.search.tables import COARSE_TABLE_QPS, TABLE_QPS, allocate, build_tables
from dmic_gym.agents.stepping import stepper_of
from dmic_gym.envs.evaluator import EncodeResult, Evaluator, Reference
from dmic_gym.envs.image_view import view_of
from dmic_gym.envs.observations import ObservationBuilder
from dmic_gym.envs.rewards import bit_price
from dmic_gym.errors import InvalidInputError
from dmic_gym.types import Mask


@dataclass(frozen=True, eq=False)
class Plan:
    """What a planner settled on.

    Attributes:
        result: of the map it chose.
        encodes: spent on finding it, its own included.
        seconds_saved: what encodes that an earlier plan had made would have taken.
    """

    result: EncodeResult
    encodes: int
    seconds_saved: float = 0.0

    @classmethod
    def of(cls, trial: Trial[EncodeResult], objective: Objective) -> Plan:
        """Settle on a trial of an objective."""
        return cls(trial.result, objective.encodes, objective.seconds_saved)


@runtime_checkable
class Planner(Protocol):
    """Whoever chooses the QP map of an image."""

    def plan(self, evaluator: Evaluator, reference: Reference, base_qp: int) -> Plan:
        """Choose a QP map and code the image with it.

        Args:
            evaluator: encoder and segmenter.
            reference: the image, from ``evaluator.reference(sample)``.
            base_qp: the anchor's QP.

        Raises:
            CodecError: the encoder or decoder failed.
            SegmenterError: the segmenter failed.
        """
        ...


PosteriorFor = Callable[[Reference], PosteriorMap | Mask]
"""The probability of the structure at each pixel of an image, float (H, W)."""


class SteppingPlanner:
    """An agent that sees `CodingEnv`'s observations, one CTU after the other.

    Args:
        agent: chooses an index into `qp_offsets` for each CTU, in raster order.
        qp_offsets: the action table.
    """

    def __init__(self, agent: Agent, qp_offsets: Sequence[int]) -> None:
        self.agent = agent
        self.qp_offsets = tuple(qp_offsets)

    def plan(self, evaluator: Evaluator, reference: Reference, base_qp: int) -> Plan:
        """Let the agent decide every CTU, then encode once.

        Raises:
            InvalidInputError: an action is no index into the action table.
        """
        builder = ObservationBuilder()
        builder.begin(view_of(reference, evaluator.codec.ctu_size), base_qp)
        stepper = stepper_of(self.agent)
        while not builder.over:
            qp = base_qp + offset_of(stepper.action(builder), self.qp_offsets, self.agent)
            builder.decide(int(np.clip(qp, *evaluator.codec.qp_range)))
        return Plan(evaluator.score(reference, builder.qp_map()), 1)


def offset_of(action: Any, qp_offsets: Sequence[int], agent: object) -> int:
    """Return the offset that an agent's action means; raise InvalidInputError if it means none."""
    try:
        return dict(enumerate(qp_offsets))[operator.index(np.asarray(action).item())]
    except (TypeError, ValueError, KeyError) as error:
        raise InvalidInputError(
            f"{type(agent).__name__}.predict returned the action {action!r}: return an "
            f"integer index into qp_offsets, 0..{len(qp_offsets) - 1}."
        ) from error


class SearchAgent:
    """Encode-time search with the real encoder and segmenter, without the expert mask.

    Uniform encodes fill tables, the tables propose a map, and the best of all these is refined.
    It maximises expected Dice under the posterior minus the price of the bits (`Objective`), and
    needs no training.

    Args:
        budget: encodes an image and base QP, tables included; at least `MIN_BUDGET`.
        posterior_for: the encoder's posterior.
        seed: of the order in which maps are tried.
    """

    MIN_BUDGET = len(COARSE_TABLE_QPS) + 1

    def __init__(self, budget: int, posterior_for: PosteriorFor, seed: int = 0) -> None:
        self.budget = check_budget(budget, self.MIN_BUDGET)
        self._posterior_for = posterior_for
        self._seed = seed

    def plan(self, evaluator: Evaluator, reference: Reference, base_qp: int) -> Plan:
        """Search a QP map."""
        objective = make_objective(evaluator, reference, base_qp, self._posterior_for)
        return Plan.of(self.search(objective), objective)

    def search(self, objective: Objective) -> Trial[EncodeResult]:
        """Return the best map found; `objective.trials` holds all that were tried, in order."""
        start = best_of_tables(objective, COARSE_TABLE_QPS)
        return refine(objective, start, self.budget - objective.encodes, self._seed)


class TableAgent:
    """One allocation by tables, without the expert mask and without refinement.

    Uniform encodes at `TABLE_QPS` say what each CTU contributes to the expected Dice at each QP
    and what it costs; the map that they propose is coded once.

    Args:
        posterior_for: the encoder's posterior.
    """

    def __init__(self, posterior_for: PosteriorFor) -> None:
        self._posterior_for = posterior_for

    def plan(self, evaluator: Evaluator, reference: Reference, base_qp: int) -> Plan:
        """Allocate by the posterior."""
        objective = make_objective(evaluator, reference, base_qp, self._posterior_for)
        qp_map = allocate(build_tables(objective), objective)
        return Plan.of(objective.try_map(qp_map), objective)


class OracleAgent:
    """The allocation of one who knows the expert mask: not usable in practice.

    Tables and Lagrangian of `SearchAgent` with the expert mask as posterior, without refinement: a
    measure of what allocation could gain.
    """

    def plan(self, evaluator: Evaluator, reference: Reference, base_qp: int) -> Plan:
        """Allocate by the expert mask; raise InvalidInputError if there is none."""
        objective = make_objective(evaluator, reference, base_qp, _expert_mask)
        return Plan.of(best_of_tables(objective), objective)


class ImprovedAgent(ABC):
    """Any planner's map, improved by `budget` more encodes.

    Args:
        planner: chooses the first map.
        budget: encodes to spend on top of the agent's own.
        posterior_for: the encoder's posterior.
        seed: of what is drawn.
    """

    def __init__(
        self, planner: Planner, budget: int, posterior_for: PosteriorFor, seed: int = 0
    ) -> None:
        self.planner = planner
        self.budget = check_budget(budget, 1)
        self._posterior_for = posterior_for
        self._seed = seed

    def plan(self, evaluator: Evaluator, reference: Reference, base_qp: int) -> Plan:
        """Let the planner choose a map, then improve it."""
        first = self.planner.plan(evaluator, reference, base_qp)
        objective = make_objective(evaluator, reference, base_qp, self._posterior_for)
        found = self._improved(objective, objective.accept(first.result))
        return Plan(found.result, first.encodes + objective.encodes, first.seconds_saved)

    @abstractmethod
    def _improved(self, objective: Objective, start: Trial[EncodeResult]) -> Trial[EncodeResult]:
        """Return the best map found, `start` included."""


class RefinedAgent(ImprovedAgent):
    """Any planner's map, refined; `seed` is of the order in which maps are tried."""

    def _improved(self, objective: Objective, start: Trial[EncodeResult]) -> Trial[EncodeResult]:
        return refine(objective, start, self.budget, self._seed, STEPS_FROM_A_PLAN)


class SampledAgent(ImprovedAgent):
    """The best of a planner's map and `budget` maps drawn around it, all coded at once.

    In each of them every CTU's QP is moved by up to `SPREAD`.
    """

    SPREAD = 4

    def _improved(self, objective: Objective, start: Trial[EncodeResult]) -> Trial[EncodeResult]:
        rng = np.random.default_rng(self._seed)
        moves = rng.integers(-self.SPREAD, self.SPREAD + 1, (self.budget, *start.qp_map.shape))
        maps = np.clip(start.qp_map + moves, MIN_SEARCH_QP, objective.codec.qp_range[1])
        return max([start, *objective.try_maps(list(maps), self.budget)], key=lambda t: t.value)


def best_of_tables(objective: SearchObjective[R], qps: Sequence[int] = TABLE_QPS) -> Trial[R]:
    """Return the best of the uniform maps at `qps` and the map that their tables propose."""
    tables = build_tables(objective, qps)
    trials = objective.try_uniforms(qps)
    return max([*trials, objective.try_map(allocate(tables, objective))], key=lambda t: t.value)


def check_budget(budget: int, least: int) -> int:
    """Return the budget, or raise InvalidInputError if it is below `least`."""
    if budget < least:
        raise InvalidInputError(f"A budget of {budget} encodes is too small. Least: {least}.")
    return budget


def make_objective(
    evaluator: Evaluator, reference: Reference, base_qp: int, posterior_for: PosteriorFor
) -> Objective:
    """Return the objective of an image at a base QP."""
    return Objective(evaluator, reference, posterior_for(reference), bit_price(base_qp))


def _expert_mask(reference: Reference) -> Mask:
    if reference.sample.mask is None:
        raise InvalidInputError(
            f"The oracle needs an expert mask, and {reference.sample.name!r} has none: use search."
        )
    return reference.sample.mask
