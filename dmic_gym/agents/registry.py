"""Agents by name, or of one's own as ``module:object``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence

from dmic_gym.agents.baselines import Agent, FixedOffsetAgent, RandomAgent, ROIAgent
from dmic_gym.errors import InvalidInputError, unknown_name
from dmic_gym.loading import load_object

AGENTS: dict[str, Callable[[Sequence[int]], Agent]] = {
    "anchor": FixedOffsetAgent,
    "random": RandomAgent,
    "roi": ROIAgent,
}


def make_agent(spec: str, qp_offsets: Sequence[int]) -> Agent:
    """Return the agent named by `spec`.

    Args:
        spec: a name (`AGENTS`), or ``module:object``: an object with Stable-Baselines3's
            ``predict``, or a class or function that returns one when called without arguments.
        qp_offsets: the environment's action table.

    Raises:
        InvalidInputError: there is no such agent, or the object has no ``predict``.
    """
    if ":" not in spec:
        if spec not in AGENTS:
            raise unknown_name("agent", spec, [*AGENTS, "module:object"])
        return AGENTS[spec](qp_offsets)
    found = load_object(spec)
    agent = found() if inspect.isclass(found) or not hasattr(found, "predict") else found
    if not isinstance(agent, Agent):
        raise InvalidInputError(
            f"{spec!r} is a {type(agent).__name__} without predict(observation, state, "
            "episode_start, deterministic): give it one, as Stable-Baselines3's models have."
        )
    return agent
