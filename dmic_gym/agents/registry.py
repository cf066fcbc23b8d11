"""Agents by name, from files, or of one's own as ``module:object``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from dmic_gym.agents.baselines import Agent, FixedOffsetAgent, RandomAgent, ROIAgent
from dmic_gym.agents.planning import (
    OracleAgent,
    Planner,
    RefinedAgent,
    SampledAgent,
    SearchAgent,
    SteppingPlanner,
    TableAgent,
)
from dmic_gym.agents.policy.shipped import policy_names
from dmic_gym.agents.recoding import RecodedAgent
from dmic_gym.agents.search.posterior_cache import PosteriorCache
from dmic_gym.envs.evaluator import Evaluator
from dmic_gym.envs.settings import DEFAULT_QP_OFFSETS
from dmic_gym.errors import InvalidInputError, unknown_name
from dmic_gym.io import load_object


@dataclass(frozen=True)
class AgentContext:
    """What agents by name are made of.

    Attributes:
        qp_offsets: the action table.
        posteriors: the posterior of each image.
        seed: of agents that draw.
        ctu_size: of the encoder.
        strict: whether a policy that was trained for another is refused.
        video: whether clips are coded, so that agents see `VideoCodingEnv`'s observations.
    """

    qp_offsets: Sequence[int]
    posteriors: PosteriorCache
    seed: int
    ctu_size: int
    strict: bool
    video: bool = False


def _roi(context: AgentContext, offset: str = "12", threshold: str = "0.5") -> Agent:
    if not 0.0 <= float(threshold) <= 1.0:
        raise InvalidInputError(f"The threshold {threshold} is outside 0..1. Write roi:12:0.3.")
    return ROIAgent(context.qp_offsets, int(offset), float(threshold))


def _search(context: AgentContext, budget: str) -> Planner:
    return SearchAgent(int(budget), context.posteriors, context.seed)


AGENTS: dict[str, Callable[..., Agent | Planner]] = {
    "anchor": lambda context: FixedOffsetAgent(context.qp_offsets),
    "random": lambda context: RandomAgent(context.qp_offsets, context.seed),
    "roi": _roi,
    "table": lambda context: TableAgent(context.posteriors),
    "oracle": lambda _: OracleAgent(),
    "search": _search,
}
"""Agents by name; each takes an `AgentContext` and what stands behind colons, as text."""

DESCRIPTIONS = {
    "anchor": "offset 0 everywhere: x265 at constant QP",
    "random": "a random offset in every CTU",
    "roi": "base QP where the segmenter sees the structure, +12 elsewhere",
    "roi:N[:T]": "the same with +N, and where its probability reaches T (0.5)",
    "table": "one allocation by tables of uniform encodes, without mask; 12 encodes",
    "oracle": "tables with the expert mask: not usable in practice",
    "search:N": "encode-time search without the expert mask, N encodes",
    "NAME+refine:N": "any agent's map, improved by N more encodes",
    "NAME+sample:N": "the best of any agent's map and N drawn around it, all coded at once",
    "NAME+recoded": "its map found with x265 medium, coded by the encoder at hand",
    "PATH": "a policy's .safetensors, .pt or .pth, or a model's .zip (A2C, PPO, DQN)",
    "module:object": "anything with predict(observation)",
    "module:CLASS@FILE": "a file that a class of one's own reads or is named in",
}

CLIPS_ONLY = ("cap", "graded", "cascade", "levels")
"""Names of agents that code clips and no images; see `dmic_gym.agents.video_registry`."""

_FORMS = {
    "roi": "roi, roi:6 or roi:12:0.3",
    "search": "search:50, with a number of encodes",
    "cap": "cap, cap:10 or cap:10:36",
    "graded": "graded, graded:2 or graded:2:4",
    "levels": "levels:frame.zip:ctu.zip",
}
_POLICY_FILES = {".safetensors", ".pt", ".pth", ".zip"}
_DRAWING = re.compile(r"(random|search:.*|.*\+(refine|sample):.*)", re.DOTALL)
_RECODED = "+recoded"
_REFINED = re.compile(r"(?P<inner>.+)\+(?P<how>refine|sample):(?P<budget>[^:+]*)")


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
        spec: a key of `DESCRIPTIONS`: a name (`AGENTS`, `policy_names`), a policy's file,
            ``module:object`` (an object with ``predict``, or a class or function that returns
            one when called without arguments) or with ``plan`` (a `Planner`),
            ``module:Class@file``, and ``+refine:N`` or ``+recoded`` behind any of these.
        evaluator: what the agent will plan with.
        qp_offsets: the action table of agents that step.
        posteriors: shared posterior maps; None makes one.
        seed: of agents of ours that draw (random, search, refine, sample).
        strict: refuse a policy that was trained for another CTU size or for other QP offsets,
            instead of warning.

    Raises:
        InvalidInputError: there is no such agent, or the object has no ``predict``.
        WeightsError: a policy's file is damaged, would run code, or does not fit.
    """
    posteriors = posteriors or PosteriorCache(evaluator.segmenter)
    ctu_size = evaluator.codec.ctu_size
    context = AgentContext(qp_offsets, posteriors, seed, ctu_size, strict)
    return as_planner(_find(spec, context), qp_offsets)


