from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmic_gym.errors import InvalidInputError, WeightsError
from dmic_gym.tasks.segmenters.calibration import (
    Calibration,
    calibration_error,
    fit_calibration,
    reliability,
)


def overconfident(seed: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Draw truths from p, and report p pushed away from one half."""
    rng = np.random.default_rng(seed)
    p = rng.beta(0.5, 2.0, (80, 300))
    logit = np.log(p / (1 - p) + 1e-12)
    return 1 / (1 + np.exp(-3 * logit)), rng.random(p.shape) < p


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12))
def test_the_fit_is_monotone_and_keeps_the_mean(seed: int, bins: int) -> None:
    raw, truth = overconfident(seed)
    calibration = fit_calibration(raw, truth, bins)
    assert (np.diff(calibration.calibrated) >= 0).all()
    order = np.argsort(raw, axis=None)
    mass = np.cumsum(raw.ravel()[order] + truth.ravel()[order])
    edges = np.searchsorted(mass / mass[-1], np.linspace(0, 1, bins + 1)[1:-1])
    pixels = [group.size for group in np.split(order, edges)]
    mean = np.average(calibration.calibrated, weights=pixels)
    assert mean == pytest.approx(truth.mean())


def test_a_network_that_ranks_backwards_gets_one_probability() -> None:
    raw = np.repeat([0.2, 0.8], 50)
    truth = np.concatenate([np.arange(50) < 30, np.arange(50) < 10])
    assert fit_calibration(raw, truth, bins=2).calibrated == pytest.approx([0.4, 0.4], abs=0.02)


def test_calibration_mends_an_overconfident_network_on_new_data() -> None:
    raw, truth = overconfident(0)
    calibration = fit_calibration(raw, truth, bins=16)
    new, new_truth = overconfident(1)
    before = calibration_error(reliability(new, new_truth))
    after = calibration_error(reliability(calibration(new), new_truth))
    assert before > 0.1
    assert after < 0.02
    assert len(calibration.raw) <= 16


def test_reliability_by_hand() -> None:
    p = np.array([0.05, 0.15, 0.15, 1.0])
    rows = reliability(p, np.array([False, True, False, True]))
    assert [row["pixels"] for row in rows] == [1, 2, 1]
    assert [row["found"] for row in rows] == [0.0, 0.5, 1.0]
    assert calibration_error(rows) == pytest.approx((0.05 + 2 * 0.35 + 0.0) / 4)


def test_knots_are_joined_by_lines() -> None:
    calibration = Calibration([0.2, 0.6], [0.1, 0.5])
    assert calibration(np.array([0.0, 0.2, 0.4, 0.6, 1.0])) == pytest.approx(
        [0.1, 0.1, 0.3, 0.5, 0.5]
    )


@pytest.mark.parametrize(
    ("raw", "calibrated"),
    [([0.2, 0.2], [0.1, 0.2]), ([0.1, 0.2], [0.5, 0.4]), ([0.1], [1.5]), ([], []), ([0.1], [])],
)
def test_no_calibration_is_refused(raw: list[float], calibrated: list[float]) -> None:
    with pytest.raises(WeightsError, match="non-decreasing"):
        Calibration(raw, calibrated)


def test_fitting_needs_a_truth() -> None:
    with pytest.raises(InvalidInputError, match="at least one True"):
        fit_calibration(np.zeros((2, 2)), np.zeros((2, 2), bool), 4)
