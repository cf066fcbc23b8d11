from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmic_gym.bench.bdrate import RDCurve, bd_rate
from dmic_gym.bench.bootstrap import Draws, bd_rates, bits_at
from dmic_gym.errors import InvalidInputError
from dmic_gym.types import Floats


def curves(rng: np.random.Generator, n: int, points: int) -> tuple[Floats, Floats]:
    """Noisy rising curves, some with dominated points, some too flat for a BD-rate."""
    bits = 1000 * 2.0 ** (np.arange(points) + rng.normal(0, 0.3, (n, points)))
    quality = 0.6 + 0.05 * np.arange(points) + rng.normal(0, 0.04, (n, points))
    return bits, quality + rng.choice([0, 0.4], (n, 1), p=[0.9, 0.1])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 7), st.integers(3, 6))
def test_many_at_once_equal_the_library_one_by_one(seed: int, points: int, others: int) -> None:
    rng = np.random.default_rng(seed)
    anchor, test = curves(rng, 40, points), curves(rng, 40, others)
    found = bd_rates(*anchor, *test)
    for n in range(40):
        one = bd_rate(*(RDCurve(bits[n], quality[n]) for bits, quality in (anchor, test))).percent
        assert (one is None) == np.isnan(found[n])
        if one is not None:
            assert found[n] == pytest.approx(one, rel=1e-9, abs=1e-9)


def test_means_are_those_of_the_images_drawn() -> None:
    values = np.random.default_rng(1).normal(size=(5, 3))
    drawn = np.random.default_rng(7).integers(0, 5, (20, 5))
    np.testing.assert_allclose(Draws(5, 20, seed=7).means(values), values[drawn].mean(axis=1))


def test_a_paired_difference_is_told_apart_where_each_alone_is_not() -> None:
    rng = np.random.default_rng(0)
    draws, luck = Draws(50), rng.normal(0, 10, 50)
    first, second = luck + rng.normal(0, 0.5, 50), luck + rng.normal(1, 0.5, 50)
    means = [draws.means(values[:, None])[:, 0] for values in (first, second)]
    apart, together = (draws.interval(values).bounds for values in (means[1], means[1] - means[0]))
    assert apart is not None
    assert together is not None
    assert apart[0] < 0 < apart[1]
    assert 0 < together[0] < 1 < together[1]


def test_bits_at_a_quality_are_read_off_a_line_over_log_bits() -> None:
    bits, quality = np.array([[400.0, 100.0, 1600.0]]), np.array([[0.7, 0.5, 0.8]])
    for level, expected in [(0.6, 200.0), (0.75, 800.0), (0.5, 100.0), (0.8, 1600.0)]:
        assert bits_at(bits, quality, np.array([level])) == pytest.approx([expected])
    for level in (0.49, 0.81):
        assert np.isnan(bits_at(bits, quality, np.array([level]))).all()


@given(st.integers(0, 2**32 - 1))
def test_bits_at_a_quality_rise_with_it(seed: int) -> None:
    bits, quality = curves(np.random.default_rng(seed), 1, 6)
    levels = np.linspace(0.4, 1.3, 50)
    found = bits_at(np.repeat(bits, 50, 0), np.repeat(quality, 50, 0), levels)
    defined = found[np.isfinite(found)]
    assert (np.diff(defined) > -1e-9).all()
    assert (
        np.isfinite(found).sum()
        == ((levels >= quality[0][bits[0].argmin()]) & (levels <= quality.max())).sum()
    )


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="n_images=0"):
        Draws(0)
    with pytest.raises(InvalidInputError, match="n_resamples=0"):
        Draws(3, 0)
