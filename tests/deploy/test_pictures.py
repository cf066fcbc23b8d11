"""Image files: round trips, depths, and headers that lie."""

from __future__ import annotations

import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from dmic_gym.deploy.limits import DEFAULT_LIMITS, Limits
from dmic_gym.deploy.pictures import Picture, read_picture, write_picture
from dmic_gym.errors import DataError, InvalidInputError
from dmic_gym.tasks.data.picture_files import read_pixels
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
def test_a_huge_size_is_refused_before_decoding(name: str, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"{name}.*(outside 1\.\.4096|too large.*4294836225)"):
        refused_cheaply(path)


def refused_cheaply(path: Path, limits: Limits = DEFAULT_LIMITS) -> None:
    """Read a file without the memory for its pictures."""
    tracemalloc.start()
    try:
        read_picture(path, limits=limits)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2_000_000


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.gif", "a.jp2", "a.tif"])
def test_a_picture_beyond_the_limits_is_refused_before_decoding(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    more = {"compression": "tiff_lzw"} if name == "a.tif" else {}
    PillowImage.fromarray(np.zeros((5000, 600), np.uint8)).save(path, **more)
    with pytest.raises(DataError, match=r"600 x 5000 samples .* outside 1\.\.4096"):
        refused_cheaply(path)


def test_many_pages_and_many_bytes_are_refused_before_decoding(tmp_path: Path) -> None:
    path = tmp_path / "pages.tif"
    path.write_bytes(tiff([np.zeros((4, 4), np.uint16)] * 5))
    assert len(read_picture(path, limits=Limits(max_samples=80)).frames) == 5
    for limits, words in (
        (Limits(max_samples=79), "5 x 4 x 4 samples"),
        (Limits(max_bytes=99), "more than the limit of 99"),
    ):
        with pytest.raises(DataError, match=words):
            refused_cheaply(path, limits)


BAD = [
    (b"", "none of PNG, PGM, TIFF"),
    (b"GIF89a", "none of PNG, PGM, TIFF"),
    (b"\x89PNG\r\n\x1a\n", "none of PNG, PGM, TIFF"),
    (png(5, 5), "damaged or truncated"),
    (b"P5\n5 5 five\n", "PGM header is damaged"),
    (b"P5\n5 5\n255\n12", "is cut: 2 bytes of samples, 25 announced"),
    (b"P5\n2 1\n65535\n\xff\xff\x00\x00", "at most 12 bits.*--window"),
    (jpeg(5, 5), "damaged or truncated"),
    (b"\xff\xd8abcdefgh", "none of PNG, PGM, TIFF"),
    (b"\xff\xd8\xff\xe0\xff\xff", "damaged, truncated"),
    (b"II*\0\0\0\0\0", "no pages"),
    (b"II*\0\x08\0\0\0\0\0\x08\0\0\0", "form a loop"),
    (tiff([np.zeros((2, 2), np.uint16)], t322=1 << 20, t323=1 << 20), "far larger"),
    (tiff([np.zeros((2, 2), np.uint16)], photometric=0), "0 is white"),
    (tiff([np.full((2, 2), 5000, np.uint16)]), "at most 12 bits.*--window"),
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
        read_pixels(bytes(data))


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_picture(tmp_path / "none.png")
    with pytest.raises(DataError, match="directory"):
        read_picture(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match=r"a pipe or a device\. Save it as a file first"):
        read_picture(tmp_path / "pipe")
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


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".pgm"])
@pytest.mark.parametrize("bit_depth", [8, 12, 16])
def test_a_window_brings_every_depth_to_8_bits(suffix: str, bit_depth: int, tmp_path: Path) -> None:
    """DICOM PS3.3 C.11.2.1.2.1, as for DICOM files."""
    x = np.arange(256).reshape(8, 32) << bit_depth - 8
    samples = x.astype(np.uint8 if bit_depth == 8 else np.uint16)
    path = tmp_path / f"x{suffix}"
    if suffix == ".pgm":
        data = samples.astype(samples.dtype.newbyteorder(">")).tobytes()
        path.write_bytes(b"P5 32 8 %d\n" % ((1 << bit_depth) - 1) + data)
    else:
        path.write_bytes(cv2.imencode(suffix, samples)[1].tobytes())  # type: ignore[arg-type]
    centre, width = float(100 << bit_depth - 8), float(80 << bit_depth - 8)
    y = np.clip((x - (centre - 0.5)) / (width - 1) + 0.5, 0, 1) * 255
    np.testing.assert_array_equal(read_picture(path, window=(centre, width)).samples, np.rint(y))
    above = read_picture(path, window=(centre, 1.0)).samples
    np.testing.assert_array_equal(above, (x > centre - 0.5) * 255)
    with pytest.raises(InvalidInputError, match=r"'auto' is for DICOM.*CENTRE,WIDTH"):
        read_picture(path, window="auto")
