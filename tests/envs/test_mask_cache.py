"""Masks come back as they went in, or are made again."""

from __future__ import annotations

import numpy as np
import pytest

from dmic_gym.envs.mask_cache import MaskCache


@pytest.mark.parametrize("shape", [(1, 1), (13, 7), (64, 64)])
def test_a_mask_comes_back(shape: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).random(shape) < 0.3
    cache = MaskCache(1 << 20)
    cache.keep("a", mask)
    found = cache.get("a", shape, lambda: np.zeros(shape, np.bool_))
    assert found.dtype == np.bool_
    assert np.array_equal(found, mask)


def test_a_dropped_mask_is_computed_again() -> None:
    cache, empty = MaskCache(100), np.zeros((32, 32), np.bool_)
    noise = np.random.default_rng(0).random((2, 32, 32)) < 0.5
    for key, mask in enumerate(noise):
        cache.keep(key, mask)
    assert not cache.get(0, (32, 32), lambda: empty).any()
