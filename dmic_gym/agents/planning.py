"""Agents that plan a whole QP map with the encoder in the loop: oracle, search, refinement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from dmic_gym.agents.baselines import Agent
from dmic_gym.agents.search.objective import Objective, PosteriorMap, Trial
from dmic_gym.agents.search.refine import refine
from dmic_gym.agents.search.tables import COARSE_TABLE_QPS, TABLE_QPS, allocate, build_tables
from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.envs.evaluator import EncodeResult, Reference
from dmic_gym.envs.observations import Observation
from dmic_gym.envs.rewards import bit_price
from dmic_gym.errors import CodecError, InvalidInputError
from dmic_gym.tasks.metrics import Mask


@dataclass(frozen=True, eq=False)
class Plan:
    """What an agent settled on.

    Attributes:
        result: of the map it chose.
        encodes: spent on finding it, its own included.
    """

    result: EncodeResult
    encodes: int


@runtime_checkable
class Planner(Protocol):
    """An agent that codes a whole image at once instead of stepping through its CTUs."""

    def plan(self, env: CodingEnv, observation: Observation) -> Plan:
        """Choose a QP map for the episode that `env` has just been reset to."""
        ...


PosteriorFor = Callable[[Reference], PosteriorMap | Mask]
"""What the encoder believes of an image: float (H, W), the chance of the structure."""


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

    def plan(self, env: CodingEnv, observation: Observation) -> Plan:
        """Search a QP map for the episode's image at its base QP."""
        objective = make_objective(env, self._posterior_for)
        return Plan(self.search(objective).result, objective.encodes)

    def search(self, objective: Objective) -> Trial:
        """Return the best map found; `objective.trials` holds all that were tried, in order."""
        start = best_of_tables(objective, COARSE_TABLE_QPS)
        return refine(objective, start, self.budget - objective.encodes, self._seed)


class OracleAgent:
    """The allocation of one who knows the expert mask: not usable in practice.

    Tables and Lagrangian of `SearchAgent` with the expert mask as posterior, without refinement: a
    measure of what allocation could gain.
    """

    def plan(self, env: CodingEnv, observation: Observation) -> Plan:
        """Allocate for the episode's image; raise InvalidInputError if it has no expert mask."""
        objective = make_objective(env, _expert_mask)
        return Plan(best_of_tables(objective).result, objective.encodes)


class RefinedAgent:
    """Any agent's map, improved by `budget` more encodes.

    Args:
        agent: steps or plans.
        budget: encodes to spend on top of the agent's own.
        posterior_for: the encoder's posterior.
        seed: of the order in which maps are tried.
    """

    def __init__(
        self, agent: Agent | Planner, budget: int, posterior_for: PosteriorFor, seed: int = 0
    ) -> None:
        self.agent = agent
        self.budget = check_budget(budget, 1)
        self._posterior_for = posterior_for
        self._seed = seed

    def plan(self, env: CodingEnv, observation: Observation) -> Plan:
        """Let the agent choose a map, then refine it."""
        first = plan_of(self.agent, env, observation)
        objective = make_objective(env, self._posterior_for)
        start = objective.accept(first.result)
        found = refine(objective, start, self.budget, self._seed)
        return Plan(found.result, first.encodes + objective.encodes)


def plan_of(agent: Agent | Planner, env: CodingEnv, observation: Observation) -> Plan:
    """Return the plan of an agent of either kind for the episode `env` was just reset to.

    Args:
        agent: steps or plans.
        env: just reset.
        observation: what the reset returned.

    Raises:
        CodecError: the encoder, the decoder or the segmenter failed.
    """
    if isinstance(agent, Planner):
        return agent.plan(env, observation)
    state, over, info = None, False, dict[str, Any]()
    while not over:
        action, state = agent.predict(observation, state=state, deterministic=True)
        observation, _, terminated, truncated, info = env.step(action)
        over = terminated or truncated
    if env.result is None:
        raise CodecError(info.get("error", "the episode ended without an encode"))
    return Plan(env.result, info["encodes"])


def best_of_tables(objective: Objective, qps: Sequence[int] = TABLE_QPS) -> Trial:
    """Return the best of the uniform maps at `qps` and the map that their tables propose."""
    tables = build_tables(objective, qps)
    trials = [objective.try_uniform(qp) for qp in qps]
    return max([*trials, objective.try_map(allocate(tables, objective))], key=lambda t: t.value)


def check_budget(budget: int, least: int) -> int:
    """Return the budget, or raise InvalidInputError if it is below `least`."""
    if budget < least:
        raise InvalidInputError(f"A budget of {budget} encodes is too small. Least: {least}.")
    return budget


def make_objective(env: CodingEnv, posterior_for: PosteriorFor) -> Objective:
    """Return the objective of the episode that `env` has just been reset to."""
    posterior = posterior_for(env.reference)
    return Objective(env.evaluator, env.reference, posterior, bit_price(env.base_qp))


def _expert_mask(reference: Reference) -> Mask:
    if reference.sample.mask is None:
        raise InvalidInputError(
            f"The oracle needs an expert mask, and {reference.sample.name!r} has none: use search."
        )
    return reference.sample.mask
