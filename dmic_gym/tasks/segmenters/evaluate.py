"""Measure a segmenter, and write each look at the test split into its card."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import bootstrap

from dmic_gym.tasks.metrics import binarize, dice
from dmic_gym.tasks.segmenters.loader import Annotated
from dmic_gym.tasks.segmenters.network import DTYPES, load_segmenter
from dmic_gym.tasks.segmenters.protocol import Segmenter
from dmic_gym.tasks.segmenters.weights import Card, read_card, write_card
from dmic_gym.types import Image, Mask


def measure(segmenter: Segmenter, samples: Sequence[Annotated]) -> dict[str, float]:
    """Return the Dice of each annotated sample against its expert mask, by name."""
    return {
        sample.name: round(_score(segmenter, sample.image, sample.mask), 4)
        for sample in samples
        if sample.mask is not None
    }


def record_test(
    path: Path, samples: Sequence[Annotated], look: str, data: Sequence[str] = ()
) -> Card:
    """Measure saved weights on the test split and write the result and the look into their card.

    Args:
        path: the safetensors file; its card is rewritten.
        samples: the test split, with masks.
        look: when and why the split was looked at, one sentence.
        data: words for the card: what the test split is.

    Returns:
        The new card: ``test_dice`` (mean over the images), ``test_interval`` (its 95 % interval by
        bootstrap over images), ``test_standard_error``, ``test_images``, ``test_data``,
        ``milliseconds`` (an image, by dtype) and one more entry in ``looks_at_test``.
    """
    card = read_card(path)
    scores = measure(load_segmenter(path, "cpu"), samples)
    values = np.array(list(scores.values()))
    metrics: dict[str, Any] = dict(card.metrics)
    metrics |= {
        "test_dice": round(float(values.mean()), 4),
        "test_interval": mean_interval(values),
        "test_standard_error": round(float(values.std() / len(values) ** 0.5), 4),
        "test_images": scores,
        "test_data": list(data),
        "milliseconds": milliseconds(path, samples[0].image),
        "looks_at_test": [*metrics.get("looks_at_test", []), look],
    }
    card = replace(card, metrics=metrics)
    write_card(path, card)
    return card


def mean_interval(values: npt.NDArray[np.float64]) -> list[float]:
    """Return the 95 % bootstrap interval of a mean over images, by percentiles."""
    if len(values) < 2:
        return [round(float(values[0]), 4)] * 2
    found = bootstrap((values,), np.mean, method="percentile", rng=0).confidence_interval
    return [round(float(found.low), 4), round(float(found.high), 4)]


def milliseconds(path: Path, image: Image, rounds: int = 40) -> dict[str, float]:
    """Time saved weights on the CPU on one image, in turns by dtype.

    Returns:
        Milliseconds of processor time by dtype, the least of all rounds, which other load
        disturbs least, with the threads that torch used: with one, what a free core needs.
    """
    segmenters = {dtype: load_segmenter(path, "cpu", dtype) for dtype in DTYPES}
    taken: dict[str, list[float]] = {dtype: [] for dtype in DTYPES}
    for _ in range(rounds):
        for dtype, segmenter in segmenters.items():
            begin = time.process_time()
            segmenter(image[np.newaxis])
            taken[dtype].append(1e3 * (time.process_time() - begin))
    times = {dtype: round(min(spent), 1) for dtype, spent in taken.items()}
    return times | {"threads": torch.get_num_threads()}


def _score(segmenter: Segmenter, image: Image, mask: Mask) -> float:
    return dice(binarize(segmenter(image[np.newaxis])[0]), mask)
