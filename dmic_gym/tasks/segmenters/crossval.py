"""What cross-validation says of a recipe, read from the fold checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from dmic_gym.tasks.metrics import binarize, dice
from dmic_gym.tasks.segmenters.loader import Annotated, expert_mask
from dmic_gym.tasks.segmenters.network import load_segmenter
from dmic_gym.tasks.segmenters.weights import read_card

THRESHOLDS = tuple(k / 20 for k in range(6, 18))


def fold_blocks(count: int, folds: int) -> list[range]:
    """Split ``range(count)`` into consecutive blocks of nearly equal length."""
    edges = [round(count * k / folds) for k in range(folds + 1)]
    return [range(a, b) for a, b in pairwise(edges)]


def summarize(paths: Sequence[Path], samples: Sequence[Annotated]) -> dict[str, Any]:
    """Summarise fold checkpoints on the samples that each of them held out.

    Args:
        paths: the folds' safetensors files, in order.
        samples: all samples, in the order of the training run.

    Returns:
        ``dice`` (mean over images), ``standard_error``, ``folds`` and ``images`` (Dice each),
        ``dice_by_threshold`` (mean Dice where another probability than 0.5 cuts the mask) and
        ``dice_at_other_folds_threshold`` (each fold cut where the other folds are best: what a
        chosen threshold gains on images that did not choose it).
    """
    blocks = fold_blocks(len(samples), len(paths))
    table = np.concatenate(
        [
            _dice_table(path, [samples[i] for i in block])
            for path, block in zip(paths, blocks, strict=True)
        ]
    )
    at_half = {path.stem: read_card(path).metrics for path in paths}
    images = {name: score for fold in at_half.values() for name, score in fold["held_out"].items()}
    scores = np.array(list(images.values()))
    return {
        "dice": round(float(scores.mean()), 4),
        "standard_error": round(float(scores.std() / len(scores) ** 0.5), 4),
        "folds": {name: fold["held_out_dice"] for name, fold in at_half.items()},
        "images": images,
        "dice_by_threshold": {
            str(t): round(float(mean), 4) for t, mean in zip(THRESHOLDS, table.mean(0), strict=True)
        },
        "dice_at_other_folds_threshold": round(_honest_gain(table, blocks), 4),
    }


def _dice_table(path: Path, held_out: Sequence[Annotated]) -> np.ndarray[Any, Any]:
    segmenter = load_segmenter(path, "cpu")
    rows = []
    for sample in held_out:
        probability = segmenter(sample.image[np.newaxis])[0]
        rows.append([dice(binarize(probability, t), expert_mask(sample)) for t in THRESHOLDS])
    return np.array(rows)


def _honest_gain(table: np.ndarray[Any, Any], blocks: Sequence[range]) -> float:
    scores = []
    for block in blocks:
        others = np.delete(table, list(block), axis=0)
        scores += table[list(block), int(others.mean(0).argmax())].tolist()
    return float(np.mean(scores))
