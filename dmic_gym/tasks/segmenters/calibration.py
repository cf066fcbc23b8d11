"""From a network's probability to how often it is right: isotonic calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression

from dmic_gym.errors import InvalidInputError, WeightsError
from dmic_gym.types import Mask, Probability

AnyFloats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Calibration:
    """A non-decreasing, piecewise linear map from raw to calibrated probability.

    Attributes:
        raw: increasing knots in 0..1.
        calibrated: the value at each knot, non-decreasing, 0..1; constant beyond the last.
    """

    raw: Sequence[float]
    calibrated: Sequence[float]

    def __post_init__(self) -> None:
        raw, calibrated = np.asarray(self.raw), np.asarray(self.calibrated)
        fine = raw.ndim == 1 and raw.size > 0 and raw.shape == calibrated.shape
        fine = fine and bool((np.diff(raw) > 0).all() and (np.diff(calibrated) >= 0).all())
        if not (fine and calibrated.min() >= 0.0 and calibrated.max() <= 1.0):
            raise WeightsError(
                "A calibration needs equally many raw and calibrated values, raw increasing, "
                f"calibrated non-decreasing in 0..1; got {self.raw} and {self.calibrated}."
            )

    def __call__(self, probability: AnyFloats) -> Probability:
        """Return calibrated probabilities of the same shape."""
        return np.interp(probability, self.raw, self.calibrated).astype(np.float32)


def fit_calibration(probability: AnyFloats, truth: Mask, bins: int) -> Calibration:
    """Fit by isotonic regression on bins of equal mass of vessel.

    Args:
        probability: any shape, 0..1, of images the network has not seen.
        truth: bool array of that shape.
        bins: knots at most.

    Raises:
        InvalidInputError: the shapes differ, or truth holds no True.
    """
    if probability.shape != truth.shape or not truth.any():
        raise InvalidInputError(
            f"Calibration needs probabilities {probability.shape} and a truth {truth.shape} of one "
            "shape with at least one True."
        )
    order = np.argsort(probability, axis=None)
    p, y = probability.ravel()[order].astype(float), truth.ravel()[order].astype(float)
    mass = np.cumsum(p + y) / float((p + y).sum())
    groups = np.split(np.arange(p.size), np.searchsorted(mass, np.linspace(0, 1, bins + 1)[1:-1]))
    groups = [group for group in groups if group.size]
    raw = np.array([p[group].mean() for group in groups])
    found = [y[group].mean() for group in groups]
    fitted = isotonic_regression(found, weights=[group.size for group in groups]).x
    keep = np.concatenate([[True], np.diff(raw) > 1e-9])
    return Calibration([float(v) for v in raw[keep]], [float(v) for v in fitted[keep]])


def reliability(
    probability: AnyFloats, truth: Mask, edges: Sequence[float] | None = None
) -> list[Mapping[str, float]]:
    """Tabulate what was promised against what came true.

    Args:
        probability: any shape, 0..1.
        truth: bool array of that shape.
        edges: bin edges; tenths by default.

    Returns:
        For each bin that holds pixels: its edges, pixels, mean probability, share of True.
    """
    edges = edges if edges is not None else [k / 10 for k in range(11)]
    place = np.clip(np.digitize(probability, edges) - 1, 0, len(edges) - 2)
    groups = ((k, place == k) for k in range(len(edges) - 1))
    return [
        {
            "from": edges[k],
            "to": edges[k + 1],
            "pixels": int(inside.sum()),
            "promised": round(float(probability[inside].mean()), 4),
            "found": round(float(truth[inside].mean()), 4),
        }
        for k, inside in groups
        if inside.any()
    ]


def calibration_error(rows: Sequence[Mapping[str, float]]) -> float:
    """Return the expected calibration error of a reliability table (Naeini 2015), 0..1."""
    pixels = sum(row["pixels"] for row in rows)
    return sum(row["pixels"] * abs(row["promised"] - row["found"]) for row in rows) / pixels
