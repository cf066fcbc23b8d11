"""BD-rate and BD-quality of two rate-quality curves, with bootstrap intervals over images.

The integral is that of the ``bjontegaard`` package: piecewise cubic Hermite interpolation (pchip)
of the logarithm of the rate, as in the HEVC common test conditions (JCTVC-L1100). This module
adds what a segmentation quality needs and PSNR does not: points that cost more bits for no more
quality are left out, and a comparison without meaning is ``None`` with the reason.

Sources: G. Bjontegaard, VCEG-M33, 2001; F. Bossen, JCTVC-L1100, 2013; C. Herglotz et al., "The
Bjontegaard Bible", IEEE Transactions on Image Processing, 2024.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Literal

import numpy as np
import numpy.typing as npt

from dmic_gym.bench.bootstrap import CONFIDENCE, MIN_POINTS, RESAMPLES, Draws, Interval, bd_rates
from dmic_gym.errors import InvalidInputError, UndefinedMetricError, required
from dmic_gym.types import Floats

Axis = Literal["bits", "quality"]

SMALL_OVERLAP = 0.5
FLAT = 0.02
"""Range of a quality below which a BD-rate is said to average over little of it."""

_PACKAGE_ARGS = {"method": "pchip", "require_matching_points": False, "min_overlap": 0}


@dataclass(frozen=True, eq=False)
class RDCurve:
    """Operating points of one encoder: what each costs and what quality it gives.

    Attributes:
        bits: float array (n,), above 0; means over images, in any order.
        quality: float array (n,), such as the mean Dice; higher is better.

    Raises:
        InvalidInputError: unequal lengths, no point, a value that is not finite, bits of 0 or less.
    """

    bits: Floats
    quality: Floats

    def __post_init__(self) -> None:
        bits, quality = _checked(self.bits, self.quality, "RDCurve", ndim=1)
        object.__setattr__(self, "bits", bits)
        object.__setattr__(self, "quality", quality)

    def non_dominated(self) -> RDCurve:
        """Return the points, by rising bits, that each beat the quality of all cheaper ones."""
        order = np.lexsort((-self.quality, np.log10(self.bits)))
        quality = self.quality[order]
        best_before = np.concatenate(([-np.inf], np.maximum.accumulate(quality)[:-1]))
        keep = order[quality > best_before]
        return RDCurve(self.bits[keep], self.quality[keep])


@dataclass(frozen=True)
class BDResult:
    """A BD-rate.

    Attributes:
        percent: mean change of the bits at equal quality, in percent of the anchor's (negative
            = bits saved), or None where it is undefined.
        note: why it is undefined, or what to know about it; empty where there is nothing to say.
        span: (low, high), the range of quality that it averages over; None where undefined.
    """

    percent: float | None
    note: str
    span: tuple[float, float] | None = None


@dataclass(frozen=True)
class BDQualityResult:
    """A BD-quality, for instance BD-Dice.

    Attributes:
        delta: mean change of the quality at equal bits, in units of the quality (positive =
            better), or None where it is undefined.
        note: as in `BDResult`.
    """

    delta: float | None
    note: str


def bd_rate(anchor: RDCurve, test: RDCurve) -> BDResult:
    """Compare the bits of two curves at equal quality, over the quality range both reach."""
    try:
        kept_anchor, kept_test, remarks = _comparable(anchor, test, "quality")
    except UndefinedMetricError as error:
        return BDResult(None, f"undefined: {error}")
    percent = _bjontegaard().bd_rate(*_points(kept_anchor), *_points(kept_test), **_PACKAGE_ARGS)
    ends = np.array([curve.quality[[0, -1]] for curve in (kept_anchor, kept_test)])
    span = float(ends[:, 0].max()), float(ends[:, 1].min())
    if span[1] - span[0] < FLAT:
        remarks.append(f"averages over a quality of {span[0]:.3f} to {span[1]:.3f} only")
    return BDResult(float(percent), "; ".join(remarks), span)


def bd_quality(anchor: RDCurve, test: RDCurve) -> BDQualityResult:
    """Compare the quality of two curves at equal bits, over the (log) bit range both reach."""
    try:
        kept_anchor, kept_test, remarks = _comparable(anchor, test, "bits")
    except UndefinedMetricError as error:
        return BDQualityResult(None, f"undefined: {error}")
    delta = _bjontegaard().bd_psnr(*_points(kept_anchor), *_points(kept_test), **_PACKAGE_ARGS)
    return BDQualityResult(float(delta), "; ".join(remarks))


def bootstrap_bd_rate(
    anchor_bits: npt.ArrayLike,
    anchor_quality: npt.ArrayLike,
    test_bits: npt.ArrayLike,
    test_quality: npt.ArrayLike,
    *,
    n_resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Interval of the BD-rate of mean curves when the images are drawn anew, with replacement.

    Anchor and test are drawn together (paired): row i of all four arrays is the same image.

    Args:
        anchor_bits: array (images, anchor QPs), bits of each image at each base QP, above 0.
        anchor_quality: array of the same shape, for instance Dice.
        test_bits: array (images, test QPs).
        test_quality: array of the same shape.
        n_resamples: number of draws.
        seed: seed of the draws; equal seeds give equal intervals.
        confidence: share of the draws that the interval spans, between 0 and 1.

    Returns:
        The percentile interval in percent; see `Draws.interval`.

    Raises:
        InvalidInputError: wrong shapes, values that are not finite, bits of 0 or less, no
            resample, or a confidence outside 0..1.
    """
    anchor = _checked(anchor_bits, anchor_quality, "anchor", ndim=2)
    test = _checked(test_bits, test_quality, "test", ndim=2)
    if len(anchor[0]) != len(test[0]):
        raise InvalidInputError(
            f"anchor has {len(anchor[0])} images and test {len(test[0])}; pass the same images in "
            "both."
        )
    draws = Draws(len(anchor[0]), n_resamples, seed)
    rates = bd_rates(*(draws.means(values) for values in (*anchor, *test)))
    return draws.interval(rates, confidence=confidence)


