"""`dmic bench` as a function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from dmic_gym.agents.registry import make_agent
from dmic_gym.bench.protocol import describe, split_by_use
from dmic_gym.bench.runner import run_agents
from dmic_gym.bench.summary import summarize
from dmic_gym.data.sample import Sample
from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.errors import InvalidInputError

ANCHOR = "anchor"


def bench(
    env: CodingEnv,
    *,
    agents: Sequence[str] = (ANCHOR, "random", "roi"),
    base_qps: Sequence[int] = (22, 27, 32, 37),
    images: int | None = None,
    data: str = "",
    command: str = "",
    on_start: Callable[[int], None] = lambda _: None,
    on_cell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Compare agents with the anchor on the environment's data set.

    Args:
        env: data set, segmenter, codec and action table.
        agents: names or ``module:object`` (see `make_agent`); the anchor always takes part.
        base_qps: the operating points; BD-rates need three.
        images: how many of the data set's first images; None takes all.
        data: name of the data set for the record.
        command: command line for the record.
        on_start: called with the number of cells (image x base QP x agent).
        on_cell: called with the agent's name after each cell.

    Returns:
        What ``results.json`` holds: ``protocol``, ``agents``, ``failed``.

    Raises:
        InvalidInputError: unknown agent, no image, or no base QP.
    """
    names = list(dict.fromkeys([ANCHOR, *agents]))
    base_qps = sorted(set(base_qps))
    made = {name: make_agent(name, env.qp_offsets) for name in names}
    used, left_out = split_by_use(_first(env.dataset, images))
    if not used or not base_qps:
        raise InvalidInputError("Nothing to code: pass at least one image with a non-empty mask.")
    on_start(len(used) * len(base_qps) * len(made))
    run = run_agents(env, made, used, base_qps, on_cell)
    protocol = describe(
        env, data=data, base_qps=base_qps, used=used, left_out=left_out, command=command
    )
    return {
        "protocol": protocol,
        "agents": summarize(run, ANCHOR),
        "failed": dict(run.failed),
    }


def _first(samples: Sequence[Sample], count: int | None) -> list[Sample]:
    if count is not None and count < 1:
        raise InvalidInputError(f"images={count}: code at least 1.")
    return list(islice(samples, count))
