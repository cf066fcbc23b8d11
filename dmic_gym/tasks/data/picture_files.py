"""Image files as grey samples: the one reader of data sets and of ``dmic encode``.

Pillow reads headers; OpenCV decodes PNG and JPEG, imagecodecs JPEG 2000, Pillow the rest. TIFF and
PGM have modules of their own.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from dmic_gym.errors import DataError, DmicError
from dmic_gym.types import Samples

READABLE = (".png", ".pgm", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".jp2")
"""Suffixes of the formats that are read; what a file holds is seen from its content."""

SizeCheck = Callable[[int, int, int], object]
"""Raises InvalidInputError where (height, width, pictures times channels) are too many."""

CODESTREAM = b"\xff\x4f\xff\x51"
"""How a JPEG 2000 codestream starts (ITU-T T.800, A.4.1, A.5.1)."""

_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "JPEG2000")
_NONE = "it is damaged, cut, or none of PNG, PGM, TIFF, JPEG, BMP, GIF, WebP and JPEG 2000."
_ORIENTATION = 0x112
_CHANNELS = 4
"""The most that a decoder makes of a pixel."""


@dataclass(frozen=True, eq=False)
class Pixels:
    """What an image file holds.

    Attributes:
        frames: (N, H, W) of uint8 or uint16, as a viewer shows them: colour by ITU-R BT.601 luma,
            alpha ignored, the orientation that EXIF or TIFF asks for applied.
        maximum: the value of white, 255, 1023 or 4095, where the file says it; None for other
            samples of 16 bits, which are as they are in the file.
    """

    frames: Samples
    maximum: int | None


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
    from dmic_gym.tasks.data.pgm import is_pgm, read_pgm
    from dmic_gym.tasks.data.tiff import is_tiff, read_tiff

    if is_pgm(data):
        return read_pgm(data, check_size)
    return read_tiff(data, check_size) if is_tiff(data) else _read(data, check_size)


def scaled(frames: Samples, maximum: int) -> Pixels:
    """Bring samples of 0..maximum to the least of 8, 10 and 12 bits that hold them."""
    top = next(top for top in (255, 1023, 4095) if maximum <= top)
    dtype = np.uint8 if top == 255 else np.uint16
    if maximum == top:
        return Pixels(frames.astype(dtype, copy=False), top)
    rounded = (frames.astype(np.uint32) * top + maximum // 2) // maximum
    return Pixels(rounded.astype(dtype), top)


def grey_of(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return blue, green, red (and alpha) as grey (H, W) of their dtype, by ITU-R BT.601 luma."""
    if pixels.ndim == 2:
        return pixels
    code = cv2.COLOR_BGRA2GRAY if pixels.shape[2] == 4 else cv2.COLOR_BGR2GRAY
    return np.asarray(cv2.cvtColor(pixels, code))


def oriented(frames: Samples, orientation: int) -> Samples:
    """Turn (..., H, W) as EXIF's and TIFF's orientation 2..8 ask; other values mean upright."""
    turned = np.swapaxes(frames, -1, -2) if 5 <= orientation <= 8 else frames
    rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    return np.ascontiguousarray(turned[..., rows, columns])


@contextmanager
def damage_is_an_error() -> Iterator[None]:
    """Turn what a library raises for a damaged file into DataError, and drop its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except DmicError:
            raise
        except Exception as error:
            words = " ".join(str(error).split())[:100]
            raise DataError(f"it is damaged, truncated or no image ({words}).") from error


@contextmanager
def header_of(data: bytes, else_words: str = _NONE) -> Iterator[PillowImage.Image]:
    """Open an image with Pillow, which reads its header alone; DataError if it is none."""
    try:
        image = PillowImage.open(BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError:
        raise DataError(else_words) from None
    except PillowImage.DecompressionBombError as error:
        raise DataError(f"it is too large: {error}") from None
    with image:
        yield image


def _read(data: bytes, check_size: SizeCheck) -> Pixels:
    with damage_is_an_error(), header_of(data) as image:
        check_size(image.height, image.width, _CHANNELS)
        if (count := getattr(image, "n_frames", 1)) != 1:
            raise DataError(
                f"it holds {count} pictures ({image.format}), and only the pages of a TIFF are "
                "read as several: save the one you mean, or write them to a TIFF."
            )
        pixels = _decoded(data, image)
        if pixels.shape[:2] != (image.height, image.width):
            raise DataError("it is damaged: its picture has another size than its header says.")
        turn = _orientation(data, image)
    grey = grey_of(pixels)
    if grey.dtype not in (np.uint8, np.uint16):
        raise DataError(f"it holds {grey.dtype} samples; read are 8 and 16 bits unsigned.")
    return Pixels(oriented(grey[np.newaxis], turn), 255 if grey.dtype == np.uint8 else None)


def _decoded(data: bytes, image: PillowImage.Image) -> npt.NDArray[Any]:
    if image.format in ("PNG", "JPEG"):
        return _by_opencv(data)
    if image.format == "JPEG2000":
        return _jpeg_2000(data)
    if image.mode in ("1", "L", "LA"):
        return np.asarray(image.convert("L"))
    return np.asarray(image.convert("RGB"))[..., ::-1].copy()


def _by_opencv(data: bytes) -> npt.NDArray[Any]:
    """Decode a PNG or JPEG without OpenCV's own messages; half a file is none."""
    if (b"IEND" if data.startswith(b"\x89PNG") else b"\xff\xd9") not in data:
        raise DataError("it is truncated.")
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    finally:
        cv2.utils.logging.setLogLevel(level)
    if pixels is None:
        raise DataError("it is damaged or truncated.")
    return pixels


def _jpeg_2000(data: bytes) -> npt.NDArray[Any]:
    """Decode the codestream, if it has the size that was checked."""
    import imagecodecs

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
