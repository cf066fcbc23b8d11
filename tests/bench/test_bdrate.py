from __future__ import annotations

from typing import Any

import bjontegaard
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmic_gym.bench.bdrate import RDCurve, bd_quality, bd_rate, bootstrap_bd_rate
from dmic_gym.errors import InvalidInputError

Floats = npt.NDArray[np.float64]

# Input of the example scripts published with the bjontegaard package (rates, PSNRs, anchor first).
PACKAGE_EXAMPLES = [
    (
        [9487.76, 4593.60, 2486.44, 1358.24],
        [40.037, 38.615, 36.845, 34.851],
        [9787.80, 4469.00, 2451.52, 1356.24],
        [40.121, 38.651, 36.970, 34.987],
    ),
    (
        [82472.76, 26875.24, 9487.76, 4593.6],
        [43.825, 41.404, 40.037, 38.615],
        [99896.96, 33952.04, 9787.8, 4469.0],
        [44.731, 41.875, 40.121, 38.651],
    ),
    (
        [82472.76, 26875.24, 9487.76, 4593.6, 3600, 2900],
        [43.825, 41.404, 40.037, 38.615, 36.5, 35.1],
        [99896.96, 33952.04, 9787.8, 4469.0, 4040, 3300],
        [44.731, 41.875, 40.121, 38.651, 37, 36.5],
    ),
]
# JCTVC-E137 curves with the BD-rates that other pchip implementations publish for them.
PUBLISHED = [
    (
        [108048.8736, 61279.976, 33905.6656, 18883.6928],
        [43.6471, 40.3953, 37.247, 34.2911],
        [108061.2784, 61299.9936, 33928.7472, 18910.912],
        [43.6768, 40.4232, 37.2761, 34.3147],
        -0.465215420752807,
    ),
    (
        [40433.8848, 7622.7456, 2394.488, 1017.6184],
        [37.5761, 35.3756, 33.8977, 32.0603],
        [40370.12, 7587.0024, 2390.0944, 1017.0984],
        [37.5982, 35.4025, 33.9194, 32.0822],
        -1.8779823450567612,
    ),
]


def curve(bits: npt.ArrayLike, quality: npt.ArrayLike) -> RDCurve:
    return RDCurve(np.asarray(bits, dtype=np.float64), np.asarray(quality, dtype=np.float64))


ANCHOR = curve([1000.0, 2000.0, 4000.0, 8000.0], [0.60, 0.70, 0.75, 0.77])


@st.composite
def curves(draw: st.DrawFn) -> RDCurve:
    """Rising curves through (about) the same quality range, 3 to 7 points, in any order."""
    n = draw(st.integers(3, 7))
    log_steps = draw(st.lists(st.floats(0.05, 2.0), min_size=n, max_size=n))
    steps = draw(st.lists(st.floats(0.01, 1.0), min_size=n - 1, max_size=n - 1))
    quality = 0.3 + 0.5 * np.concatenate(([0.0], np.cumsum(steps) / np.sum(steps)))
    order = draw(st.permutations(range(n)))
    return curve(np.exp(5 + np.cumsum(log_steps))[order], quality[order])


def percent(anchor: RDCurve, test: RDCurve) -> float:
    result = bd_rate(anchor, test)
    assert result.percent is not None, result.note
    return result.percent


@pytest.mark.parametrize("example", PACKAGE_EXAMPLES)
def test_equals_the_package_on_its_own_examples(
    example: tuple[list[float], list[float], list[float], list[float]],
) -> None:
    anchor, test = curve(*example[:2]), curve(*example[2:])
    expected: dict[str, Any] = {"method": "pchip", "min_overlap": 0}
    assert percent(anchor, test) == pytest.approx(
        bjontegaard.bd_rate(*example, **expected), rel=1e-12
    )
    assert bd_quality(anchor, test).delta == pytest.approx(
        bjontegaard.bd_psnr(*example, **expected), rel=1e-12
    )


@pytest.mark.parametrize("example", PUBLISHED)
def test_equals_published_bd_rates(
    example: tuple[list[float], list[float], list[float], list[float], float],
) -> None:
    anchor, test = curve(*example[:2]), curve(*example[2:4])
    assert percent(anchor, test) == pytest.approx(example[4], abs=1e-9)


def test_lines_in_log_rate_have_a_closed_form() -> None:
    # Over quality q in 1..3 the log2(bits) are 10 + q and 9 + 2q.
    quality = np.array([0.0, 1.0, 2.0, 3.0])
    anchor, test = (
        curve(2.0 ** (10 + quality), quality),
        curve(2.0 ** (11 + 2 * quality), 1 + quality),
    )
    assert percent(anchor, test) == pytest.approx((2.0**1 - 1) * 100, rel=1e-12)
    # Over log2(bits) in 11..13 the qualities are log2(bits) - 10 and (log2(bits) - 9) / 2.
    assert bd_quality(anchor, test).delta == pytest.approx(-0.5, rel=1e-12)


