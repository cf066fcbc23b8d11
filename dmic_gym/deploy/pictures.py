"""Grey pictures of 8, 10 or 12 bits, and the image files that hold them."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dmic_gym.codecs.hevc.picture import BIT_DEPTHS, SampleFormat, check_bit_depth
from dmic_gym.deploy.limits import DEFAULT_LIMITS, Limits, read_bytes
from dmic_gym.deploy.window import Window, checked_window, linear_window, rounded
from dmic_gym.errors import (
    DataError,
    DmicError,
    InvalidInputError,
    MissingDependencyError,
    unknown_name,
)
from dmic_gym.io import write_atomically
from dmic_gym.tasks.data.picture_files import READABLE, read_pixels
from dmic_gym.tasks.data.pixels import Pixels
from dmic_gym.types import Samples

__all__ = [
    "BIT_DEPTHS",
    "READABLE",
    "WRITABLE",
    "Picture",
    "Samples",
    "read_picture",
    "write_picture",
]

WRITABLE = (".png", ".pgm", ".tif", ".tiff")
_TIFF = (".tif", ".tiff")


@dataclass(frozen=True, eq=False)
class Picture:
    """One grey picture or several of one size.

    Attributes:
        samples: uint8 (8 bit) or uint16 (10, 12 bit), (H, W) or (N, H, W).
        bit_depth: 8, 10 or 12; samples are 0..2**bit_depth - 1.

    Raises:
        InvalidInputError: dtype, shape or range are others.
    """

    samples: Samples
    bit_depth: int = 8

    def __post_init__(self) -> None:
        dtype = SampleFormat(check_bit_depth(self.bit_depth)).dtype
        samples = self.samples
        if samples.dtype != dtype or samples.ndim not in (2, 3) or samples.size == 0:
            raise InvalidInputError(
                f"A picture of {self.bit_depth} bits is a {dtype} array (H, W) or (N, H, W), got "
                f"{samples.dtype} {samples.shape}."
            )
        if int(samples.max()) >> self.bit_depth:
            raise InvalidInputError(
                f"The samples reach {samples.max()}, more than {self.bit_depth} bits hold "
                f"(0..{2**self.bit_depth - 1})."
            )

    @property
    def frames(self) -> Samples:
        """The pictures as (N, H, W), N = 1 for a single one."""
        return self.samples if self.samples.ndim == 3 else self.samples[np.newaxis]

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of each picture."""
        height, width = self.samples.shape[-2:]
        return height, width

    @property
    def eight_bit(self) -> npt.NDArray[np.uint8]:
        """The pictures' upper 8 bits, uint8 (N, H, W): what agents and segmenters see."""
        return np.asarray(self.frames >> (self.bit_depth - 8), np.uint8)

    @classmethod
    def of(cls, samples: npt.NDArray[Any], bit_depth: int | None = None) -> Picture:
        """Return a picture; without `bit_depth`, uint16 samples get the least of 10 and 12 bits.

        Raises:
            InvalidInputError: as the class, or the samples need more than 12 bits.
        """
        array = np.asarray(samples)
        if bit_depth is None:
            bit_depth = 8 if array.dtype != np.uint16 else _depth_for(int(array.max(initial=0)))
        return cls(np.ascontiguousarray(array), bit_depth)


def read_picture(
    path: Path,
    bit_depth: int | None = None,
    window: Window | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Picture:
    """Read an image file of any format of `READABLE`; the pages of a TIFF are frames.

    Colour becomes ITU-R BT.601 luma, and the orientation that EXIF or TIFF asks for is applied. A
    depth that the file states is believed: a PGM's maxval up to 4095, a TIFF's bits below 16.
    Other samples of 16 bits are taken as they are, in the least of 10 and 12 bits that holds the
    largest.

    Args:
        path: of the file.
        bit_depth: 10 or 12, where the file does not say it and the samples are dark.
        window: (centre, width) brings samples of any depth to 8 bits.
        limits: on size; checked against the header, before decoding.

    Raises:
        DataError: the file is unreadable, damaged, of another format, too large or too deep.
        InvalidInputError: the window is none.
    """
    chosen = None if window is None else _typed_window(window)
    data = read_bytes(path, limits)
    try:
        pixels = read_pixels(data, limits.check_size)
        if chosen is not None:
            greys = rounded(linear_window(np.arange(1 << 16), *chosen))
            return Picture(_unstacked(greys[pixels.frames]))
        return _picture(pixels, bit_depth)
    except MissingDependencyError:
        raise
    except DmicError as error:
        raise DataError(f"Cannot read {str(path)!r}: {error}") from error


def _typed_window(window: Window) -> tuple[float, float]:
    checked = checked_window(window)
    if checked == "auto":
        raise InvalidInputError(
            "window 'auto' is for DICOM: no other file has a window of its own. Give one as "
            "CENTRE,WIDTH."
        )
    return checked


def _picture(pixels: Pixels, bit_depth: int | None) -> Picture:
    if pixels.frames.dtype == np.uint8:
        return Picture(_unstacked(pixels.frames), bit_depth or 8)
    if bit_depth is None and pixels.maximum is not None:
        bit_depth = pixels.maximum.bit_length()
    return Picture.of(_unstacked(pixels.frames), bit_depth)


def _unstacked(frames: Samples) -> Samples:
    return frames if len(frames) > 1 else frames[0]


def write_picture(picture: Picture, path: Path) -> None:
    """Write PNG, PGM or TIFF by the path's suffix, atomically; several frames: TIFF only.

    Samples of 10 and 12 bits are stored as they are, in 16 bits; a PGM says how deep they are.

    Raises:
        InvalidInputError: the suffix names another format, or one that holds a single picture.
        DataError: the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in WRITABLE:
        raise unknown_name("image format", path.suffix, WRITABLE)
    if len(picture.frames) > 1 and suffix not in _TIFF:
        raise InvalidInputError(
            f"{path.suffix} holds one picture, there are {len(picture.frames)}: write .tiff."
        )
    write_atomically(path, _encoded(picture, suffix))


def _encoded(picture: Picture, suffix: str) -> bytes:
    frames = picture.frames
    if suffix in _TIFF:
        return _tiff(frames)
    if suffix == ".pgm":
        height, width = picture.shape
        big_endian = frames[0].astype(frames.dtype.newbyteorder(">"))
        header = f"P5\n{width} {height}\n{2**picture.bit_depth - 1}\n"
        return header.encode() + bytes(big_endian.tobytes())
    done, data = cv2.imencode(suffix, frames[0])
    if not done:
        raise DataError(f"OpenCV could not make a {suffix} file.")
    return bytes(data.tobytes())


def _tiff(frames: Samples) -> bytes:
    """Return a page for each frame in Deflate, whose checksums `read_picture` checks."""
    import tifffile

    file = BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for frame in frames:
            writer.write(frame, compression="zlib", photometric="minisblack", metadata=None)
    return file.getvalue()


def _depth_for(maximum: int) -> int:
    for depth in BIT_DEPTHS[1:]:
        if maximum < 1 << depth:
            return depth
    raise InvalidInputError(
        f"Samples reach {maximum}; at most {BIT_DEPTHS[-1]} bits (0..{2 ** BIT_DEPTHS[-1] - 1}) "
        "are coded. Scale them first, or choose a window: --window CENTRE,WIDTH."
    )
