"""The measuring instrument itself: QPs and pictures read by libde265 are right, or it says no."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

from dmic_gym.codecs.base import map_shape
from dmic_gym.codecs.hevc.decoder import decode_stream
from dmic_gym.codecs.hevc.x265 import X265Codec
from tests.codecs import libde265

needs_libde265 = pytest.mark.skipif(
    not libde265.available(), reason=libde265.skip_reason() or "available"
)


def noise(shape: tuple[int, int], seed: int = 0) -> npt.NDArray[np.uint8]:
    """Black and white noise, in which every CTU of some size codes residual at any QP."""
    return np.random.default_rng(seed).integers(0, 2, shape, dtype=np.uint8) * np.uint8(255)


@pytest.fixture
def stream() -> Iterator[bytes]:
    """A 60x100 picture of four 32x64 CTUs at QP 0..51, with a picture hash."""
    with X265Codec(32, "ultrafast", {"hash": 1}) as codec:
        qp_map = np.array([[0, 51, 10, 45], [30, 2, 49, 20]])
        yield codec.encode_bitstream(noise((60, 100)), qp_map)


@needs_libde265
@pytest.mark.parametrize("ctu_size", [64, 32, 16])
@pytest.mark.parametrize("shape", [(200, 333), (72, 136)])
def test_reads_the_full_range_of_qps_block_by_block(ctu_size: int, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(ctu_size)
    qp_map = rng.integers(0, 52, map_shape(shape, ctu_size))
    with X265Codec(ctu_size, "ultrafast") as codec:
        decoded = libde265.decode(codec.encode_bitstream(noise(shape), qp_map), ctu_size)
    expected = [[{int(qp)} for qp in row] for row in qp_map]
    assert libde265.ctu_qps(decoded) == expected
    assert libde265.ctu_qps(decoded, coded_only=True) == expected
    assert decoded.image.shape == shape
    assert decoded.qp.shape == map_shape(shape, decoded.unit)


@needs_libde265
def test_picture_equals_ffmpegs(stream: bytes) -> None:
    np.testing.assert_array_equal(
        libde265.decode(stream, 32).image, decode_stream(stream).frames[0]
    )


@needs_libde265
def test_blocks_without_residual_are_told_apart() -> None:
    image = np.full((64, 192), 128, dtype=np.uint8)
    image[:, 64:128] = noise((64, 64))
    with X265Codec(64, "ultrafast") as codec:
        decoded = libde265.decode(codec.encode_bitstream(image, np.array([[20, 30, 40]])), 64)
    assert libde265.ctu_qps(decoded, coded_only=True)[0][:2] == [set(), {30}]
    per_ctu = 64 // decoded.unit
    assert not decoded.coded[:, :per_ctu].any()
    assert decoded.coded[:, per_ctu : 2 * per_ctu].all()


@needs_libde265
def test_damaged_streams_are_refused_without_harm(stream: bytes) -> None:
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(100):
        damaged = bytearray(stream)
        damaged[rng.integers(len(damaged))] ^= 1 << int(rng.integers(8))
        try:
            decoded = libde265.decode(bytes(damaged[: rng.integers(1, 2 * len(damaged))]), 32)
        except libde265.DecodeFailedError:
            refused += 1
        else:
            assert decoded.image.shape == (60, 100)
    assert refused > 90


@needs_libde265
def test_a_picture_that_differs_from_its_hash_is_refused(stream: bytes) -> None:
    other_hash = stream[:-4] + bytes([stream[-4] ^ 8]) + stream[-3:]
    with pytest.raises(libde265.DecodeFailedError, match="checksum mismatch"):
        libde265.decode(other_hash, 32)


@needs_libde265
@pytest.mark.parametrize(("copies", "words"), [(0, "0 pictures"), (2, "2 pictures")])
def test_anything_but_one_picture_is_refused(stream: bytes, copies: int, words: str) -> None:
    with pytest.raises(libde265.DecodeFailedError, match=words):
        libde265.decode(stream * copies, 32)


@needs_libde265
def test_another_ctu_size_is_refused(stream: bytes) -> None:
    with pytest.raises(libde265.DecodeFailedError, match="CTUs of 32, not 16"):
        libde265.decode(stream, 16)


@pytest.fixture
def _fresh_library() -> Iterator[None]:
    """Forget what was found out about the library, before and after the test."""
    caches = (libde265._library, libde265.skip_reason)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


@pytest.mark.usefixtures("_fresh_library")
@pytest.mark.parametrize(
    ("name", "words"), [("libno265.so.0", "apt install libde265-0"), ("libm.so.6", "unsupported")]
)
def test_other_libraries_give_a_reason_to_skip(
    monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    monkeypatch.setattr(libde265, "_SONAME", name)
    assert not libde265.available()
    assert words in (libde265.skip_reason() or "")


@needs_libde265
@pytest.mark.usefixtures("_fresh_library")
def test_qps_that_the_library_draws_otherwise_are_unsupported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawable = libde265._drawable
    monkeypatch.setattr(libde265, "_drawable", lambda qp: drawable(qp + 30))
    assert "unsupported libde265 version 1." in (libde265.skip_reason() or "")
