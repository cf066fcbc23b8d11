"""`dmic bench` as a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

from dmic_gym.agents.registry import make_agent
from dmic_gym.agents.search.posterior_cache import PosteriorCache
from dmic_gym.bench.held_out import HeldOutSegmenter
from dmic_gym.bench.protocol import ANCHOR, STANDARD_QPS, describe, split_by_use
from dmic_gym.bench.runner import run_agents
from dmic_gym.bench.summary import summarize
from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.envs.settings import check_base_qps
from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.segmenters.protocol import Segmenter


def bench(
    env: CodingEnv,
    *,
    agents: Sequence[str] = (ANCHOR, "random", "roi"),
    qp_sets: Mapping[str, Sequence[int]] | None = None,
    images: int | None = None,
    second: Segmenter | None = None,
    data: str = "",
    command: str = "",
    on_start: Callable[[int], None] = lambda _: None,
    on_cell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Compare agents with the anchor on the environment's data set.

    Args:
        env: data set, segmenter, codec and action table.
        agents: specs (see `make_agent`); the anchor always takes part.
        qp_sets: base QPs by name, the headline set first; None is `STANDARD_QPS` alone. A
            BD-rate needs three QPs.
        images: how many of the data set's first images; None takes all.
        second: a network that scores every row a second time and that no agent asks.
        data: name of the data set for the record.
        command: command line for the record.
        on_start: called with the number of cells (image x base QP x agent).
        on_cell: called with the agent's name after each cell.

    Returns:
        What ``results.json`` holds: ``protocol``, ``agents``, ``failed``.

    Raises:
        InvalidInputError: unknown agent, no image, or no base QP.
    """
    sets = {name: sorted(set(qps)) for name, qps in (qp_sets or {"": STANDARD_QPS}).items()}
    base_qps = sorted({qp for qps in sets.values() for qp in qps})
    if not all(sets.values()):
        raise InvalidInputError("Nothing to code: pass at least one base QP, as in 22,27,32,37.")
    check_base_qps(base_qps)
    posteriors = PosteriorCache(env.evaluator.segmenter)
    made = {
        name: make_agent(name, env.evaluator, qp_offsets=env.qp_offsets, posteriors=posteriors)
        for name in dict.fromkeys([ANCHOR, *agents])
    }
    used, left_out = split_by_use(_first(env.dataset, images))
    if not used:
        raise InvalidInputError("Nothing to code: pass at least one image with a non-empty mask.")
    on_start(len(used) * len(base_qps) * len(made))
    held_out = None if second is None else HeldOutSegmenter(second)
    run = run_agents(env.evaluator, made, used, base_qps, held_out, on_cell)
    protocol = describe(
        env, data=data, qp_sets=sets, used=used, left_out=left_out, second=second, command=command
    )
    return {
        "protocol": protocol,
        "agents": summarize(run, ANCHOR, sets),
        "failed": dict(run.failed),
    }


def _first(samples: Sequence[Sample], count: int | None) -> list[Sample]:
    if count is not None and count < 1:
        raise InvalidInputError(f"images={count}: code at least 1.")
    return list(islice(samples, count))
