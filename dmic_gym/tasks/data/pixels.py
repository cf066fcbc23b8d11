"""Grey samples of an image file, and what the readers of the formats share."""

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

SizeCheck = Callable[[int, int, int], object]
"""Raises InvalidInputError where (height, width, pictures times channels) are too many."""

_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "JPEG2000")
_NONE = "it is damaged, cut, or none of PNG, PGM, TIFF, JPEG, BMP, GIF, WebP and JPEG 2000."


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


def scaled(frames: Samples, maximum: int) -> Pixels:
    """Bring samples of 0..maximum to the least of 8, 10 and 12 bits that hold them.

    Above 4095 they are samples of 16 bits as they are.
    """
    if maximum > 4095:
        return Pixels(frames.astype(np.uint16, copy=False), None)
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
