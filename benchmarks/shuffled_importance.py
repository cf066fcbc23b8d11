"""Does a policy use what it sees? Its saving with its own importance maps and with other images'.

    python benchmarks/shuffled_importance.py --data $DMIC_DATA/angiograms/test --agent dmic-1shot

Each image is coded twice by the policy: as always, and with the importance that the policy
observes (both image keys and the features made of it) taken from another image of the same size.
Bits, Dice and all else stay the image's own. A policy that allocates by what it sees loses much
of its saving; one that plays a fixed pattern loses nothing. Agents that plan (search, refine,
oracle) do not look at observations, so they are refused.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dmic_gym.agents.planning import Plan, Planner, SteppingPlanner
from dmic_gym.agents.registry import make_agent
from dmic_gym.bench.lines import Line
from dmic_gym.bench.protocol import ANCHOR, METHOD, split_by_use, versions
from dmic_gym.bench.summary import Comparer, summarize
from dmic_gym.bench.workbench import code_image
from dmic_gym.cli.common import (
    command_line,
    integers_of,
    stdout,
)
from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.envs.evaluator import Evaluator, Reference
from dmic_gym.errors import InvalidInputError
from dmic_gym.io import portable, write_atomically
from dmic_gym.tasks.data import Sample, load_dataset
from dmic_gym.tasks.segmenters import find_segmenter
from dmic_gym.tasks.segmenters.find import describe_segmenter

OWN, SHUFFLED = "own importance", "shuffled importance"


class ShuffledPlanner:
    """A planner that sees each image with another image's importance map."""

    def __init__(self, planner: Planner, partners: dict[bytes, Sample]) -> None:
        self._planner = planner
        self._partners = partners

    def plan(self, evaluator: Evaluator, reference: Reference, base_qp: int) -> Plan:
        other = evaluator.reference(self._partners[reference.key])
        seen = replace(reference, importance=other.importance)
        qp_map = self._planner.plan(evaluator, seen, base_qp).result.qp_map
        return Plan(evaluator.score(reference, qp_map), 1)


def partners(references: Sequence[Reference], seed: int) -> dict[bytes, Sample]:
    """Give each image another of its size, by key: a seeded round, so that none gets its own.

    Raises:
        InvalidInputError: an image is the only one of its size.
    """
    groups: dict[tuple[int, ...], list[Reference]] = defaultdict(list)
    for number in np.random.default_rng(seed).permutation(len(references)).tolist():
        groups[references[number].sample.image.shape].append(references[number])
    if alone := [group[0].sample.name for group in groups.values() if len(group) < 2]:
        raise InvalidInputError(f"No other image has the size of {', '.join(alone)}: leave it out.")
    return {
        reference.key: other.sample
        for group in groups.values()
        for reference, other in zip(group, [*group[1:], group[0]], strict=True)
    }


def code(env: CodingEnv, spec: str, base_qps: Sequence[int], *, seed: int = 0) -> dict[str, Line]:
    """Return the lines of the anchor, of OWN and of SHUFFLED."""
    evaluator = env.evaluator
    planner = make_agent(spec, evaluator, qp_offsets=env.qp_offsets)
    if not isinstance(planner, SteppingPlanner):
        raise InvalidInputError(f"{spec} plans without observations: pass a policy, such as roi.")
    used, _ = split_by_use(list(env.dataset))
    planners = {
        ANCHOR: make_agent(ANCHOR, evaluator),
        OWN: planner,
        SHUFFLED: ShuffledPlanner(planner, partners(evaluator.references(used), seed)),
    }
    return {
        name: Line(
            {
                (sample.name, qp): code_image(evaluator, planner, sample, qp)
                for sample in used
                for qp in base_qps
            }
        )
        for name, planner in planners.items()
    }


def table(results: dict[str, Any]) -> str:
    lines = ["| what the policy sees | BD-rate on Dice | 95 % interval |", "|---|---|---|"]
    compared = {name: results["agents"][name] for name in (OWN, SHUFFLED)}
    compared["shuffled against own"] = results["shuffled_against_own"]
    for name, found in compared.items():
        rate, bounds = found["bd_rate_percent"], found["ci95"]
        words = found["bd_rate_note"] if rate is None else f"{rate:+.1f} %"
        span = "" if bounds is None else f"{bounds[0]:+.1f} .. {bounds[1]:+.1f} %"
        lines.append(f"| {name} | {words} | {span} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--agent", required=True, help="a policy's name or file, or module:object")
    parser.add_argument("--segmenter", default="unet", help="name, path or module:object")
    parser.add_argument("--qps", default="22,27,32,37")
    parser.add_argument("--ctu", type=int, default=64)
    parser.add_argument("--preset", default="medium")
    parser.add_argument("--seed", type=int, default=0, help="of the shuffle")
    parser.add_argument(
        "--json", type=Path, default=Path(__file__).parent / "results" / "shuffled-importance.json"
    )
    options = parser.parse_args()
    settings = {"ctu_size": options.ctu, "preset": options.preset}
    images = load_dataset(options.data)
    judge = find_segmenter(options.segmenter)
    env = CodingEnv(dataset=images, segmenter=judge, **settings)
    base_qps = sorted(integers_of("--qps", options.qps))
    lines = code(env, options.agent, base_qps, seed=options.seed)
    command = command_line().replace("dmic ", "python benchmarks/shuffled_importance.py ", 1)
    protocol = {
        "data": portable(options.data),
        "images": len(lines[ANCHOR].images),
        "base_qps": base_qps,
        **settings,
        "segmenter": describe_segmenter(judge),
        **METHOD,
        "versions": versions(),
        "command": command,
    }
    env.close()
    results = {
        "agent": options.agent,
        "seed": options.seed,
        "protocol": protocol,
        "agents": summarize(lines, ANCHOR, {"": base_qps}),
        "shuffled_against_own": Comparer(lines[OWN]).bd_rate(lines[SHUFFLED], None).part,
    }
    stdout.print(table(results), highlight=False, markup=False)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(options.json, (json.dumps(results, indent=1) + "\n").encode())
    stdout.print(f"wrote {options.json}", highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
