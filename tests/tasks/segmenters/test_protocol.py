from __future__ import annotations

import numpy as np
import pytest

from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.segmenters.protocol import (
    Images,
    Probabilities,
    Segmenter,
    check_images,
    check_probabilities,
)

IMAGES = np.zeros((2, 5, 7), np.uint8)


def threshold(images: Images, /) -> Probabilities:
    return (images < 100).astype(np.float32)


def test_any_callable_is_a_segmenter() -> None:
    assert isinstance(threshold, Segmenter)
    segmenter: Segmenter = threshold
    assert check_probabilities(segmenter(IMAGES), IMAGES).shape == IMAGES.shape


def test_double_precision_is_cast() -> None:
    checked = check_probabilities(np.full(IMAGES.shape, 0.25), IMAGES)
    assert checked.dtype == np.float32
    assert (checked == 0.25).all()


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (np.zeros((2, 5, 6), np.float32), r"\(2, 5, 6\) for images \(2, 5, 7\)"),
        (np.zeros((2, 1, 5, 7), np.float32), "one probability per pixel"),
        (np.full(IMAGES.shape, 1.5, np.float32), "sigmoid"),
        (np.full(IMAGES.shape, -3.0, np.float32), "sigmoid"),
        (np.full(IMAGES.shape, np.nan, np.float32), "NaN"),
        (np.zeros(IMAGES.shape, np.int64), "not labels"),
        (None, "float32"),
    ],
)
def test_a_wrong_output_is_refused(output: object, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        check_probabilities(output, IMAGES)


@pytest.mark.parametrize(
    "images",
    [np.zeros((5, 7), np.uint8), np.zeros((1, 5, 7), np.float32), np.zeros((1, 0, 7), np.uint8)],
)
def test_wrong_images_are_refused(images: np.ndarray) -> None:
    with pytest.raises(InvalidInputError, match="uint8 array"):
        check_images(images)


def test_a_single_image_gets_a_hint() -> None:
    with pytest.raises(InvalidInputError, match="newaxis"):
        check_images(np.zeros((5, 7), np.uint8))


def test_rounding_beyond_the_range_is_clipped() -> None:
    output = np.array([[[-1e-6, 1.0000001], [0.5, 1.000009]]], np.float32)
    found = check_probabilities(output, np.zeros((1, 2, 2), np.uint8))
    np.testing.assert_array_equal(found, np.array([[[0, 1], [0.5, 1]]], np.float32))
