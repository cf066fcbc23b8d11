"""A sample is what was passed, for good, or an error that says what to write."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.data.sample import Sample
from tests.support import texture

IMAGE = texture((5, 4))


def test_a_buffer_may_be_used_again() -> None:
    image, mask = IMAGE.copy(), np.eye(5, 4, dtype=bool)
    sample = Sample(image, mask)
    image[...], mask[...] = 0, False
    assert sample.mask is not None
    np.testing.assert_array_equal(sample.image, IMAGE)
    np.testing.assert_array_equal(sample.mask, np.eye(5, 4, dtype=bool))


@pytest.mark.parametrize("duplicate", [lambda s: s, lambda s: pickle.loads(pickle.dumps(s))])
def test_image_and_mask_cannot_be_written_to(duplicate: Any) -> None:
    sample = duplicate(Sample(IMAGE, IMAGE > 100, "mine"))
    for array in (sample.image, sample.mask):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 1
    assert sample.name == "mine"
    np.testing.assert_array_equal(sample.image, IMAGE)


def test_a_copy_is_the_sample_itself() -> None:
    sample = Sample(IMAGE)
    assert copy.deepcopy([sample])[0] is sample is copy.copy(sample)


def lossy() -> npt.NDArray[np.uint8]:
    """A mask of 0 and 255 as a JPEG keeps it."""
    import cv2

    truth = np.zeros((64, 64), np.uint8)
    truth[20:40, 30:44] = 255
    _, data = cv2.imencode(".jpg", truth, [cv2.IMWRITE_JPEG_QUALITY, 60])
    noisy: Any = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    assert len(np.unique(noisy)) > 2
    return np.asarray(noisy, np.uint8)


def test_lossy_noise_in_a_mask_is_no_structure() -> None:
    mask = Sample(np.zeros((64, 64), np.uint8), lossy()).mask  # type: ignore[arg-type]
    assert mask is not None
    assert mask.sum() == 20 * 14


@pytest.mark.parametrize("one", [True, 1, 255, 1.0, np.uint16(1)])
def test_binary_masks_of_any_type(one: Any) -> None:
    mask = np.zeros((5, 4), np.asarray(one).dtype)
    mask[1, 2] = one
    kept = Sample(IMAGE, mask).mask
    assert kept is not None
    assert kept.dtype == np.bool_
    assert np.argwhere(kept).tolist() == [[1, 2]]


@pytest.mark.parametrize("top", [0.5, 1.5, 2, 127, -1, 300, np.nan])
def test_other_masks_are_refused(top: Any) -> None:
    mask = np.zeros((5, 4), np.asarray(top).dtype)
    mask[1, 2] = top
    with pytest.raises(InvalidInputError, match=r"0 and 1, or 0 and 255. Write mask > threshold"):
        Sample(IMAGE, mask)


def test_a_soft_mask_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"float64 values 0\.0\.\.1\.0"):
        Sample(IMAGE, np.linspace(0, 1, 20).reshape(5, 4))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (IMAGE / 255, r"\(image \* 255\)\.round\(\)"),
        (np.zeros((5, 4, 3), np.uint8), "COLOR_RGB2GRAY"),
        (np.zeros((1, 5, 4), np.uint8), "squeeze"),
        (np.zeros((5, 4), np.uint16), "image >> 8"),
        (np.zeros((5, 4), np.int64), "astype"),
        (np.zeros((0, 4), np.uint8), "non-empty"),
        ("xa.png", "Read files first"),
        (None, "Read files first"),
    ],
)
def test_images_of_a_wrong_type(image: Any, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        Sample(image)


def test_masks_of_a_wrong_type_or_shape() -> None:
    with pytest.raises(InvalidInputError, match="mask must be an array, got str"):
        Sample(IMAGE, "xa_gt.png")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match=r"mask is \(4, 5\), but the image is \(5, 4\)"):
        Sample(IMAGE, np.zeros((4, 5), bool))
