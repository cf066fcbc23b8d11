"""Image files as grey samples: the one reader of data sets and of ``dmic encode``.

Pillow reads headers; OpenCV decodes PNG and JPEG, imagecodecs JPEG 2000, Pillow the rest. TIFF and
PGM have modules of their own.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

from dmic_gym.errors import DataError
from dmic_gym.tasks.data.pgm import is_pgm, read_pgm
from dmic_gym.tasks.data.pixels import (
    Pixels,
    SizeCheck,
    damage_is_an_error,
    grey_of,
    header_of,
    oriented,
)
from dmic_gym.tasks.data.tiff import is_tiff, read_tiff

READABLE = (".png", ".pgm", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".jp2")
"""Suffixes of the formats that are read; what a file holds is seen from its content."""

CODESTREAM = b"\xff\x4f\xff\x51"
"""How a JPEG 2000 codestream starts (ITU-T T.800, A.4.1, A.5.1)."""

_JOINTS = {
    "PNG": b"IEND\xaeB`\x82\x89PNG",
    "JPEG": b"\xff\xd9\xff\xd8\xff",
    "GIF": b";GIF8",
    "JPEG2000": b"\xff\xd9\x00\x00\x00\x0cjP  ",
}
"""Where a file ends and another begins."""

_SIZE_FIELDS = {"BMP": (2, 0), "WEBP": (4, 8)}
"""Where a file says its size, and how many bytes are not counted in it."""

_SILENT = 0
"""OpenCV's log level, in both of its major versions."""

_ORIENTATION = 0x112
_CHANNELS = 4
"""The most that a decoder makes of a pixel."""


def read_pixels(data: bytes, check_size: SizeCheck = lambda *_: None) -> Pixels:
    """Read the pictures of a PNG, PGM, TIFF, JPEG, BMP, GIF, WebP or JPEG 2000 file.

    Several pictures are pages of a TIFF; a file of another format that holds more than one is
    refused.

    Args:
        data: the file.
        check_size: called with the header's numbers before anything is decoded.

    Raises:
        DataError: it is none of these, damaged, cut, or holds samples that are no grey or colour
            of at most 16 bits; the message says which.
    """
    if is_pgm(data):
        return read_pgm(data, check_size)
    return read_tiff(data, check_size) if is_tiff(data) else _read(data, check_size)


def _read(data: bytes, check_size: SizeCheck) -> Pixels:
    with damage_is_an_error(), header_of(data) as image:
        check_size(image.height, image.width, _CHANNELS)
        if (count := getattr(image, "n_frames", 1)) != 1:
            raise DataError(
                f"it holds {count} pictures ({image.format}), and only the pages of a TIFF are "
                "read as several: save the one you mean, or write them to a TIFF."
            )
        if _is_followed(data, str(image.format)):
            raise DataError("it is several files, one behind the other: split them.")
        pixels = _decoded(data, image)
        if pixels.shape[:2] != (image.height, image.width):
            raise DataError("it is damaged: its picture has another size than its header says.")
        turn = _orientation(data, image)
    grey = grey_of(pixels)
    if grey.dtype not in (np.uint8, np.uint16):
        raise DataError(f"it holds {grey.dtype} samples; only 8 and 16 bits unsigned are read.")
    return Pixels(oriented(grey[np.newaxis], turn), 255 if grey.dtype == np.uint8 else None)


def _decoded(data: bytes, image: PillowImage.Image) -> npt.NDArray[Any]:
    if image.format in ("PNG", "JPEG"):
        return _by_opencv(data)
    if image.format == "JPEG2000":
        return _jpeg_2000(data)
    if image.mode in ("1", "L", "LA"):
        return np.asarray(image.convert("L"))
    return np.asarray(image.convert("RGB"))[..., ::-1].copy()


def _is_followed(data: bytes, format: str) -> bool:
    """Whether another file of the format stands behind the first, which readers never look at."""
    if format in _SIZE_FIELDS:
        field, more = _SIZE_FIELDS[format]
        end = int.from_bytes(data[field : field + 4], "little") + more
        return data[end + end % 2 :].startswith(data[:2])
    return _JOINTS[format] in data


def _by_opencv(data: bytes) -> npt.NDArray[Any]:
    """Decode a PNG or JPEG without OpenCV's own messages; half a file is none."""
    if (b"IEND" if data.startswith(b"\x89PNG") else b"\xff\xd9") not in data:
        raise DataError("it is truncated.")
    log: Any = getattr(cv2.utils, "logging", cv2)  # OpenCV 4 has it at the top
    level = log.getLogLevel()
    log.setLogLevel(_SILENT)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    finally:
        log.setLogLevel(level)
    if pixels is None:
        raise DataError("it is damaged or truncated.")
    return pixels


def _jpeg_2000(data: bytes) -> npt.NDArray[Any]:
    """Decode the codestream, if it has the size that was checked."""
    try:
        import imagecodecs
    except ImportError as error:
        raise DataError("JPEG 2000 needs imagecodecs. Type: pip install imagecodecs") from error
    stream = data[max(data.find(CODESTREAM), 0) :]
    with header_of(data) as outer, header_of(stream) as inner:
        if inner.size != outer.size:
            raise DataError("it is damaged: its two headers disagree on its size.")
    pixels = np.asarray(imagecodecs.jpeg2k_decode(stream))
    if pixels.ndim == 3 and pixels.shape[2] < 3:
        return pixels[..., 0]
    return pixels if pixels.ndim == 2 else pixels[..., 2::-1].copy()


def _orientation(data: bytes, image: PillowImage.Image) -> int:
    """Return EXIF's orientation; Pillow would decode a PNG to look for it behind the pixels."""
    if image.format == "PNG" and b"eXIf" not in data:
        return 1
    return int(image.getexif().get(_ORIENTATION, 1))
