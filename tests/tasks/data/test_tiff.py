"""TIFF: the right picture for every compression and form, or an error that names it."""

from __future__ import annotations

import struct
import sys
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image as PillowImage

from dmic_gym.errors import DataError, MissingDependencyError
from dmic_gym.tasks.data.picture_files import read_pixels

RAMP = np.tile(np.arange(64, 192, dtype=np.uint8), (128, 1))
DEEP = RAMP.astype(np.uint16) * np.uint16(16) + np.uint16(5)
FOREIGN = (33003, 33004, 33005, 34712, 34892, 34933, 34934, 50002)
LOSSLESS = (None, "lzw", "zlib", "deflate", "packbits", "lzma", "zstd", "jpeg2000", "png")


def tiff(samples: npt.NDArray[Any], **options: Any) -> bytes:
    file = BytesIO()
    tifffile.imwrite(file, samples, **{"photometric": "minisblack", **options})
    return file.getvalue()


@pytest.mark.parametrize("compression", [*LOSSLESS, *FOREIGN])
def test_every_compression_is_right_or_named(compression: str | int | None) -> None:
    if compression in (34934, 50002):
        with pytest.raises(DataError, match=rf"its compression, JPEGX[RL] \({compression}\)"):
            read_pixels(tiff(RAMP, compression=compression))
        return
    found = read_pixels(tiff(RAMP, compression=compression)).frames
    assert np.abs(found[0].astype(int) - RAMP).max() <= (1 if compression == 34892 else 0)


