"""Agents by name, or of one's own as ``module:object``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from dmic_gym.agents.baselines import Agent, FixedOffsetAgent, RandomAgent, ROIAgent
from dmic_gym.agents.planning import (
    OracleAgent,
    Planner,
    RefinedAgent,
    SearchAgent,
    SteppingPlanner,
)
from dmic_gym.agents.policy.shipped import check_name, policy_names
from dmic_gym.agents.search.posterior_cache import PosteriorCache
from dmic_gym.envs.evaluator import Evaluator
from dmic_gym.envs.settings import DEFAULT_QP_OFFSETS
from dmic_gym.errors import InvalidInputError, unknown_name
from dmic_gym.io import load_object

AGENTS: dict[str, Callable[[Sequence[int], int], Agent | Planner]] = {
    "anchor": lambda qp_offsets, _: FixedOffsetAgent(qp_offsets),
    "random": RandomAgent,
    "roi": lambda qp_offsets, _: ROIAgent(qp_offsets),
    "oracle": lambda *_: OracleAgent(),
}
"""Agents by name; each takes the action table and a seed."""

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

_POLICY_FILES = {".safetensors", ".pt", ".pth", ".zip"}
_SEARCH = "search"
_REFINED = re.compile(r"(?P<inner>.+)\+refine:(?P<budget>[^:+]*)")


def make_agent(
    spec: str,
    evaluator: Evaluator,
    *,
    qp_offsets: Sequence[int] = DEFAULT_QP_OFFSETS,
    posteriors: PosteriorCache | None = None,
    seed: int = 0,
    strict: bool = False,
) -> Planner:
    """Return the agent named by `spec`, as a planner.

    Args:
        spec: a name (`AGENTS`, `policy_names`), ``search:N``, a policy's file, ``module:object``
            (an object with Stable-Baselines3's ``predict``, or a class or function that returns
            one when called without arguments) or ``plan`` (a `Planner`), and ``+refine:N`` behind
            any of these.
        evaluator: what the agent will plan with.
        qp_offsets: the action table of agents that step.
        posteriors: shared posterior maps; None makes one.
        seed: of agents of ours that draw (random, search, refine).
        strict: refuse a policy that was trained for another CTU size or for other QP offsets,
            instead of warning.

    Raises:
        InvalidInputError: there is no such agent, or the object has no ``predict``.
    """
    posteriors = posteriors or PosteriorCache(evaluator.segmenter)
    if refined := _REFINED.fullmatch(spec):
        inner = make_agent(
            refined["inner"],
            evaluator,
            qp_offsets=qp_offsets,
            posteriors=posteriors,
            seed=seed,
            strict=strict,
        )
        return RefinedAgent(inner, _budget(spec, refined["budget"]), posteriors, seed)
    name, colon, argument = spec.partition(":")
    if name == _SEARCH:
        return SearchAgent(_budget(spec, argument), posteriors, seed)
    if colon:
        return as_planner(_load_agent(spec), qp_offsets)
    check_name(spec)
    if spec in policy_names() or Path(spec).suffix in _POLICY_FILES:
        policy = _load_policy(spec, qp_offsets, evaluator.codec.ctu_size, strict)
        return as_planner(policy, qp_offsets)
    if spec not in AGENTS:
        raise unknown_name("agent", spec, [*DESCRIPTIONS, *policy_names()])
    return as_planner(AGENTS[spec](qp_offsets, seed), qp_offsets)


def as_planner(agent: Agent | Planner, qp_offsets: Sequence[int]) -> Planner:
    """Return a planner itself, or the planner that steps an agent through an image."""
    return agent if isinstance(agent, Planner) else SteppingPlanner(agent, qp_offsets)


def _load_policy(spec: str, qp_offsets: Sequence[int], ctu_size: int, strict: bool) -> Agent:
    from dmic_gym.agents.policy.loading import Spaces, load_policy

    return load_policy(spec, Spaces(qp_offsets, ctu_size), device="cpu", strict=strict).policy


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
