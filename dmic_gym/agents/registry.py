"""Agents by name, or of one's own as ``module:object``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path

from dmic_gym.agents.baselines import Agent, FixedOffsetAgent, RandomAgent, ROIAgent
from dmic_gym.agents.planning import OracleAgent, Planner, RefinedAgent, SearchAgent
from dmic_gym.agents.search.posterior_cache import PosteriorCache
from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.errors import InvalidInputError, unknown_name
from dmic_gym.io import load_object

AGENTS: dict[str, Callable[[CodingEnv, int], Agent | Planner]] = {
    "anchor": lambda env, _: FixedOffsetAgent(env.qp_offsets),
    "random": lambda env, seed: RandomAgent(env.qp_offsets, seed),
    "roi": lambda env, _: ROIAgent(env.qp_offsets),
    "oracle": lambda *_: OracleAgent(),
}

SEEDLESS = frozenset({"anchor", "roi", "oracle"})
"""Agents that draw nothing: the same under every seed."""

DESCRIPTIONS = {
    "anchor": "offset 0 everywhere: x265 at constant QP",
    "random": "a random offset in every CTU",
    "roi": "base QP where the segmenter sees the structure, +12 elsewhere",
    "oracle": "tables with the expert mask: not usable in practice",
    "search:N": "encode-time search without the expert mask, N encodes",
    "NAME+refine:N": "any agent's map, improved by N more encodes",
    "PATH": "a policy's weights: .safetensors, .pt, .pth or .zip",
    "module:object": "anything with Stable-Baselines3's predict",
}

SHIPPED_POLICIES = Path(__file__).parent / "policy" / "weights"
"""Where the weights of policies lie that come with the package."""

_POLICY_FILES = {".safetensors", ".pt", ".pth", ".zip"}
_SEARCH = "search"
_REFINED = re.compile(r"(?P<inner>.+)\+refine:(?P<budget>[^:+]*)")


def make_agent(
    spec: str, env: CodingEnv, posteriors: PosteriorCache | None = None, seed: int = 0
) -> Agent | Planner:
    """Return the agent named by `spec`.

    Args:
        spec: a name (`AGENTS`, `policy_names`), ``search:N``, a policy's file, ``module:object``
            (an object with Stable-Baselines3's ``predict``, or a class or function that returns
            one when called without arguments), and ``+refine:N`` behind any of these.
        env: what the agent will act in; its action table and segmenter are used.
        posteriors: shared posterior maps; None makes one.
        seed: of agents of ours that draw (random, search, refine).

    Raises:
        InvalidInputError: there is no such agent, or the object has no ``predict``.
    """
    posteriors = posteriors or PosteriorCache(env.evaluator.segmenter)
    if refined := _REFINED.fullmatch(spec):
        inner = make_agent(refined["inner"], env, posteriors, seed)
        return RefinedAgent(inner, _budget(spec, refined["budget"]), posteriors, seed)
    name, colon, argument = spec.partition(":")
    if name == _SEARCH:
        return SearchAgent(_budget(spec, argument), posteriors, seed)
    if colon:
        return _load_agent(spec)
    if spec in policy_names() or Path(spec).suffix in _POLICY_FILES:
        return _load_policy(spec, env)
    if spec not in AGENTS:
        raise unknown_name("agent", spec, [*DESCRIPTIONS, *policy_names()])
    return AGENTS[spec](env, seed)


def policy_names() -> list[str]:
    """Return the names of the policies that come with the package."""
    return sorted(path.stem for path in SHIPPED_POLICIES.glob("*.safetensors"))


def _load_policy(spec: str, env: CodingEnv) -> Agent:
    from dmic_gym.agents.policy.loading import load_policy

    return load_policy(spec, env, device="cpu")


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