@pytest.mark.parametrize("compression", LOSSLESS)
@pytest.mark.parametrize("channels", ["grey", "grey and alpha", "colour"])
def test_sixteen_bits_are_kept(compression: str | None, channels: str) -> None:
    planes = {"grey": DEEP, "grey and alpha": np.dstack([DEEP, DEEP // 3])}
    options: dict[str, Any] = {"colour": {"photometric": "rgb"}}.get(channels, {})
    if channels == "grey and alpha":
        options = {"extrasamples": ["unassalpha"], "planarconfig": "contig"}
    samples = planes.get(channels, np.dstack([DEEP] * 3))
    found = read_pixels(tiff(samples, compression=compression, **options))
    np.testing.assert_array_equal(found.frames, [DEEP])
    assert found.maximum is None


@pytest.mark.parametrize(
    ("samples", "options"),
    [
        (RAMP, {"bigtiff": True}),
        (RAMP, {"tile": (64, 48)}),
        (RAMP, {"rowsperstrip": 7, "compression": "lzw"}),
        (RAMP, {"predictor": 2, "compression": "zlib"}),
        (255 - RAMP, {"photometric": "miniswhite"}),
        (np.stack([RAMP] * 3), {"photometric": "rgb", "planarconfig": "separate"}),
        (np.dstack([RAMP, RAMP // 2]), {"extrasamples": ["assocalpha"], "planarconfig": "contig"}),
        (RAMP, {"photometric": "palette", "colormap": np.tile(np.arange(256) * 257, (3, 1))}),
    ],
)
def test_forms_of_eight_bits(samples: npt.NDArray[Any], options: dict[str, Any]) -> None:
    if "colormap" in options:
        options = {**options, "colormap": options["colormap"].astype(np.uint16)}
    found = read_pixels(tiff(samples, **options))
    np.testing.assert_array_equal(found.frames, [RAMP])
    assert found.maximum == 255


def test_bits_below_16_say_the_depth() -> None:
    found = read_pixels(tiff(DEEP, bitspersample=12))
    np.testing.assert_array_equal(found.frames, [DEEP])
    assert found.maximum == 4095
    fourteen = read_pixels(tiff(DEEP, bitspersample=14))
    np.testing.assert_array_equal(fourteen.frames, [DEEP])
    assert fourteen.maximum is None
    bilevel = read_pixels(tiff(RAMP > 100))
    np.testing.assert_array_equal(bilevel.frames, [(RAMP > 100) * 255])


def test_jpeg_in_a_tiff_is_colour_again() -> None:
    colour = np.dstack([RAMP, RAMP[::-1], 255 - RAMP])
    file = BytesIO()
    PillowImage.fromarray(colour).save(file, "TIFF", compression="jpeg")
    luma = colour @ [0.299, 0.587, 0.114]
    assert np.abs(read_pixels(file.getvalue()).frames[0] - luma).mean() < 3


@pytest.mark.parametrize(
    ("samples", "options", "words"),
    [
        (RAMP.astype(np.int8), {}, "signed numbers of 8 bits"),
        (DEEP.astype(np.int16), {}, "signed numbers of 16 bits.*Scale"),
        (RAMP.astype(np.float16), {}, "floating-point numbers of 16 bits"),
        (RAMP.astype(np.float32), {"compression": "zstd"}, "floating-point numbers of 32 bits"),
        (DEEP.astype(np.uint32), {}, "unsigned numbers of 32 bits"),
        (RAMP, {"compression": "lerc"}, r"LERC \(34887\), is not read: save it with LZW"),
        (np.dstack([RAMP] * 4), {"photometric": "separated"}, "colours, SEPARATED"),
        (np.dstack([RAMP] * 3), {"planarconfig": "contig"}, "3 channels: save the one you mean"),
        (np.stack([RAMP] * 5), {"volumetric": True}, "volume in one page"),
        (np.stack([RAMP] * 5), {"truncate": True}, "hides pictures behind its page"),
        (DEEP, {"photometric": "miniswhite"}, "0 is white"),
        (DEEP, {"compression": "jpeg", "bitspersample": 12}, r"no JPEG \(7\) that is read"),
    ],
)
def test_what_is_not_read_is_named(
    samples: npt.NDArray[Any], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        read_pixels(tiff(samples, **options))


def test_pages_of_other_depths_are_refused() -> None:
    file = BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(DEEP, photometric="minisblack")
        writer.write(RAMP, photometric="minisblack")
    with pytest.raises(DataError, match="page 2 has another size or form"):
        read_pixels(file.getvalue())


@pytest.mark.parametrize("compression", ["lzw", "zlib"])
@pytest.mark.parametrize("depth", [8, 16])
def test_damage_of_the_middle_is_refused(compression: str, depth: int) -> None:
    """40 bytes of one strip; other readers refuse it too."""
    noise = np.random.default_rng(0).integers(0, 9, RAMP.shape, dtype=np.uint8)
    samples = (RAMP + noise).astype(f"u{depth // 8}")
    data = bytearray(tiff(samples, compression=compression, rowsperstrip=128))
    middle = len(data) // 2
    data[middle : middle + 40] = bytes(byte ^ 0xFF for byte in data[middle : middle + 40])
    with pytest.raises(DataError, match="damaged"):
        read_pixels(bytes(data))


def test_no_flipped_bit_of_deflate_gives_another_picture() -> None:
    """Its Adler-32 is checked; a few bits are padding."""
    noise = np.random.default_rng(0).integers(0, 256, (8, 9), dtype=np.uint8)
    data = tiff(noise, compression="zlib", metadata=None)
    with tifffile.TiffFile(BytesIO(data)) as file:
        (start,), (size,) = file.pages[0].dataoffsets, file.pages[0].databytecounts
    refused = 0
    for bit in range(8 * start, 8 * (start + size)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            found = read_pixels(bytes(damaged)).frames
        except DataError:
            refused += 1
        else:
            np.testing.assert_array_equal(found, [noise])
    assert refused >= 8 * size - 7


def test_a_compression_without_its_reader_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    data = tiff(RAMP, compression="lzw")
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    for name in [name for name in sys.modules if name.startswith("tifffile")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingDependencyError, match=r"LZW \(5\), needs imagecodecs"):
        read_pixels(data)


@pytest.mark.parametrize("compression", ["zlib", "lzw", "packbits"])
def test_compressed_strips_are_not_taken_for_raw_ones(compression: str) -> None:
    """Without its tag, a compression is none; the strips are too short for that."""
    data = bytearray(tiff(RAMP // 64, compression=compression, metadata=None))
    place = data.index(struct.pack("<HH", 259, 3))
    data[place : place + 2] = struct.pack("<H", 60259)
    with pytest.raises(DataError, match="damaged or truncated"):
        read_pixels(bytes(data))