def as_planner(agent: Agent | Planner, qp_offsets: Sequence[int]) -> Planner:
    """Return a planner itself, or the planner that steps an agent through an image."""
    return agent if isinstance(agent, Planner) else SteppingPlanner(agent, qp_offsets)


def draws(spec: str) -> bool:
    """Whether an agent may be another under another seed; those of one's own are not asked."""
    name, colon, _ = spec.partition(":")
    return bool(_DRAWING.fullmatch(spec)) or bool(colon and name not in (*AGENTS, *CLIPS_ONLY))


def file_of(spec: str) -> Path | None:
    """Return the file of ``module:Class@file``, refined or not; None for other agents."""
    spec = spec.removesuffix(_RECODED)
    while refined := _REFINED.fullmatch(spec):
        spec = refined["inner"].removesuffix(_RECODED)
    place, at, path = spec.partition("@")
    return Path(path) if at and ":" in place else None


def _find(spec: str, context: AgentContext) -> Agent | Planner:
    name = spec.partition(":")[0]
    if spec.endswith(_RECODED):
        decider = _find(spec.removesuffix(_RECODED), context)
        return RecodedAgent(as_planner(decider, context.qp_offsets))
    if refined := _REFINED.fullmatch(spec):
        inner = as_planner(_find(refined["inner"], context), context.qp_offsets)
        budget = _budget(spec, refined["budget"])
        improve = RefinedAgent if refined["how"] == "refine" else SampledAgent
        return improve(inner, budget, context.posteriors, context.seed)
    if name in AGENTS:
        return named(spec, AGENTS, context)
    if name in CLIPS_ONLY:
        raise InvalidInputError(
            f"The agent {spec!r} codes clips, and these are images, which take: "
            f"{', '.join(DESCRIPTIONS)}."
        )
    found = find_own(spec, context)
    if found is None:
        raise unknown_name("agent", spec, [*DESCRIPTIONS, *policy_names()])
    return _checked(found, spec)


def find_own(spec: str, context: AgentContext) -> object:
    """Return what shipped weights, a file, or a module of the user's hold; None for other names."""
    if ":" in spec and "@" in spec:
        return _of_class(spec, context)
    if spec in policy_names() or Path(spec).suffix in _POLICY_FILES:
        return _of_file(spec, context)
    return _of_object(spec) if ":" in spec else None


Made = TypeVar("Made")


def named(spec: str, agents: Mapping[str, Callable[..., Made]], context: object) -> Made:
    """Return the agent of a table, made of a context and of what stands behind colons.

    Raises:
        InvalidInputError: what stands behind the colons is not understood.
    """
    name, *arguments = spec.split(":")
    try:
        return agents[name](context, *arguments)
    except InvalidInputError:
        raise
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"The agent {spec!r} is not understood ({error}). Write {_FORMS.get(name, name)}."
        ) from error


def _budget(spec: str, text: str) -> int:
    if not text.isdecimal():
        raise InvalidInputError(
            f"Agent {spec!r} needs a number of encodes behind the colon, as in search:50."
        )
    return int(text)


def _of_file(path: str, context: AgentContext) -> object:
    from dmic_gym.agents.policy.loading import load_agent

    return load_agent(
        path, context.qp_offsets, context.ctu_size, strict=context.strict, video=context.video
    )


def _of_class(spec: str, context: AgentContext) -> object:
    """Return the agent of ``module:Class@file``, Class being what the file is to be read with."""
    from dmic_gym.agents.policy.loading import load_agent

    place, _, path = spec.partition("@")
    found = load_object(place)
    if not inspect.isclass(found):
        raise InvalidInputError(f"{place!r} is no class: write module:Class@{path}.")
    return load_agent(
        path,
        context.qp_offsets,
        context.ctu_size,
        read_with=found,
        strict=context.strict,
        video=context.video,
    )


def _of_object(spec: str) -> object:
    found = load_object(spec)
    ready = hasattr(found, "predict") or hasattr(found, "plan")
    return found() if inspect.isclass(found) or (not ready and callable(found)) else found


def _checked(agent: object, spec: str) -> Agent | Planner:
    if not isinstance(agent, Agent | Planner):
        raise InvalidInputError(
            f"{spec!r} is a {type(agent).__name__} without predict(observation): give it one that "
            "returns an action, as Stable-Baselines3's models have."
        )
    return agent
