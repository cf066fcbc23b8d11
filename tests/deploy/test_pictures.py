"""Image files: round trips, depths, and headers that lie."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dmic_gym.deploy import pictures
from dmic_gym.deploy.headers import read_header
from dmic_gym.deploy.limits import Limits
from dmic_gym.deploy.pictures import Picture, read_picture, write_picture
from dmic_gym.errors import DataError, InvalidInputError
from tests.deploy.makers import picture

SUFFIXES = (".png", ".pgm", ".tif", ".tiff")


def tiff(
    pages: list[npt.NDArray[np.uint16]], photometric: int = 1, order: str = "<", **changed: int
) -> bytes:
    """An uncompressed TIFF of 16 bits; `changed` overrides tags of the form t256=..."""
    out = bytearray((b"II*\0" if order == "<" else b"MM\0*") + bytes(4))
    link = 4
    for page in pages:
        height, width = page.shape
        start = len(out)
        out += page.astype(f"{order}u2").tobytes()
        struct.pack_into(order + "I", out, link, len(out))
        tags = {256: width, 257: height, 258: 16, 259: 1, 262: photometric, 273: start}
        tags |= {277: 1, 278: height, 279: 2 * page.size}
        tags |= {int(name[1:]): value for name, value in changed.items()}
        out += struct.pack(order + "H", len(tags))
        for tag, value in sorted(tags.items()):
            out += struct.pack(order + "HHII", tag, 4, 1, value)
        link = len(out)
        out += bytes(4)
    return bytes(out)


def png(width: int, height: int, depth: int = 8) -> bytes:
    """The start of a PNG of any size, with right checksums and no pixels."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0))]
    chunks += [(b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    packed = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def jpeg(width: int, height: int) -> bytes:
    """The start of a JPEG of any size."""
    frame = struct.pack(">BHHB", 8, height, width, 1) + b"\x01\x11\x00"
    return b"\xff\xd8\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame + b"\xff\xd9"


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("bit_depth", [8, 10, 12])
def test_round_trip(suffix: str, bit_depth: int, tmp_path: Path) -> None:
    original = picture((33, 41), bit_depth)
    path = tmp_path / f"picture{suffix}"
    write_picture(original, path)
    found = read_picture(path)
    assert found.bit_depth == bit_depth
    np.testing.assert_array_equal(found.samples, original.samples)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("bit_depth", [8, 10])
def test_pages_are_frames(bit_depth: int, tmp_path: Path) -> None:
    original = picture((33, 41), bit_depth, 3)
    path = tmp_path / "pages.tiff"
    write_picture(original, path)
    np.testing.assert_array_equal(read_picture(path).samples, original.samples)
    with pytest.raises(InvalidInputError, match=r"one picture, there are 3: write \.tiff"):
        write_picture(original, tmp_path / "pages.png")


def test_dark_samples_are_as_deep_as_the_file_or_the_user_says(tmp_path: Path) -> None:
    dark = Picture(np.full((5, 6), 700, np.uint16), 12)
    for suffix, depth in ((".pgm", 12), (".png", 10), (".tiff", 10)):
        path = tmp_path / f"dark{suffix}"
        write_picture(dark, path)
        assert read_picture(path).bit_depth == depth
        assert read_picture(path, bit_depth=12).bit_depth == 12


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_of_both_byte_orders(order: str, tmp_path: Path) -> None:
    pages = [np.asarray(frame, np.uint16) for frame in picture((7, 9), 12, 3).frames]
    (tmp_path / "a.tif").write_bytes(tiff(pages, order=order))
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif").samples, np.stack(pages))


def test_colour_becomes_luma(tmp_path: Path) -> None:
    colour = np.zeros((8, 8, 3), np.uint8)
    colour[..., 1] = 200  # green, in OpenCV's order
    for suffix in (".png", ".jpg", ".tiff"):
        path = tmp_path / f"green{suffix}"
        cv2.imwrite(str(path), colour)
        assert abs(int(read_picture(path).samples.mean()) - 0.587 * 200) < 3


def test_upper_eight_bits() -> None:
    deep = Picture(np.array([[0, 3, 4, 1023]], np.uint16), 10)
    np.testing.assert_array_equal(deep.eight_bit, [[[0, 0, 1, 255]]])
    assert (deep.shape, deep.frames.shape) == ((1, 4), (1, 1, 4))


HUGE = [
    ("a.png", png(65535, 65535)),
    ("a.pgm", b"P5\n65535 65535\n255\n"),
    ("a.jpg", jpeg(65535, 65535)),
    ("a.tif", tiff([np.zeros((2, 2), np.uint16)], t256=65535, t257=65535)),
]


@pytest.mark.parametrize(("name", "data"), HUGE, ids=[name for name, _ in HUGE])
def test_a_huge_size_is_refused_before_decoding(
    name: str, data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "decode_pixels", None)
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"{name}.*65535 x 65535 .* outside 1\.\.4096"):
        read_picture(path)


def test_many_pages_and_many_bytes_are_refused_before_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pages.tif"
    path.write_bytes(tiff([np.zeros((4, 4), np.uint16)] * 5))
    assert len(read_picture(path, limits=Limits(max_samples=80)).frames) == 5
    monkeypatch.setattr(pictures, "decode_pixels", None)
    for limits, words in (
        (Limits(max_samples=79), "5 x 4 x 4 samples"),
        (Limits(max_units=4), "more than 4 pages"),
        (Limits(max_bytes=99), "more than the limit of 99"),
    ):
        with pytest.raises(DataError, match=words):
            read_picture(path, limits=limits)


BAD = [
    (b"", "no PNG, PGM, TIFF or JPEG"),
    (b"GIF89a", "no PNG, PGM, TIFF or JPEG"),
    (b"\x89PNG\r\n\x1a\n", "header is cut short"),
    (png(5, 5), "damaged or truncated"),
    (b"P5\n5 5 five\n", "PGM header is damaged"),
    (b"P5\n5 5\n255\n12", "damaged or truncated"),
    (b"P5\n2 1\n65535\n\xff\xff\x00\x00", "at most 12 bits"),
    (jpeg(5, 5), "damaged or truncated"),
    (b"\xff\xd8abcdefgh", "JPEG segments are damaged"),
    (b"\xff\xd8\xff\xe0\xff\xff", "header is cut short"),
    (b"II*\0\0\0\0\0", "no pages"),
    (b"II*\0\x08\0\0\0\0\0\x08\0\0\0", "states no size"),
    (tiff([np.zeros((2, 2), np.uint16)], t258=12), "12 bits: store them in 8 or 16"),
    (tiff([np.zeros((2, 2), np.uint16)], t322=1 << 20, t323=1 << 20), "far larger"),
    (tiff([np.zeros((2, 2), np.uint16)], photometric=0), "0 is white"),
    (tiff([np.full((2, 2), 5000, np.uint16)]), "at most 12 bits"),
    (tiff([np.zeros((2, 2), np.uint16), np.zeros((2, 3), np.uint16)]), "page 2 has another size"),
]


@pytest.mark.parametrize(("data", "words"), BAD, ids=[words for _, words in BAD])
def test_bad_files_say_what_is_wrong(data: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.file"
    path.write_bytes(data)
    with pytest.raises(DataError, match=words):
        read_picture(path)


def test_a_loop_of_pages_is_refused() -> None:
    data = bytearray(tiff([np.zeros((2, 2), np.uint16)]))
    data[-4:] = data[4:8]
    with pytest.raises(DataError, match="form a loop"):
        read_header(bytes(data), 100)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_picture(tmp_path / "none.png")
    with pytest.raises(DataError, match="directory"):
        read_picture(tmp_path)
    with pytest.raises(DataError, match="cannot be written"):
        write_picture(picture(), tmp_path / "none" / "a.png")
    with pytest.raises(InvalidInputError, match=r"Unknown image format '\.bmp'"):
        write_picture(picture(), tmp_path / "a.bmp")


@pytest.mark.parametrize(
    ("samples", "bit_depth", "words"),
    [
        (np.zeros((4, 4)), None, "float64"),
        (np.zeros((4, 4), np.uint8), 10, "is a uint16 array"),
        (np.zeros((4, 4), np.uint16), 8, "is a uint8 array"),
        (np.full((4, 4), 1024, np.uint16), 10, "reach 1024, more than 10 bits"),
        (np.full((4, 4), 4096, np.uint16), None, "Samples reach 4096; at most 12 bits"),
        (np.zeros((0, 4), np.uint8), None, r"\(0, 4\)"),
        (np.zeros(4, np.uint8), None, r"\(4,\)"),
        (np.zeros((4, 4), np.uint16), 14, "Nearest: 12"),
    ],
)
def test_what_is_no_picture(
    samples: npt.NDArray[np.generic], bit_depth: int | None, words: str
) -> None:
    with pytest.raises(InvalidInputError, match=words):
        Picture.of(samples, bit_depth)


@given(
    start=st.sampled_from([b"\x89PNG\r\n\x1a\n", b"P5 3 3 ", b"\xff\xd8", b"II*\0", b"MM\0*", b""]),
    rest=st.binary(max_size=200),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_any_bytes_are_a_picture_or_refused(start: bytes, rest: bytes, tmp_path: Path) -> None:
    path = tmp_path / "any"
    path.write_bytes(start + rest)
    try:
        found = read_picture(path)
    except DataError:
        return
    assert found.samples.size > 0


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_cut_is_refused_or_whole(suffix: str, tmp_path: Path) -> None:
    """The end marks of some formats may be missing without harm."""
    original = picture((9, 11), 10)
    path = tmp_path / f"cut{suffix}"
    write_picture(original, path)
    data = path.read_bytes()
    refused = 0
    for length in range(len(data)):
        path.write_bytes(data[:length])
        try:
            found = read_picture(path)
        except DataError:
            refused += 1
        else:
            np.testing.assert_array_equal(found.samples, original.samples)
    assert refused > 0.9 * len(data)
