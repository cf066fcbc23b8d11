from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from dmic_gym.tasks.data.phantoms.dataset import Phantoms
from dmic_gym.tasks.segmenters.augment import augment
from dmic_gym.types import Plane


def varied(seed: int) -> tuple[Plane, Plane]:
    sample = Phantoms(1, size=96, seed=2)[0]
    assert sample.mask is not None
    return augment(sample.image, sample.mask, np.random.default_rng(seed), 64)


def test_a_variation_depends_on_its_seed_only() -> None:
    assert all(np.array_equal(a, b) for a, b in zip(varied(3), varied(3), strict=True))
    assert not np.array_equal(varied(3)[0], varied(4)[0])


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (5, 90), (96, 96), (200, 31)])
def test_ranges_and_shapes(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    for seed in range(8):
        picture, mask = augment(image, image > 200, np.random.default_rng(seed), 64)
        assert picture.shape == mask.shape == (64, 64)
        assert picture.dtype == mask.dtype == np.float32
        assert picture.min() >= 0.0
        assert picture.max() <= 1.0
        assert set(np.unique(mask)) <= {0.0, 1.0}


def bar() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    image = np.full((128, 128), 220, np.uint8)
    image[40:52, 20:110] = 30
    return image, image == 30


def test_the_mask_moves_with_the_image() -> None:
    checked = 0
    for seed in range(12):
        picture, mask = augment(*bar(), np.random.default_rng(seed), 96)
        if 200 < mask.sum() < 8000:
            checked += 1
            assert picture[mask > 0].mean() < picture[mask == 0].mean() - 0.1
    assert checked >= 8


def test_variations_differ_in_place_and_grey() -> None:
    pictures = [augment(*bar(), np.random.default_rng(seed), 96) for seed in range(12)]
    assert len({mask.tobytes() for _, mask in pictures}) == 12
    assert np.std([picture.mean() for picture, _ in pictures]) > 0.02
