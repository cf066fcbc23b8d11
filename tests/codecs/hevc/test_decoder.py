from __future__ import annotations

import contextlib
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmic_gym.codecs import X265Codec
from dmic_gym.codecs.hevc.nal import nal_units
from dmic_gym.errors import DecodeError, DmicError, InvalidInputError
from tests.support import random_map, texture

SHAPE = (70, 90)


def stream_of(**overrides: Any) -> bytes:
    codec = X265Codec(64, "ultrafast", overrides or None)
    return codec.encode(texture(SHAPE), random_map(SHAPE, 64, low=20, high=40)).bitstream


PLAIN, HASHED = stream_of(), stream_of(hash=1)
CODEC = X265Codec(64, "ultrafast")
SLICE = [unit.header for unit in nal_units(PLAIN)][-1]


def test_empty() -> None:
    with pytest.raises(DecodeError, match="empty"):
        CODEC.decode(b"")


@pytest.mark.parametrize("stream", ["text", None, bytearray(PLAIN), [1, 2]])
def test_no_bytes(stream: Any) -> None:
    with pytest.raises(InvalidInputError, match="bitstream must be bytes"):
        CODEC.decode(stream)


@given(st.binary(min_size=1, max_size=400))
def test_garbage_is_refused(stream: bytes) -> None:
    with pytest.raises(DecodeError):
        CODEC.decode(stream)


@pytest.mark.parametrize("end", [1, 4, 27, 50, SLICE - 5, SLICE, SLICE + 2])
def test_a_stream_cut_before_its_slice_data_is_refused(end: int) -> None:
    with pytest.raises(DecodeError):
        CODEC.decode(PLAIN[:end])


def test_a_stream_without_parameter_sets_is_refused() -> None:
    with pytest.raises(DecodeError):
        CODEC.decode(PLAIN[SLICE - 3 :])


@given(st.integers(SLICE, len(PLAIN) - 1))
def test_a_stream_cut_later_is_refused_or_has_the_true_size(end: int) -> None:
    """HEVC cannot tell a cut slice from a whole one; there is no crash and no other size."""
    with contextlib.suppress(DecodeError):
        assert CODEC.decode(PLAIN[:end]).shape == SHAPE


@given(st.integers(SLICE + 4, len(PLAIN) - 5), st.integers(1, 255))
def test_with_a_hash_damage_is_refused_or_harmless(place: int, change: int) -> None:
    damaged = bytearray(HASHED)
    damaged[place] ^= change
    with contextlib.suppress(DecodeError):
        np.testing.assert_array_equal(CODEC.decode(bytes(damaged)), CODEC.decode(HASHED))


def test_with_a_hash_a_changed_pixel_is_refused() -> None:
    units = list(nal_units(HASHED))
    sei = units[-1]
    assert sei.nal_type == 40
    damaged = bytearray(HASHED)
    damaged[sei.end - 3] ^= 1  # in the MD5 itself
    assert CODEC.decode(HASHED).shape == SHAPE
    with pytest.raises(DecodeError, match="refused the stream") as caught:
        CODEC.decode(bytes(damaged))
    assert isinstance(caught.value, DmicError)
    assert isinstance(caught.value.__cause__, av.FFmpegError)


def test_two_pictures_are_refused() -> None:
    with pytest.raises(DecodeError):
        CODEC.decode(PLAIN + PLAIN)


@pytest.mark.parametrize("pixels", ["yuv420p", "gray10le"])
def test_other_formats_are_refused(pixels: str) -> None:
    context = av.VideoCodecContext.create("libx265", "w")
    context.width, context.height, context.pix_fmt = 64, 64, pixels
    context.time_base = Fraction(1, 25)
    context.options = {"preset": "ultrafast", "x265-params": "log-level=none:pools=none"}
    frame = av.VideoFrame.from_ndarray(texture((64, 64)), format="gray").reformat(format=pixels)
    packets = [*context.encode(frame), *context.encode(None)]
    with pytest.raises(DecodeError, match=f"Expected 8-bit 4:0:0 video, found '{pixels}'"):
        CODEC.decode(b"".join(bytes(packet) for packet in packets))


def test_the_decoder_is_deterministic_and_returns_its_own_memory() -> None:
    first, second = CODEC.decode(PLAIN), CODEC.decode(PLAIN)
    np.testing.assert_array_equal(first, second)
    first[:] = 0
    assert second.any()