def test_half_the_bits_is_minus_fifty_percent_without_remark() -> None:
    result = bd_rate(ANCHOR, curve(ANCHOR.bits / 2, ANCHOR.quality))
    assert result.percent == pytest.approx(-50.0, rel=1e-12)
    assert result.note == ""


@given(curves())
def test_a_curve_against_itself_is_exactly_zero(given_curve: RDCurve) -> None:
    assert bd_rate(given_curve, given_curve).percent == 0.0
    assert bd_quality(given_curve, given_curve).delta == 0.0


@given(curves(), st.floats(0.1, 10.0))
def test_scaled_bits_give_the_scale(anchor: RDCurve, factor: float) -> None:
    scaled = curve(anchor.bits * factor, anchor.quality)
    assert percent(anchor, scaled) == pytest.approx(100 * (factor - 1), rel=1e-7, abs=1e-7)


@given(curves(), st.floats(-0.2, 0.2))
def test_shifted_quality_gives_the_shift(anchor: RDCurve, shift: float) -> None:
    delta = bd_quality(anchor, curve(anchor.bits, anchor.quality + shift)).delta
    assert delta == pytest.approx(shift, abs=1e-9)


@given(curves(), curves())
def test_swapped_curves_give_the_reciprocal(anchor: RDCurve, test: RDCurve) -> None:
    there, back = percent(anchor, test), percent(test, anchor)
    assert (1 + there / 100) * (1 + back / 100) == pytest.approx(1.0, rel=1e-9)


@given(curves(), curves(), st.integers(0, 6), st.floats(1.0, 3.0), st.floats(0.0, 0.2))
def test_dominated_points_change_nothing(
    anchor: RDCurve, test: RDCurve, index: int, more_bits: float, less_quality: float
) -> None:
    i = index % len(test.bits)
    worse = curve(
        np.append(test.bits, test.bits[i] * more_bits),
        np.append(test.quality, test.quality[i] - less_quality),
    )
    plain, result = bd_rate(anchor, test), bd_rate(anchor, worse)
    assert result.percent == plain.percent
    assert bd_quality(anchor, worse).delta == bd_quality(anchor, test).delta
    assert f"1 of {len(worse.bits)} test points dominated" in result.note


def test_points_that_are_not_dominated_do_change_the_result() -> None:
    better = curve([*ANCHOR.bits, 2100.0], [*ANCHOR.quality, 0.74])
    assert abs(percent(ANCHOR, better)) > 1.0


def test_too_few_points_are_undefined_and_named() -> None:
    flat = curve(ANCHOR.bits, [0.7, 0.7, 0.72, 0.71])
    for result in (bd_rate(ANCHOR, flat), bd_rate(flat, ANCHOR)):
        assert result.percent is None
        assert result.note.startswith("undefined: ")
        assert "2 non-dominated of 4 points" in result.note
    assert "test curve" in bd_rate(ANCHOR, flat).note
    assert "anchor curve" in bd_rate(flat, ANCHOR).note
    assert bd_quality(ANCHOR, flat).delta is None


@pytest.mark.parametrize("offset", [0.17, 0.3], ids=["touching", "apart"])
def test_curves_without_common_quality_are_undefined(offset: float) -> None:
    result = bd_rate(ANCHOR, curve(ANCHOR.bits, ANCHOR.quality + offset))
    assert result.percent is None
    assert "ranges of quality do not overlap (anchor 0.6..0.77, test" in result.note
    assert bd_quality(ANCHOR, curve(ANCHOR.bits, ANCHOR.quality + offset)).delta is not None


def test_curves_without_common_bits_have_no_bd_quality_but_a_bd_rate() -> None:
    far = curve(ANCHOR.bits * 10, ANCHOR.quality)
    result = bd_quality(ANCHOR, far)
    assert result.delta is None
    assert "ranges of bits do not overlap (anchor 1000..8000, test 10000..80000)" in result.note
    assert percent(ANCHOR, far) == pytest.approx(900.0)


def test_small_overlap_is_remarked() -> None:
    result = bd_rate(ANCHOR, curve(ANCHOR.bits, ANCHOR.quality + 0.136))
    assert result.percent is not None
    assert result.note == "overlap is only 20 % of the smaller range of quality"
    assert bd_rate(ANCHOR, curve(ANCHOR.bits, ANCHOR.quality + 0.08)).note == ""
    costly = bd_quality(ANCHOR, curve(ANCHOR.bits * 4, ANCHOR.quality))
    assert costly.note == "overlap is only 33 % of the smaller range of bits"


@pytest.mark.parametrize(
    ("bits", "quality"),
    [
        ([1.0, np.nan, 3.0], [0.1, 0.2, 0.3]),
        ([1.0, 2.0, 3.0], [0.1, np.inf, 0.3]),
        ([0.0, 2.0, 3.0], [0.1, 0.2, 0.3]),
        ([1.0, 2.0], [0.1, 0.2, 0.3]),
        ([[1.0, 2.0]], [[0.1, 0.2]]),
        ([], []),
    ],
)
def test_bad_curves_are_refused(bits: list[float], quality: list[float]) -> None:
    with pytest.raises(InvalidInputError):
        curve(bits, quality)


