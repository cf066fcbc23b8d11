from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmic_gym.codecs import CTU_SIZES, X265Codec, map_shape, uniform_map
from dmic_gym.codecs.base import check_image, check_qp_map
from dmic_gym.errors import InvalidInputError

IMAGE = np.zeros((100, 70), np.uint8)


@given(st.integers(1, 4096), st.integers(1, 4096), st.sampled_from(CTU_SIZES))
def test_a_map_covers_the_picture_and_not_more(height: int, width: int, ctu_size: int) -> None:
    rows, cols = map_shape((height, width), ctu_size)
    assert rows * ctu_size >= height > (rows - 1) * ctu_size
    assert cols * ctu_size >= width > (cols - 1) * ctu_size
    anchor = uniform_map((height, width), ctu_size, 27)
    assert anchor.shape == (rows, cols)
    assert set(np.unique(anchor)) == {27}


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (IMAGE.astype(np.uint16), r"uint8 array \(H, W\), got uint16 \(100, 70\)"),
        (IMAGE.astype(np.float32), "scale to 0..255 first"),
        (IMAGE.astype(bool), "got bool"),
        (np.zeros((100, 70, 3), np.uint8), "Convert to grey"),
        (np.zeros((100,), np.uint8), r"\(100,\)"),
        (np.zeros((0, 70), np.uint8), r"1\.\.4096"),
        (np.zeros((1, 4097), np.uint8), r"1\.\.4096, got \(1, 4097\)"),
        (None, "uint8"),
    ],
)
def test_no_image(image: Any, words: str) -> None:
    with X265Codec(64, "ultrafast") as codec, pytest.raises(InvalidInputError, match=words):
        codec.encode([image], [np.array([[30]])])


@pytest.mark.parametrize(
    ("qp_map", "words"),
    [
        (np.full((2, 1), 30), r"has \(2, 2\) CTUs of 64: pass an integer array of shape \(2, 2\)"),
        (np.full(4, 30), r"shape \(4,\)"),
        (30, r"shape \(\)"),
        (np.full((2, 2), 30.0), "round it first"),
        (np.full((2, 2), True), "got bool"),
        ([[30, 30], [30, 52]], r"spans 30\.\.52, valid is 0\.\.51: use np\.clip"),
        ([[30, 30], [30, -1]], r"spans -1\.\.30"),
        (np.full((2, 2), 2**40), "valid is"),
        (np.full((2, 2), "30"), "integers"),
    ],
)
def test_no_map(qp_map: Any, words: str) -> None:
    with X265Codec(64, "ultrafast") as codec, pytest.raises(InvalidInputError, match=words):
        codec.encode([IMAGE], [qp_map])


def test_lists_views_and_any_integer_type_are_taken() -> None:
    image = np.arange(2 * 100 * 140, dtype=np.uint32).astype(np.uint8).reshape(200, 140)
    view = image[::2, ::2]
    assert check_image(view).flags["C_CONTIGUOUS"]
    expected = np.array([[30, 31], [32, 33]])
    with X265Codec(64, "ultrafast") as codec:
        streams = {
            codec.encode([given_image], [qps])[0].bitstream
            for given_image in (view, view.copy())
            for qps in (expected, expected.astype(np.uint8), expected.tolist(), expected.T.copy().T)
        }
    assert len(streams) == 1


def test_what_is_given_is_not_changed() -> None:
    image, qps = IMAGE.copy(), np.full((2, 2), 30)
    with X265Codec(64, "ultrafast") as codec:
        encoded = codec.encode([image], [qps])[0]
        again = codec.encode([IMAGE], [np.full((2, 2), 40)])[0]
    assert not image.any()
    assert set(np.unique(qps)) == {30}
    assert encoded.reconstruction is not again.reconstruction
    checked = check_qp_map(qps, image.shape, 64, (0, 51))
    assert checked.dtype == np.int16
    assert checked is not qps


@pytest.mark.parametrize("ctu_size", ["64", None, 64.0, 0, 63])
def test_no_ctu_size(ctu_size: Any) -> None:
    with pytest.raises(InvalidInputError, match="64"):
        X265Codec(ctu_size)
