"""Agents by name, or of one's own as ``module:object``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

from dmic_gym.agents.baselines import Agent, FixedOffsetAgent, RandomAgent, ROIAgent
from dmic_gym.agents.belief import Beliefs
from dmic_gym.agents.planning import OracleAgent, Planner, RefinedAgent, SearchAgent
from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.errors import InvalidInputError, unknown_name
from dmic_gym.loading import load_object

AGENTS: dict[str, Callable[[CodingEnv], Agent | Planner]] = {
    "anchor": lambda env: FixedOffsetAgent(env.qp_offsets),
    "random": lambda env: RandomAgent(env.qp_offsets),
    "roi": lambda env: ROIAgent(env.qp_offsets),
    "oracle": lambda _: OracleAgent(),
}

DESCRIPTIONS = {
    "anchor": "offset 0 everywhere: x265 at constant QP",
    "random": "a random offset in every CTU",
    "roi": "base QP where the segmenter sees the structure, +12 elsewhere",
    "oracle": "tables with the expert mask: not usable in practice",
    "search:N": "encode-time search without the expert mask, N encodes",
    "NAME+refine:N": "any agent's map, improved by N more encodes",
    "module:object": "anything with Stable-Baselines3's predict",
}

_SEARCH = "search"
_REFINED = re.compile(r"(?P<inner>.+)\+refine:(?P<budget>[^:+]*)")


def make_agent(spec: str, env: CodingEnv, beliefs: Beliefs | None = None) -> Agent | Planner:
    """Return the agent named by `spec`.

    Args:
        spec: a name (`AGENTS`), ``search:N``, ``module:object`` (an object with
            Stable-Baselines3's ``predict``, or a class or function that returns one when called
            without arguments), and ``+refine:N`` behind any of these.
        env: what the agent will act in; its action table and segmenter are used.
        beliefs: shared posterior maps; None makes one.

    Raises:
        InvalidInputError: there is no such agent, or the object has no ``predict``.
    """
    beliefs = beliefs or Beliefs(env.task.segmenter)
    if refined := _REFINED.fullmatch(spec):
        inner = make_agent(refined["inner"], env, beliefs)
        return RefinedAgent(inner, _budget(spec, refined["budget"]), beliefs)
    name, colon, argument = spec.partition(":")
    if name == _SEARCH:
        return SearchAgent(_budget(spec, argument), beliefs)
    if colon:
        return _load_agent(spec)
    if spec not in AGENTS:
        raise unknown_name("agent", spec, DESCRIPTIONS)
    return AGENTS[spec](env)


def _budget(spec: str, text: str) -> int:
    if not text.isdecimal():
        raise InvalidInputError(
            f"Agent {spec!r} needs a number of encodes behind the colon, as in search:50."
        )
    return int(text)


def _load_agent(spec: str) -> Agent | Planner:
    found = load_object(spec)
    ready = hasattr(found, "predict") or hasattr(found, "plan")
    agent = found() if inspect.isclass(found) or (not ready and callable(found)) else found
    if not isinstance(agent, Agent | Planner):
        raise InvalidInputError(
            f"{spec!r} is a {type(agent).__name__} without predict(observation, state, "
            "episode_start, deterministic): give it one, as Stable-Baselines3's models have."
        )
    return agent
