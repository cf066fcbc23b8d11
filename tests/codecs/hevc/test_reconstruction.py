"""A stranger's decoder returns our reconstruction, pixel by pixel and in the true size."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import numpy as np
import pytest

from dmic_gym.codecs import CTU_SIZES, Codec, FFmpegCodec, X265Codec, uniform_map
from tests.codecs import libde265
from tests.support import Image, random_map, texture

SHAPES = [(1, 1), (1, 300), (300, 1), (2, 3), (17, 33), (64, 64), (63, 65), (131, 129), (199, 300)]
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no ffmpeg program")
needs_libde265 = pytest.mark.skipif(not libde265.available(), reason="no libde265")


def decoded_by_ffmpeg(bitstream: bytes) -> Image:
    """Decode with the ffmpeg program to PGM, which states the size."""
    command = "ffmpeg -v error -f hevc -i pipe: -f image2pipe -vcodec pgm -pix_fmt gray pipe:"
    pgm = subprocess.run(command.split(), input=bitstream, capture_output=True, check=True).stdout
    magic, width, height, top = pgm.split(maxsplit=4)[:4]
    assert (magic, top) == (b"P5", b"255")
    pixels = np.frombuffer(pgm, np.uint8)[-int(width) * int(height) :]
    return pixels.reshape(int(height), int(width))


@needs_libde265
@pytest.mark.parametrize("ctu_size", [64, 32, 16])
@pytest.mark.parametrize("shape", SHAPES)
def test_libde265_agrees(shape: tuple[int, int], ctu_size: int) -> None:
    for preset in ("ultrafast", "medium"):
        with X265Codec(ctu_size, preset) as codec:
            encoded = codec.encode([texture(shape)], [random_map(shape, ctu_size)])[0]
        decoded = libde265.decode(encoded.bitstream, ctu_size)
        np.testing.assert_array_equal(decoded.image, encoded.reconstruction)
        assert encoded.reconstruction.shape == shape


@needs_ffmpeg
@pytest.mark.parametrize(
    ("shape", "ctu_size"),
    [
        ((1, 1), 64),
        ((1, 300), 16),
        ((300, 1), 32),
        ((17, 33), 64),
        ((63, 65), 64),
        ((131, 129), 16),
    ],
)
def test_the_ffmpeg_program_agrees(shape: tuple[int, int], ctu_size: int) -> None:
    with X265Codec(ctu_size, "ultrafast") as codec:
        encoded = codec.encode([texture(shape)], [random_map(shape, ctu_size)])[0]
    np.testing.assert_array_equal(decoded_by_ffmpeg(encoded.bitstream), encoded.reconstruction)


@needs_ffmpeg
@needs_libde265
@pytest.mark.parametrize("shape", [(1, 1), (17, 33), (131, 129)])
def test_streams_of_the_ffmpeg_codec_too(shape: tuple[int, int]) -> None:
    encoded = FFmpegCodec(32, "ultrafast").encode([texture(shape)], [random_map(shape, 32)])[0]
    decoded = libde265.decode(encoded.bitstream, 32)
    np.testing.assert_array_equal(decoded.image, encoded.reconstruction)
    np.testing.assert_array_equal(decoded_by_ffmpeg(encoded.bitstream), encoded.reconstruction)
    assert encoded.reconstruction.shape == shape


@pytest.mark.parametrize("make", [X265Codec, FFmpegCodec])
def test_the_reconstruction_is_near_the_image(make: Any) -> None:
    codec: Codec = make(64, "ultrafast")
    image = texture((100, 90))
    near = codec.encode([image], [random_map(image.shape, 64, low=0, high=1)])[0]
    assert np.abs(near.reconstruction.astype(int) - image).max() <= 2
    assert near.reconstruction.dtype == np.uint8
    assert near.reconstruction.flags["C_CONTIGUOUS"]


def test_more_bits_where_the_qp_is_lower() -> None:
    image = texture((128, 128), seed=3)
    qps = np.array([[20, 45], [45, 45]])
    with X265Codec(64, "ultrafast") as codec:
        error = np.abs(codec.encode([image], [qps])[0].reconstruction.astype(int) - image)
    blocks = error.reshape(2, 64, 2, 64).mean(axis=(1, 3))
    assert blocks[0, 0] < 0.6 * min(blocks[0, 1], blocks[1, 0], blocks[1, 1])


def test_bits_are_counted() -> None:
    with X265Codec(64, "ultrafast") as codec:
        encoded = codec.encode([texture((90, 90))], [random_map((90, 90), 64)])[0]
    assert encoded.bits == 8 * len(encoded.bitstream)
    assert 0 < encoded.slice_bits < encoded.bits
    # parameter sets are equal for all maps and images of a size
    with X265Codec(64, "ultrafast") as codec:
        other = codec.encode([texture((90, 90), 4)], [random_map((90, 90), 64, 9)])[0]
    headers = [e.bitstream[: (e.bits - e.slice_bits) // 8] for e in (encoded, other)]
    assert headers[0] == headers[1]


@pytest.mark.parametrize("shape", [(1088, 2049), (1501, 1500)])
def test_ctus_of_16_in_pictures_that_level_4_does_not_take(shape: tuple[int, int]) -> None:
    qps = uniform_map(shape, 16, 40)
    qps[len(qps) // 2 :] = 45
    with X265Codec(16, "ultrafast") as codec:
        encoded = codec.encode([texture(shape)], [qps])[0]
    assert encoded.reconstruction.shape == shape
    if libde265.available():
        decoded = libde265.decode(encoded.bitstream, 16)
        np.testing.assert_array_equal(decoded.image, encoded.reconstruction)


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "ctu_size"), [((4096, 4096), 64), ((4095, 4093), 16)])
def test_the_largest_pictures(shape: tuple[int, int], ctu_size: int) -> None:
    qps = np.repeat(random_map(shape, ctu_size, low=25)[:, :1], -(-shape[1] // ctu_size), axis=1)
    with X265Codec(ctu_size, "ultrafast") as codec:
        encoded = codec.encode([texture(shape)], [qps])[0]
    assert encoded.reconstruction.shape == shape
    if libde265.available():
        decoded = libde265.decode(encoded.bitstream, ctu_size)
        np.testing.assert_array_equal(decoded.image, encoded.reconstruction)


@pytest.mark.parametrize("shape", [(4096, 1), (1, 4096)])
def test_the_longest_lines(shape: tuple[int, int]) -> None:
    for ctu_size in CTU_SIZES:
        with X265Codec(ctu_size, "ultrafast") as codec:
            encoded = codec.encode([texture(shape)], [random_map(shape, ctu_size)])[0]
        assert encoded.reconstruction.shape == shape
