"""Whatever array is passed: a clear error, or what was asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dmic_gym.codecs import X265Codec
from dmic_gym.deploy.api import decode, encode
from dmic_gym.deploy.pictures import Picture
from dmic_gym.deploy.streams import encode_grey
from dmic_gym.errors import DmicError, InvalidInputError
from tests.codecs import libde265
from tests.support import binary_noise

ANY_DTYPE = hnp.scalar_dtypes() | st.sampled_from([np.dtype("O"), np.dtype("U3")])
ANY_ARRAY = hnp.arrays(ANY_DTYPE, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
PICTURES = st.one_of(
    hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=3, max_side=40)),
    hnp.arrays(
        np.uint16,
        hnp.array_shapes(min_dims=2, max_dims=3, max_side=40),
        elements=st.integers(0, 5000),
    ),
)
NOISE = binary_noise((70, 97))


@settings(max_examples=60)
@given(PICTURES, st.sampled_from(["hevc", "mp4", "main"]), st.integers(0, 51))
def test_any_picture_comes_back_in_its_size(image: npt.NDArray[Any], format: str, qp: int) -> None:
    deep = image.dtype == np.uint16
    too_deep = deep and image.max() > (4095 if format == "hevc" else 1023)
    if too_deep or (image.ndim == 3 and image.shape[-1] in (3, 4)):
        with pytest.raises(InvalidInputError):
            encode(image, agent="anchor", qp=qp, preset="ultrafast", format=format)
        return
    data = encode(image, agent="anchor", qp=qp, preset="ultrafast", format=format)
    found = decode(data)
    assert found.dtype == image.dtype
    frames = image if image.ndim == 3 and len(image) > 1 else image.reshape(image.shape[-2:])
    assert found.shape == frames.shape
    if qp < 4 and not deep:
        assert np.abs(found.astype(int) - frames).max() <= 8


@given(ANY_ARRAY)
def test_any_array_for_an_image(array: npt.NDArray[Any]) -> None:
    try:
        data = encode(array, agent="anchor", qp=40, preset="ultrafast")
    except DmicError:
        return
    assert decode(data).size == array.size


@given(ANY_ARRAY)
def test_any_array_for_a_picture(array: npt.NDArray[Any]) -> None:
    try:
        picture = Picture.of(array)
    except DmicError:
        return
    assert picture.samples.dtype in (np.uint8, np.uint16)
    assert picture.frames.ndim == 3


@pytest.mark.skipif(not libde265.available(), reason=libde265.skip_reason() or "available")
@settings(max_examples=60)
@given(
    ANY_ARRAY
    | hnp.arrays(hnp.integer_dtypes(), (2, 2), elements=st.integers(-2, 54))
    | hnp.arrays(np.uint8, (2, 2), elements=st.integers(0, 51))
)
def test_any_array_for_a_qp_map(qps: npt.NDArray[Any]) -> None:
    """Taken as it is, as an independent decoder reads it back, or refused."""
    codec = X265Codec(64, "ultrafast")
    try:
        stream = codec.encode_bitstream(NOISE, qps)
    except InvalidInputError:
        with pytest.raises(InvalidInputError):
            encode_grey(Picture(NOISE), [qps], preset="ultrafast")
        return
    expected = [[{int(qp)} for qp in row] for row in qps]
    assert libde265.ctu_qps(libde265.decode(stream, 64), coded_only=True) == expected


@settings(max_examples=40)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "qp": st.integers(-5, 60) | st.floats() | st.text(max_size=3) | st.none(),
            "ctu_size": st.sampled_from([64, 32, 16, 0, -1, 8, 65]) | st.text(max_size=2),
            "preset": st.sampled_from(["ultrafast", "fast"]) | st.text(max_size=9),
            "target_dice": st.floats() | st.text(max_size=2),
            "target_bytes": st.integers(-1, 3000) | st.text(max_size=2),
            "format": st.sampled_from(["hevc", "mp4", "dcm", ""]) | st.text(max_size=4),
            "bit_depth": st.integers(0, 17),
            "agent": st.sampled_from(["anchor", "anchr", "", 5, "search:x", "x:y"]),
        },
    )
)
def test_any_settings(given_settings: dict[str, Any]) -> None:
    image = NOISE[:40, :50]
    arguments = {"agent": "anchor", "preset": "ultrafast", **given_settings}
    arguments.pop("target_dice", None) if "agent" in given_settings else None
    try:
        data = encode(image, **arguments)
    except DmicError:
        return
    assert decode(data).shape == image.shape
