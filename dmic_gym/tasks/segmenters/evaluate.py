"""Measure a segmenter, and write each look at the test split into its card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dmic_gym.tasks.metrics import binarize, dice
from dmic_gym.tasks.segmenters.loader import Annotated
from dmic_gym.tasks.segmenters.network import load_segmenter
from dmic_gym.tasks.segmenters.protocol import Segmenter
from dmic_gym.tasks.segmenters.weights import Card, read_card, write_card


def measure(segmenter: Segmenter, samples: Sequence[Annotated]) -> dict[str, float]:
    """Return the Dice of each annotated sample against its expert mask, by name."""
    return {
        sample.name: round(_score(segmenter, sample.image, sample.mask), 4)
        for sample in samples
        if sample.mask is not None
    }


def record_test(path: Path, samples: Sequence[Annotated], look: str) -> Card:
    """Measure saved weights on the test split and write the result and the look into their card.

    Args:
        path: the safetensors file; its card is rewritten.
        samples: the test split, with masks.
        look: when and why the split was looked at, one sentence.

    Returns:
        The new card: ``test_dice``, ``test_standard_error``, ``test_images`` and one more entry in
        ``looks_at_test``.
    """
    card = read_card(path)
    scores = measure(load_segmenter(path, "cpu"), samples)
    values = np.array(list(scores.values()))
    metrics: dict[str, Any] = dict(card.metrics)
    metrics |= {
        "test_dice": round(float(values.mean()), 4),
        "test_standard_error": round(float(values.std() / len(values) ** 0.5), 4),
        "test_images": scores,
        "looks_at_test": [*metrics.get("looks_at_test", []), look],
    }
    card = replace(card, metrics=metrics)
    write_card(path, card)
    return card


def _score(
    segmenter: Segmenter, image: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_]
) -> float:
    return dice(binarize(segmenter(image[np.newaxis])[0]), mask)
