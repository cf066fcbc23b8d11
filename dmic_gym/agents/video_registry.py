"""Agents of clips by name, by the grammar of `dmic_gym.agents.registry`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dmic_gym.agents.registry import named
from dmic_gym.agents.video_planning import (
    GopOracleAgent,
    GopPlanner,
    GopSearchAgent,
    GopTableAgent,
    RulePlanner,
)
from dmic_gym.agents.video_rules import CapRule, RandomRule, ROIRule, anchor_rule, cascade_rule
from dmic_gym.envs.settings import DEFAULT_QP_OFFSETS
from dmic_gym.envs.video_evaluator import VideoEvaluator
from dmic_gym.errors import InvalidInputError, unknown_name
from dmic_gym.io import load_object


@dataclass(frozen=True)
class GopContext:
    """What agents of clips are made of.

    Attributes:
        qp_offsets: the action table.
        seed: of agents that draw.
    """

    qp_offsets: Sequence[int]
    seed: int


def _roi(_: GopContext, offset: str = "12", threshold: str = "0.5") -> GopPlanner:
    return RulePlanner(ROIRule(int(offset), float(threshold)))


def _cap(_: GopContext, offset: str = "10", cap: str = "36") -> GopPlanner:
    return RulePlanner(CapRule(int(offset), int(cap)))


def _search(context: GopContext, budget: str) -> GopPlanner:
    return GopSearchAgent(int(budget), context.seed)


GOP_AGENTS: dict[str, Callable[..., GopPlanner]] = {
    "anchor": lambda _: RulePlanner(anchor_rule),
    "random": lambda context: RulePlanner(RandomRule(context.qp_offsets, context.seed)),
    "roi": _roi,
    "cap": _cap,
    "cascade": lambda _: RulePlanner(cascade_rule),
    "table": lambda _: GopTableAgent(),
    "oracle": lambda _: GopOracleAgent(),
    "search": _search,
}
"""Agents by name; each takes a `GopContext` and what stands behind colons, as text."""

GOP_DESCRIPTIONS = {
    "anchor": "offset 0 everywhere: x265 at constant QP",
    "random": "a random offset in every CTU of every frame",
    "roi": "base QP on the object of the previous reconstruction and around it, +12 elsewhere",
    "roi:N[:T]": "the same with +N, and where the segmenter's probability reaches T (0.5)",
    "cap": "the same, but min(QP + 10, 36) elsewhere",
    "cap:N:QP": "the same with min(QP + N, QP)",
    "cascade": "flat frames, those between two finer ones 2 or 3 QPs coarser, as in HM",
    "table": "one map a group, by tables of uniform encodes; 12 encodes",
    "oracle": "tables with the expert masks: not usable in practice",
    "search:N": "one map a group, searched by coding the group N times",
    "module:object": "anything with plan(evaluator, reference, base_qp)",
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
    name, colon, _ = spec.partition(":")
    if "+refine:" in spec:
        raise _images_only(spec)
    if name in GOP_AGENTS:
        return named(spec, GOP_AGENTS, GopContext(qp_offsets, seed))
    if colon:
        return _of_object(spec)
    raise unknown_name("agent of clips", spec, GOP_DESCRIPTIONS)


def _of_object(spec: str) -> GopPlanner:
    found = load_object(spec)
    made = found() if inspect.isclass(found) else found
    if not isinstance(made, GopPlanner):
        raise _images_only(spec)
    return made


def _images_only(spec: str) -> InvalidInputError:
    return InvalidInputError(
        f"The agent {spec!r} does not code clips. These do: {', '.join(GOP_DESCRIPTIONS)}."
    )
