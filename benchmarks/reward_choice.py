"""Find which reward ranks allocation policies as their BD-rates do.

Codes training images with a family of simple policies, each image judged by the fold network that
has not seen it, and compares each policy's mean reward with its BD-rate over the same images.

    dmic train-segmenter --data $DMIC_DATA/angiograms/train --folds 5 --out runs/folds
    python benchmarks/reward_choice.py --data $DMIC_DATA/angiograms/train --folds runs/folds
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from dmic_gym.bench.bdrate import RDCurve, bd_rate
from dmic_gym.codecs import X265Codec
from dmic_gym.envs.complexity import ctu_sums
from dmic_gym.envs.evaluator import Anchors, Evaluator, Figures, Reference
from dmic_gym.envs.rewards import LinearReward, RateSavingReward, Reward
from dmic_gym.tasks.data import load_dataset
from dmic_gym.tasks.segmenters.crossval import fold_blocks
from dmic_gym.tasks.segmenters.network import load_segmenter

QPS = (22, 27, 32, 37)
Offsets = npt.NDArray[np.float64]
Policy = Callable[[Reference], Offsets]

REWARDS: dict[str, Reward] = {
    "rate_saving": RateSavingReward(),
    "rate_saving bound=1": RateSavingReward(bound=1.0),
    **{f"linear dice_weight={w:g}": LinearReward(dice_weight=w) for w in (3.0, 10.0, 30.0, 100.0)},
}


def policies(ctu_size: int) -> dict[str, Policy]:
    """Constant, graded by importance, contrary to importance, and random allocations."""

    def importance(reference: Reference) -> Offsets:
        area = ctu_sums(np.ones_like(reference.importance), ctu_size)
        return np.asarray(ctu_sums(reference.importance, ctu_size) / area)

    def graded(slope: float, offset: float) -> Policy:
        def policy(reference: Reference) -> Offsets:
            share = importance(reference)
            return np.asarray(offset - slope * (share - share.mean()) / max(share.std(), 1e-6))

        return policy

    def roi(background: float, threshold: float) -> Policy:
        return lambda reference: np.where(importance(reference) > threshold, 0.0, background)

    def constant(offset: float) -> Policy:
        return lambda reference: np.full_like(importance(reference), offset)

    def random(spread: float, seed: int) -> Policy:
        def policy(reference: Reference) -> Offsets:
            shape = importance(reference).shape
            return np.random.default_rng([seed, *reference.key]).normal(0.0, spread, shape)

        return policy

    return {
        **{f"constant {k:+d}": constant(k) for k in (-4, 3, 6)},
        **{f"graded {s:g} {k:+g}": graded(s, k) for s in (-2, 1, 2, 3, 5) for k in (0, 4)},
        **{f"roi {b:g} {t:g}": roi(b, t) for b in (6, 12, 20) for t in (0.001, 0.02)},
        **{f"random {s:g}": random(s, n) for n, s in enumerate((2, 4, 8))},
    }


def scored(
    data: str, folds: Path, per_fold: int, ctu_size: int
) -> Iterator[tuple[str, int, Figures, Anchors]]:
    """Yield (policy, base QP, figures, anchors) for every image, policy and base QP."""
    samples = load_dataset(data)
    paths = sorted(folds.glob("*-fold*.safetensors"))
    for path, block in zip(paths, fold_blocks(len(samples), len(paths)), strict=True):
        evaluator = Evaluator(X265Codec(ctu_size), load_segmenter(path))
        for index in list(block)[:per_fold]:
            reference = evaluator.reference(samples[index])
            for qp in QPS:
                anchors = Anchors(evaluator, reference, qp)
                for name, policy in policies(ctu_size).items():
                    qp_map = np.clip(np.rint(qp + policy(reference)), 0, 51).astype(np.int16)
                    yield name, qp, evaluator.score(reference, qp_map).figures, anchors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--folds", type=Path, required=True)
    parser.add_argument("--per-fold", type=int, default=8)
    parser.add_argument("--ctu", type=int, default=64)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    rows: dict[tuple[str, int], list[tuple[Figures, Figures]]] = {}
    rewards: dict[str, dict[str, list[float]]] = {name: {} for name in REWARDS}
    for policy, qp, figures, anchors in scored(
        options.data, options.folds, options.per_fold, options.ctu
    ):
        rows.setdefault((policy, qp), []).append((figures, anchors.base))
        for name, reward in REWARDS.items():
            total = sum(reward(figures, anchors).values())
            rewards[name].setdefault(policy, []).append(total)

    rates = {policy: _bd_rate(rows, policy) for policy in policies(options.ctu)}
    defined = {policy: rate for policy, rate in rates.items() if rate is not None}
    table = {
        name: float(spearmanr([np.mean(by[p]) for p in defined], [-r for r in defined.values()])[0])
        for name, by in rewards.items()
    }
    result = {
        "images": len(next(iter(rows.values()))),
        "policies": len(defined),
        "undefined": [policy for policy, rate in rates.items() if rate is None],
        "spearman": table,
        "bd_rate_percent": rates,
        "mean_reward": {
            name: {policy: float(np.mean(values)) for policy, values in by.items()}
            for name, by in rewards.items()
        },
    }
    for name, value in table.items():
        print(f"{name:24} {value:+.3f}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


def _bd_rate(
    rows: dict[tuple[str, int], list[tuple[Figures, Figures]]], policy: str
) -> float | None:
    def curve(which: int) -> RDCurve:
        figures = [[pair[which] for pair in rows[policy, qp]] for qp in QPS]
        bits = np.array([np.mean([f.bits for f in part]) for part in figures])
        return RDCurve(bits, np.array([np.mean([f.quality for f in part]) for part in figures]))

    return bd_rate(curve(1), curve(0)).percent


if __name__ == "__main__":
    main()