def _comparable(anchor: RDCurve, test: RDCurve, axis: Axis) -> tuple[RDCurve, RDCurve, list[str]]:
    kept_anchor, kept_test = anchor.non_dominated(), test.non_dominated()
    dropped = _dropped("anchor", anchor, kept_anchor) + _dropped("test", test, kept_test)
    remarks = dropped + _small_overlap(kept_anchor, kept_test, axis, dropped)
    return kept_anchor, kept_test, remarks


def _dropped(name: str, given: RDCurve, kept: RDCurve) -> list[str]:
    n_given, n_kept = len(given.bits), len(kept.bits)
    if n_kept < MIN_POINTS:
        raise UndefinedMetricError(
            f"the {name} curve has {n_kept} non-dominated of {n_given} points, "
            f"at least {MIN_POINTS} are needed"
        )
    return [f"{n_given - n_kept} of {n_given} {name} points dominated"] * (n_kept < n_given)


def _small_overlap(anchor: RDCurve, test: RDCurve, axis: Axis, dropped: list[str]) -> list[str]:
    ends = np.array([getattr(curve, axis)[[0, -1]] for curve in (anchor, test)])
    low, high = (np.log10(ends) if axis == "bits" else ends).T
    overlap = high.min() - low.max()
    if overlap <= 0:
        spans = "anchor {:.5g}..{:.5g}, test {:.5g}..{:.5g}".format(*ends.flat)
        reason = f"the ranges of {axis} do not overlap ({spans})"
        raise UndefinedMetricError("; ".join([reason, *dropped]))
    share = overlap / (high - low).min()
    remark = f"overlap is only {100 * share:.2g} % of the smaller range of {axis}"
    return [remark] if share < SMALL_OVERLAP else []


def _points(curve: RDCurve) -> tuple[Floats, Floats]:
    return curve.bits, curve.quality


def _checked(
    bits: npt.ArrayLike, quality: npt.ArrayLike, name: str, *, ndim: int
) -> tuple[Floats, Floats]:
    bits, quality = np.asarray(bits, dtype=np.float64), np.asarray(quality, dtype=np.float64)
    if bits.ndim != ndim or bits.shape != quality.shape or bits.size == 0:
        form = "(points,)" if ndim == 1 else "(images, QPs)"
        raise InvalidInputError(
            f"{name}: bits and quality must be non-empty arrays {form} of equal shape, "
            f"got {bits.shape} and {quality.shape}."
        )
    if not (np.isfinite(bits).all() and np.isfinite(quality).all()):
        raise InvalidInputError(
            f"{name}: bits and quality must be finite; leave out images without a quality."
        )
    if bits.min() <= 0:
        raise InvalidInputError(f"{name}: bits must be above 0, the least is {bits.min():g}.")
    return bits, quality


def _bjontegaard() -> ModuleType:
    return required("bjontegaard", "bjontegaard", "A BD-rate")