def images(n: int, noise: float, seed: int = 0) -> tuple[Floats, Floats, Floats, Floats]:
    """Images whose bits differ tenfold; the test needs about 0.7 of the bits of the anchor."""
    rng = np.random.default_rng(seed)
    size = 10 ** rng.uniform(0, 1, (n, 1))
    bits = size * ANCHOR.bits
    quality = ANCHOR.quality + rng.normal(0, 0.05, (n, 1))
    ratio = 0.7 * np.exp(rng.normal(0, noise, (n, 1)))
    return bits, quality, bits * ratio, quality


def test_interval_covers_the_point_estimate_and_the_truth() -> None:
    data = images(30, noise=0.2)
    low, high = bootstrap_bd_rate(*data, n_resamples=400).bounds or (np.nan, np.nan)
    means = [values.mean(axis=0) for values in data]
    assert low < percent(curve(*means[:2]), curve(*means[2:])) < high
    assert low < -30.0 < high
    assert 2.0 < high - low < 30.0


def test_anchor_and_test_are_drawn_together() -> None:
    bits, quality, _, _ = images(20, noise=0.0)
    bounds = bootstrap_bd_rate(bits, quality, bits / 2, quality, n_resamples=100).bounds
    assert bounds == pytest.approx((-50.0, -50.0), abs=1e-9)
    assert bootstrap_bd_rate(bits, quality, bits, quality, n_resamples=50).bounds == (0.0, 0.0)


def test_identical_images_give_a_degenerate_interval() -> None:
    rows = [np.tile(values, (5, 1)) for values in (ANCHOR.bits, ANCHOR.quality)]
    low, high = bootstrap_bd_rate(rows[0], rows[1], rows[0] * 1.3, rows[1]).bounds or (0.0, 1.0)
    assert low == pytest.approx(high, abs=1e-9) == pytest.approx(30.0)


def test_seed_decides_and_confidence_widens() -> None:
    data = images(15, noise=0.3)
    first = bootstrap_bd_rate(*data, n_resamples=200, seed=1)
    assert bootstrap_bd_rate(*data, n_resamples=200, seed=1) == first
    assert bootstrap_bd_rate(*data, n_resamples=200, seed=2) != first
    narrow = bootstrap_bd_rate(*data, n_resamples=200, seed=1, confidence=0.5).bounds
    assert first.bounds is not None
    assert narrow is not None
    assert first.bounds[0] < narrow[0] < narrow[1] < first.bounds[1]


def test_interval_spans_the_asked_share() -> None:
    # Of two images a quarter of the draws holds the first twice and a quarter the second twice.
    bits, quality = np.tile(ANCHOR.bits, (2, 1)), np.tile(ANCHOR.quality, (2, 1))
    data = (bits, quality, bits * [[0.5], [0.7]], quality)
    assert bootstrap_bd_rate(*data, confidence=0.6).bounds == pytest.approx((-50.0, -30.0))
    assert bootstrap_bd_rate(*data, confidence=0.4).bounds == pytest.approx((-40.0, -40.0))


def flat_images(n_flat: int, n: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Of n images only the others rise: a draw of flat ones alone has no curve."""
    bits, quality = np.tile(ANCHOR.bits, (n, 1)), np.tile(ANCHOR.quality, (n, 1))
    quality[:n_flat] = 0.7
    return bits, quality, bits / 2, quality


def test_undefined_draws_are_counted_or_forbid_the_interval() -> None:
    many = bootstrap_bd_rate(*flat_images(4, 5), n_resamples=200)
    assert many.bounds is None
    assert "of 200 resamples have no BD-rate, more than 5 %" in many.note
    few = bootstrap_bd_rate(*flat_images(1, 3), n_resamples=500)
    assert few.bounds == pytest.approx((-50.0, -50.0))
    assert few.note.endswith("of 500 resamples have no BD-rate")


def test_one_image_has_no_interval() -> None:
    result = bootstrap_bd_rate(*images(1, noise=0.0))
    assert result.bounds is None
    assert "at least 2 images" in result.note


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 3), st.sampled_from([np.nan, np.inf, -np.inf]))
def test_values_that_are_not_finite_are_refused(which: int, value: float) -> None:
    data = [values.copy() for values in images(4, noise=0.1)]
    data[which][2, 1] = value
    with pytest.raises(InvalidInputError, match="finite"):
        bootstrap_bd_rate(*data, n_resamples=5)


@pytest.mark.parametrize(
    "change", [{"n_resamples": 0}, {"confidence": 0.0}, {"confidence": 1.0}, {"confidence": 95.0}]
)
def test_bad_bootstrap_settings_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(change))):
        bootstrap_bd_rate(*images(3, noise=0.1), **change)


def test_other_images_in_the_test_are_refused() -> None:
    anchor, test = images(3, noise=0.1), images(4, noise=0.1)
    with pytest.raises(InvalidInputError, match="3 images and test 4"):
        bootstrap_bd_rate(*anchor[:2], *test[2:])
