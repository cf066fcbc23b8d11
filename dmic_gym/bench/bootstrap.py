"""Percentile intervals over images: all resamples of a comparison at once.

`Draws` draws the images anew once; whatever is computed with the same draws is paired, so that
the difference of two agents can be told apart from 0 although both scatter with the images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dmic_gym.bench.pchip import pchip_integrals
from dmic_gym.errors import InvalidInputError
from dmic_gym.types import Floats

MIN_POINTS = 3
MAX_UNDEFINED_SHARE = 0.05
RESAMPLES = 1000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A percentile interval.

    Attributes:
        bounds: (low, high), in units of the statistic, or None where there is no interval.
        note: why there is none, or how many resamples were left out; may be empty.
    """

    bounds: tuple[float, float] | None
    note: str


class Draws:
    """Images drawn anew with replacement, the same for everything that is compared.

    Args:
        n_images: images to draw from and in each resample.
        n_resamples: resamples.
        seed: of the draws; equal seeds give equal draws.

    Raises:
        InvalidInputError: no image, or no resample.
    """

    def __init__(self, n_images: int, n_resamples: int = RESAMPLES, seed: int = 0) -> None:
        if n_images < 1 or n_resamples < 1:
            raise InvalidInputError(
                f"n_images={n_images}, n_resamples={n_resamples}: both must be at least 1."
            )
        drawn = np.random.default_rng(seed).integers(0, n_images, (n_resamples, n_images))
        rows = np.arange(n_resamples)[:, None] * n_images
        counts = np.bincount((rows + drawn).ravel(), minlength=n_resamples * n_images)
        self.n_images = n_images
        self._weights = counts.reshape(n_resamples, n_images) / n_images

    def means(self, values: Floats) -> Floats:
        """Return the mean over the images of each resample.

        Args:
            values: float array (images, points).

        Returns:
            Float array (resamples, points).
        """
        return np.asarray(self._weights @ values, np.float64)

    def interval(
        self, values: Floats, what: str = "BD-rate", confidence: float = CONFIDENCE
    ) -> Interval:
        """Return the interval that spans a share of the resamples' statistics.

        Args:
            values: float array (resamples,); NaN where the statistic is undefined.
            what: name of the statistic for the note.
            confidence: share of the resamples, between 0 and 1.

        Returns:
            None for one image, and when more than 5 % of the resamples are undefined; up to there
            such resamples are left out and counted in the note.
        """
        if not 0 < confidence < 1:
            raise InvalidInputError(
                f"confidence must lie between 0 and 1, got {confidence}; try 0.95."
            )
        if self.n_images < 2:
            return Interval(None, "no interval: at least 2 images are needed, got 1")
        defined = values[np.isfinite(values)]
        n_undefined = len(values) - len(defined)
        count = f"{n_undefined} of {len(values)} resamples have no {what}"
        if n_undefined > MAX_UNDEFINED_SHARE * len(values):
            limit = f"more than {100 * MAX_UNDEFINED_SHARE:.0f} %"
            return Interval(None, f"no interval: {count}, {limit}")
        tail = 50 * (1 - confidence)
        low, high = np.percentile(defined, [tail, 100 - tail])
        return Interval((float(low), float(high)), count if n_undefined else "")


def bd_rates(
    anchor_bits: Floats, anchor_quality: Floats, test_bits: Floats, test_quality: Floats
) -> Floats:
    """Return the BD-rate of many pairs of curves, as `dmic_gym.bench.bdrate.bd_rate` has each.

    Args:
        anchor_bits: float array (curves, points), above 0.
        anchor_quality: the same shape.
        test_bits: float array (curves, points of the test).
        test_quality: the same shape.

    Returns:
        Float array (curves,), percent; NaN where a BD-rate is undefined.
    """
    anchor, test = _rising(anchor_bits, anchor_quality), _rising(test_bits, test_quality)
    found = np.full(len(anchor_bits), np.nan)
    for n_anchor in range(MIN_POINTS, anchor_bits.shape[1] + 1):
        for n_test in range(MIN_POINTS, test_bits.shape[1] + 1):
            rows = np.flatnonzero((anchor.kept == n_anchor) & (test.kept == n_test))
            if len(rows):
                found[rows] = _percent(anchor.first(rows, n_anchor), test.first(rows, n_test))
    return found


def bits_at(bits: Floats, quality: Floats, level: Floats) -> Floats:
    """Return the bits at which each curve reaches a quality.

    A curve is made monotone (the best quality at no more bits) and is a straight line between
    its points over the logarithm of the bits.

    Args:
        bits: float array (curves, points), above 0, in any order.
        quality: the same shape.
        level: float array (curves,).

    Returns:
        Float array (curves,); NaN where all points lie above or all below the level.
    """
    order = np.argsort(bits, axis=1, kind="stable")
    rates = np.log10(np.take_along_axis(bits, order, 1))
    best = np.maximum.accumulate(np.take_along_axis(quality, order, 1), axis=1)
    reached = best >= level[:, None]
    above = reached.argmax(axis=1)
    below, rows = np.maximum(above - 1, 0), np.arange(len(bits))
    step = best[rows, above] - best[rows, below]
    share = np.divide(level - best[rows, below], step, out=np.zeros_like(level), where=step > 0)
    found = 10 ** (rates[rows, below] + share * (rates[rows, above] - rates[rows, below]))
    defined = reached.any(axis=1) & ((above > 0) | (best[:, 0] == level))
    return np.where(defined, found, np.nan)


@dataclass(frozen=True, eq=False)
class _Rising:
    """Non-dominated points of many curves, those of each at the left."""

    rates: Floats
    quality: Floats
    kept: npt.NDArray[np.int64]

    def first(self, rows: npt.NDArray[np.int64], count: int) -> tuple[Floats, Floats]:
        return self.quality[rows, :count], self.rates[rows, :count]


def _rising(bits: Floats, quality: Floats) -> _Rising:
    rates = np.log10(bits)
    order = np.lexsort((-quality, rates), axis=1)
    rates, quality = np.take_along_axis(rates, order, 1), np.take_along_axis(quality, order, 1)
    best = np.maximum.accumulate(quality, axis=1)
    keep = np.ones(quality.shape, bool)
    keep[:, 1:] = quality[:, 1:] > best[:, :-1]
    left = np.argsort(~keep, axis=1, kind="stable")
    rates, quality = np.take_along_axis(rates, left, 1), np.take_along_axis(quality, left, 1)
    return _Rising(rates, quality, keep.sum(axis=1))


def _percent(anchor: tuple[Floats, Floats], test: tuple[Floats, Floats]) -> Floats:
    low = np.maximum(anchor[0][:, 0], test[0][:, 0])
    high = np.minimum(anchor[0][:, -1], test[0][:, -1])
    span = np.where(high > low, high - low, np.nan)
    areas = (pchip_integrals(*curve, low, high) for curve in (test, anchor))
    return np.asarray((10 ** ((next(areas) - next(areas)) / span) - 1) * 100, np.float64)
