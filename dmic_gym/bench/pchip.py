"""Integrals of many monotone piecewise cubic interpolants at once.

scipy's `PchipInterpolator` takes one set of abscissae; a bootstrap of BD-rates has a thousand.
Source: F. N. Fritsch, J. Butland, SIAM J. Sci. Stat. Comput. 5 (1984), with the three-point end
slopes that scipy uses.
"""

from __future__ import annotations

import numpy as np

from dmic_gym.types import Floats


def pchip_integrals(x: Floats, y: Floats, low: Floats, high: Floats) -> Floats:
    """Integrate the interpolant of each row between two bounds.

    Args:
        x: float array (curves, points), 3 points or more, strictly rising.
        y: float array of the same shape, strictly rising.
        low: float array (curves,), within a row's `x`.
        high: float array (curves,), the same.

    Returns:
        Float array (curves,); 0 where `high` is not above `low`.
    """
    step = np.diff(x, axis=1)
    secant = np.diff(y, axis=1) / step
    slope = _slopes(step, secant)
    square = (3 * secant - 2 * slope[:, :-1] - slope[:, 1:]) / step
    cube = (slope[:, :-1] + slope[:, 1:] - 2 * secant) / step**2
    start, end = (np.clip(at[:, None] - x[:, :-1], 0, step) for at in (low, np.maximum(low, high)))
    parts = (y[:, :-1], slope[:, :-1] / 2, square / 3, cube / 4)
    powers = sum(part * (end**n - start**n) for n, part in enumerate(parts, start=1))
    return np.asarray(np.sum(powers, axis=1), np.float64)


def _slopes(step: Floats, secant: Floats) -> Floats:
    """Return the interpolant's slope at each point."""
    left, right = 2 * step[:, 1:] + step[:, :-1], step[:, 1:] + 2 * step[:, :-1]
    inner = (left + right) / (left / secant[:, :-1] + right / secant[:, 1:])
    first = _end(step[:, 0], step[:, 1], secant[:, 0], secant[:, 1])
    last = _end(step[:, -1], step[:, -2], secant[:, -1], secant[:, -2])
    return np.column_stack((first, inner, last))


def _end(step: Floats, next_step: Floats, secant: Floats, next_secant: Floats) -> Floats:
    slope = ((2 * step + next_step) * secant - step * next_secant) / (step + next_step)
    return np.maximum(slope, 0.0)
