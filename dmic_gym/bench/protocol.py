"""What a benchmark compares, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from dmic_gym.io import versions_of
from dmic_gym.tasks.data.clip import Clip
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.metrics import METRICS

PROTOCOL = 2
"""Raised by hand whenever a change makes old and new figures incomparable."""

ANCHOR = "anchor"
"""The agent that all others are compared with."""

RIVAL = "roi"
"""The agent that all others are compared with as well, where it takes part."""

UNUSABLE = "oracle"
"""The agent that knows the expert mask: a bound, not a method."""

METRIC = METRICS["dice"].label
"""What the quality is called by which rows are compared."""

STANDARD_QPS = (22, 27, 32, 37)
LOW_RATE_QPS = (32, 37, 42, 47)

LEVELS = (99, 97, 95)
"""Percent of the anchor's best quality at which bits are given."""

METHOD = {
    "quality": f"{METRIC} against the expert mask; mean bits against mean {METRIC} over images",
    "bd_rate": "bjontegaard, pchip on log rate, non-dominated points, total bits",
    "bits_at": "percent of the anchor's best quality, straight lines on log rate, monotone",
    "interval": "95 % percentile bootstrap over images, 1000 resamples, seed 0, paired",
}
"""How figures are computed, in words."""

PACKAGES = (
    "dmic_gym",
    "av",
    "bjontegaard",
    "gymnasium",
    "numpy",
    "opencv-python-headless",
    "torch",
)


Results = Mapping[str, Any]
"""What ``results.json`` holds of one data set and encoder; see `results_of`."""


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that influence a result."""
    return versions_of(PACKAGES)


S = TypeVar("S", Sample, Clip, Sample | Clip)


def split_by_use(samples: Sequence[S]) -> tuple[list[S], list[str]]:
    """Return the images or clips to code, and the names of those left out.

    Those are left out whose expert mask is empty, in a clip that of every frame.

    A Dice against an empty mask is 0 or 1 whatever the image, so it says nothing of a codec.
    """
    masks = {s.name: s.masks if isinstance(s, Clip) else s.mask for s in samples}
    empty = [name for name, mask in masks.items() if mask is not None and not np.any(mask)]
    return [s for s in samples if s.name not in empty], empty
