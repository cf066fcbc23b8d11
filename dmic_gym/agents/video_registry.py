"""Agents of clips by name, by the grammar of `dmic_gym.agents.registry`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dmic_gym.agents.baselines import Agent
from dmic_gym.agents.policy.shipped import policy_names
from dmic_gym.agents.registry import AgentContext, find_own, named
from dmic_gym.agents.search.posterior_cache import PosteriorCache
from dmic_gym.agents.video_planning import (
    GopOracleAgent,
    GopPlanner,
    GopSearchAgent,
    GopTableAgent,
    RulePlanner,
)
from dmic_gym.agents.video_rules import (
    CapRule,
    GradedRule,
    RandomRule,
    ROIRule,
    anchor_rule,
    cascade_rule,
)
from dmic_gym.agents.video_stepping import GopSteppingPlanner
from dmic_gym.envs.settings import DEFAULT_QP_OFFSETS
from dmic_gym.envs.video_evaluator import VideoEvaluator
from dmic_gym.errors import InvalidInputError, unknown_name


def _roi(_: AgentContext, offset: str = "12", threshold: str = "0.5") -> GopPlanner:
    return RulePlanner(ROIRule(int(offset), float(threshold)))


def _cap(_: AgentContext, offset: str = "10", cap: str = "36") -> GopPlanner:
    return RulePlanner(CapRule(int(offset), int(cap)))


def _graded(_: AgentContext, ring: str = "2", background: str = "4") -> GopPlanner:
    return RulePlanner(GradedRule(int(ring), int(background)))


def _search(context: AgentContext, budget: str) -> GopPlanner:
    return GopSearchAgent(int(budget), context.seed)


def _levels(context: AgentContext, frame: str, ctu: str) -> GopPlanner:
    frames, ctus = (None if path == "" else _agent(path, context) for path in (frame, ctu))
    return GopSteppingPlanner(frames, ctus, context.qp_offsets)


GOP_AGENTS: dict[str, Callable[..., GopPlanner]] = {
    "anchor": lambda _: RulePlanner(anchor_rule),
    "random": lambda context: RulePlanner(RandomRule(context.qp_offsets, context.seed)),
    "roi": _roi,
    "cap": _cap,
    "graded": _graded,
    "cascade": lambda _: RulePlanner(cascade_rule),
    "table": lambda _: GopTableAgent(),
    "oracle": lambda _: GopOracleAgent(),
    "search": _search,
    "levels": _levels,
}
"""Agents by name; each takes a `AgentContext` and what stands behind colons, as text."""

GOP_DESCRIPTIONS = {
    "anchor": "offset 0 everywhere: x265 at constant QP",
    "random": "a random offset in every CTU of every frame",
    "roi": "base QP on the object of the previous reconstruction and around it, +12 elsewhere",
    "roi:N[:T]": "the same with +N, and where the segmenter's probability reaches T (0.5)",
    "cap": "base QP on the object alone, the larger of base QP and min(base QP + 10, 36) elsewhere",
    "cap:N:QP": "the same with +N, up to QP",
    "graded": "base QP on the object, +2 around it, elsewhere +4, or what cap gives if more",
    "graded:N:M": "the same with +N around the object and +M elsewhere",
    "cascade": "flat frames, those between two finer ones 2 or 3 QPs coarser, as in HM",
    "table": "one map a group, by tables of uniform encodes; 12 encodes",
    "oracle": "tables with the expert masks: not usable in practice",
    "search:N": "one map a group, searched by coding the group N times",
    "NAME": "a shipped policy, which learned from images: it sets the QPs of CTUs",
    "PATH": "a policy of VideoCodingEnv, which sets the QPs of frames and of CTUs",
    "levels:PATH:PATH": "a policy for frames and one for CTUs; left empty, a level keeps its QPs",
    "module:object": "anything with predict(observation) or plan(evaluator, reference, base_qp)",
    "module:CLASS@FILE": "a file that a class of one's own reads or is named in",
}


def make_gop_planner(
    spec: str,
    evaluator: VideoEvaluator,
    *,
    qp_offsets: Sequence[int] = DEFAULT_QP_OFFSETS,
    seed: int = 0,
    strict: bool = False,
) -> GopPlanner:
    """Return the agent of clips named by `spec`.

    Args:
        spec: a key of `GOP_DESCRIPTIONS`.
        evaluator: what the agent will plan with.
        qp_offsets: the action table.
        seed: of agents of ours that draw (random, search).
        strict: refuse a policy that was trained for another CTU size or for other QP offsets,
            instead of warning.

    Raises:
        InvalidInputError: there is no such agent, or it codes images only.
    """
    name = spec.partition(":")[0]
    posteriors = PosteriorCache(evaluator.segmenter)
    context = AgentContext(
        qp_offsets, posteriors, seed, evaluator.codec.ctu_size, strict, video=True
    )
    if "+refine:" in spec or "+sample:" in spec:
        raise _images_only(spec)
    if name in GOP_AGENTS:
        return named(spec, GOP_AGENTS, context)
    found = _own(spec, context)
    if found is None:
        raise unknown_name("agent of clips", spec, GOP_DESCRIPTIONS)
    if isinstance(found, Agent):
        of_images = spec in policy_names()
        return GopSteppingPlanner(None if of_images else found, found, qp_offsets)
    if not isinstance(found, GopPlanner):
        raise _images_only(spec)
    return found


def _agent(path: str, context: AgentContext) -> Agent:
    found = _own(path, context)
    if not isinstance(found, Agent):
        raise InvalidInputError(f"{path!r} is no policy: write levels:frame.zip:ctu.zip.")
    return found


def _own(spec: str, context: AgentContext) -> object:
    try:
        return find_own(spec, context)
    except InvalidInputError as error:
        raise _images_only(spec, f" {error}") from error


def _images_only(spec: str, why: str = "") -> InvalidInputError:
    return InvalidInputError(
        f"The agent {spec!r} does not code clips. These do: {', '.join(GOP_DESCRIPTIONS)}.{why}"
    )
