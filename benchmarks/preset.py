"""How well the reward at a fast x265 preset ranks QP maps by their reward at another.

    python benchmarks/preset.py DATA [--fast NAME,NAME] [--slow medium] [--images 10]
        [--maps 100] [--json FILE]

Random maps (offsets uniform over the action table) and mild ones (offsets -3..3) of each image are
coded at each preset; each reward uses the anchors of its own preset. Spearman's rank correlation
is taken within each image, where the base QP is the same. ``--json FILE`` writes the figures to
FILE and the table to FILE with suffix ``.md``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from measure.common import Row, markdown, network
from scipy.stats import spearmanr

from dmic_gym.codecs import X265Codec
from dmic_gym.envs.evaluator import Anchors, Evaluator
from dmic_gym.envs.parallel import default_workers
from dmic_gym.envs.results import EncodeResult
from dmic_gym.envs.rewards import LinearReward, RateSavingReward, Reward
from dmic_gym.envs.settings import DEFAULT_BASE_QPS, DEFAULT_QP_OFFSETS
from dmic_gym.tasks.data import Sample, load_dataset

REWARDS: dict[str, Reward] = {"rate_saving": RateSavingReward(), "linear": LinearReward()}
OFFSETS = {"random": DEFAULT_QP_OFFSETS, "mild": tuple(range(-3, 4))}
Rewards = npt.NDArray[np.float64]


def rewards(
    evaluator: Evaluator, sample: Sample, base_qp: int, maps: list[npt.NDArray[np.int64]]
) -> dict[str, Rewards]:
    reference = evaluator.reference(sample)
    anchors = Anchors(evaluator, reference, base_qp)
    results = evaluator.score_all([(reference, qp_map) for qp_map in maps])
    figures = [one.figures for one in results if isinstance(one, EncodeResult)]
    return {
        name: np.array([sum(reward(one, anchors).values()) for one in figures])
        for name, reward in REWARDS.items()
    }


def agreement(fast: Rewards, slow: Rewards) -> dict[str, float]:
    best = int(np.argmax(fast))
    return {
        "spearman": float(spearmanr(fast, slow).statistic),
        "rank of the fast best": float((slow > slow[best]).mean()),
        "mean difference": float(np.mean(fast - slow)),
        "spread at slow": float(np.std(slow)),
    }


def measure(data: list[Sample], fast: list[str], slow: str, count: int) -> list[Row]:
    presets = [slow, *fast]
    evaluators = [
        Evaluator(X265Codec(64, name), network(), workers=default_workers(), batch=None)
        for name in presets
    ]
    rng = np.random.default_rng(0)
    found: dict[tuple[str, str, str], list[dict[str, float]]] = {}
    for number, sample in enumerate(data):
        base_qp = DEFAULT_BASE_QPS[number % len(DEFAULT_BASE_QPS)]
        for kind, offsets in OFFSETS.items():
            shape = evaluators[0].map_shape(sample)
            maps = [np.clip(base_qp + rng.choice(offsets, shape), 0, 51) for _ in range(count)]
            wanted, *given = (rewards(evaluator, sample, base_qp, maps) for evaluator in evaluators)
            for preset, own in zip(fast, given, strict=True):
                for name in REWARDS:
                    key = (preset, kind, name)
                    found.setdefault(key, []).append(agreement(own[name], wanted[name]))
        print(f"{sample.name} at QP {base_qp}", flush=True)
    for evaluator in evaluators:
        evaluator.close()
    return [_row(*key, images) for key, images in found.items()]


def _row(preset: str, kind: str, name: str, images: list[dict[str, float]]) -> Row:
    spearman = [one["spearman"] for one in images]
    return {
        "preset": preset,
        "maps": kind,
        "reward": name,
        "images": len(images),
        "Spearman, mean": float(np.mean(spearman)),
        "lowest": min(spearman),
        "highest": max(spearman),
        **{key: float(np.mean([one[key] for one in images])) for key in list(images[0])[1:]},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", help="a data set, as in $DMIC_DATA/angiograms/train")
    parser.add_argument("--fast", default="ultrafast", help="names with commas between")
    parser.add_argument("--slow", default="medium")
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--maps", type=int, default=100)
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    data = [
        sample for _, sample in zip(range(given.images), load_dataset(given.data), strict=False)
    ]
    rows = measure(data, given.fast.split(","), given.slow, given.maps)
    command = (
        f"python benchmarks/preset.py $DMIC_DATA/angiograms/train --fast {given.fast} "
        f"--slow {given.slow} --images {given.images} --maps {given.maps}"
    )
    text = report(rows, command, repr(network()))
    print(text)
    if given.json:
        results: dict[str, Any] = {"command": command, "segmenter": repr(network()), "rows": rows}
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(results, indent=2) + "\n")
        given.json.with_suffix(".md").write_text(text)


def report(rows: list[Row], command: str, segmenter: str) -> str:
    return (
        "\n\n".join(
            [
                "# Ranking QP maps at a fast preset",
                f"Made by `{command}` with {segmenter}.",
                markdown(rows),
                "Spearman's correlation within each image of the reward at both presets. "
                "`rank of the fast best`: share of the maps that are better at the slow preset "
                "than the one that is best at the fast preset. `mean difference`: fast minus "
                "slow. `spread at slow`: standard deviation of the reward over the maps.",
            ]
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
