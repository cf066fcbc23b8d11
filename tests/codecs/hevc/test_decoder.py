from __future__ import annotations

import contextlib
import io
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmic_gym.codecs import X265Codec
from dmic_gym.codecs.hevc.decoder import decode_stream
from dmic_gym.codecs.hevc.nal import nal_units
from dmic_gym.errors import DecodeError, DmicError, InvalidInputError
from tests.support import random_map, texture

SHAPE = (70, 90)


def stream_of(**overrides: Any) -> bytes:
    codec = X265Codec(64, "ultrafast", overrides or None)
    return codec.encode([texture(SHAPE)], [random_map(SHAPE, 64, low=20, high=40)])[0].bitstream


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
        assert CODEC.decode(PLAIN[:end]).shape == (1, *SHAPE)


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
    assert CODEC.decode(HASHED).shape == (1, *SHAPE)
    with pytest.raises(DecodeError, match="refused the stream") as caught:
        CODEC.decode(bytes(damaged))
    assert isinstance(caught.value, DmicError)
    assert isinstance(caught.value.__cause__, av.FFmpegError)


def plain_video(pixels: str, count: int, **params: Any) -> tuple[bytes, list[npt.NDArray[Any]]]:
    """Code frames as anyone would, with P and B frames; return the stream and what FFmpeg shows."""
    context = av.VideoCodecContext.create("libx265", "w")
    context.width, context.height, context.pix_fmt = 90, 70, pixels
    context.time_base = Fraction(1, 25)
    settings = {"log-level": "none", "pools": "none", **params}
    joined = ":".join(f"{key}={value}" for key, value in settings.items())
    context.options = {"preset": "ultrafast", "x265-params": joined}
    packets = []
    for number in range(count):
        frame = av.VideoFrame.from_ndarray(texture(SHAPE, number), format="gray")
        packets += context.encode(frame.reformat(format=pixels))
    stream = b"".join(map(bytes, [*packets, *context.encode(None)]))
    container: Any = av.open(io.BytesIO(stream), format="hevc")
    dtype = np.uint16 if "le" in pixels else np.uint8
    shown = []
    for frame in container.decode(video=0):
        rows = np.frombuffer(bytes(frame.planes[0]), dtype)
        shown.append(rows.reshape(70, -1)[:, :90])
    return stream, shown


@pytest.mark.parametrize(
    ("pixels", "bit_depth"),
    [
        *[("gray", 8), ("gray10le", 10), ("gray12le", 12)],
        *[("yuv420p", 8), ("yuv420p10le", 10), ("yuv420p12le", 12)],
        *[("yuv422p", 8), ("yuv444p10le", 10)],
    ],
)
@pytest.mark.parametrize("hash", [0, 1])
def test_any_hevc_stream_is_decoded_to_its_luma(pixels: str, bit_depth: int, hash: int) -> None:
    stream, shown = plain_video(pixels, 7, bframes=3, hash=hash)
    decoded = decode_stream(stream)
    assert (decoded.bit_depth, decoded.verified) == (bit_depth, bool(hash))
    np.testing.assert_array_equal(decoded.frames, shown)
    assert decoded.frames.dtype == (np.uint8 if bit_depth == 8 else np.uint16)


@pytest.mark.parametrize(
    "params", [{"slices": 2, "ctu": 32, "pools": 2}, {"temporal-layers": 2}, {"open-gop": 1}]
)
def test_streams_of_other_structure(params: dict[str, Any]) -> None:
    stream, shown = plain_video("yuv420p", 9, hash=1, keyint=4, **params)
    decoded = decode_stream(stream)
    np.testing.assert_array_equal(decoded.frames, shown)
    assert decoded.verified


def test_only_md5s_that_are_there_are_vouched_for() -> None:
    """FFmpeg checks MD5s, but neither CRCs nor sums; one picture without leaves a gap."""
    assert decode_stream(HASHED).verified
    assert decode_stream(HASHED + HASHED).verified
    assert not decode_stream(HASHED + PLAIN).verified
    assert not decode_stream(stream_of(hash=2)).verified
    assert not decode_stream(stream_of(hash=3)).verified


def test_pictures_that_cannot_be_decoded_are_not_vouched_for() -> None:
    """A stream cut out of another: leading pictures refer to what is not there."""
    stream, _ = plain_video("gray", 16, hash=1, keyint=8, bframes=3, **{"open-gop": 1})
    starts = [unit.start for unit in nal_units(stream) if unit.nal_type in (19, 20, 21)]
    sets = stream[: starts[0]]
    decoded = decode_stream(sets + stream[starts[1] :])
    assert 0 < len(decoded.frames) < 16
    assert not decoded.verified


def test_pictures_of_several_sizes_are_refused() -> None:
    other = X265Codec(64, "ultrafast").encode([texture((64, 64))], [np.array([[30]])])[0]
    with pytest.raises(DecodeError, match="several sizes"):
        CODEC.decode(PLAIN + other.bitstream)


def test_colour_without_luma_is_refused() -> None:
    stream, _ = plain_video("gbrp", 1)
    with pytest.raises(DecodeError, match="found 'gbrp'"):
        CODEC.decode(stream)


def test_a_watch_sees_each_picture_before_it_is_kept() -> None:
    seen = list[tuple[Any, ...]]()
    decode_stream(PLAIN + PLAIN, watch=lambda *facts: seen.append(facts))
    assert seen == [(SHAPE, 1), (SHAPE, 2)]

    def refuse(shape: tuple[int, int], count: int) -> None:
        raise DecodeError("enough")

    with pytest.raises(DecodeError, match="enough"):
        decode_stream(PLAIN, watch=refuse)


def test_a_large_header_allocates_nothing() -> None:
    with pytest.raises(DecodeError, match="refused the stream"):
        decode_stream(PLAIN, max_pixels=1000)


def test_the_decoder_is_deterministic_and_returns_its_own_memory() -> None:
    first, second = CODEC.decode(PLAIN), CODEC.decode(PLAIN)
    np.testing.assert_array_equal(first, second)
    first[:] = 0
    assert second.any()
