"""What a codec is: an image and a QP map in, a bitstream and its decoded picture out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from dmic_gym.errors import InvalidInputError

MIN_QP = 0
MAX_QP = 51
"""Range of the luma QP of 8-bit video (Rec. ITU-T H.265, 7.4.9.14)."""

CTU_SIZES = (64, 32, 16)
MAX_SIDE = 4096

Image = npt.NDArray[np.uint8]
QPMap = npt.NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class Encoded:
    """What one encode produced.

    Attributes:
        bitstream: the HEVC byte stream (Rec. ITU-T H.265, Annex B), one intra picture.
        reconstruction: uint8 (H, W), what any decoder makes of `bitstream`.
        bits: length of the whole stream in bits, parameter sets included.
        slice_bits: bits of the coded slices alone (VCL NAL units with their start codes); the
            rest is parameter sets, equal for every image and QP map of one size.
    """

    bitstream: bytes
    reconstruction: Image
    bits: int
    slice_bits: int


@runtime_checkable
class Codec(Protocol):
    """An intra codec with one QP per coding tree unit (CTU).

    Codecs are safe to call from several threads, deterministic (same input, same bytes), and
    pickle by their constructor's arguments.
    """

    @property
    def ctu_size(self) -> int:
        """Side of a CTU in luma samples."""
        ...

    def encode(self, image: Image, qp_map: QPMap) -> Encoded:
        """Code `image`, uint8 (H, W), with `qp_map`, int (rows, cols) of absolute QPs 0..51."""
        ...

    def decode(self, bitstream: bytes) -> Image:
        """Return the picture in `bitstream` as uint8 (H, W)."""
        ...

    def close(self) -> None:
        """Free what the codec holds; it may not be used afterwards."""
        ...


def check_ctu_size(ctu_size: int) -> int:
    """Return `ctu_size` if HEVC and x265 have it, else raise InvalidInputError."""
    if not isinstance(ctu_size, int):
        raise InvalidInputError(f"ctu_size={ctu_size!r} must be one of the integers 64, 32, 16.")
    if ctu_size not in CTU_SIZES:
        nearest = min(CTU_SIZES, key=lambda size: abs(size - ctu_size))
        raise InvalidInputError(
            f"ctu_size={ctu_size!r}: x265 has CTUs of 64, 32 and 16 samples. Nearest: {nearest}."
        )
    return ctu_size


def map_shape(image_shape: tuple[int, int], ctu_size: int) -> tuple[int, int]:
    """Return (rows, cols) of the QP map: one entry per CTU, border CTUs included."""
    height, width = image_shape
    return -(-height // ctu_size), -(-width // ctu_size)


def uniform_map(image_shape: tuple[int, int], ctu_size: int, qp: int) -> npt.NDArray[np.int16]:
    """Return the anchor's QP map: `qp` in every CTU."""
    return np.full(map_shape(image_shape, ctu_size), qp, dtype=np.int16)


def check_image(image: Image) -> Image:
    """Return `image` C-contiguous; raise InvalidInputError unless uint8 (H, W), 1..4096 a side."""
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 2:
        raise InvalidInputError(
            f"image must be a uint8 array (H, W), got {array.dtype} {array.shape}. "
            "Convert to grey and scale to 0..255 first."
        )
    if not all(1 <= side <= MAX_SIDE for side in array.shape):
        raise InvalidInputError(f"image sides must be 1..{MAX_SIDE}, got {array.shape}.")
    return np.ascontiguousarray(array)


def check_qp_map(
    qp_map: QPMap, image_shape: tuple[int, int], ctu_size: int
) -> npt.NDArray[np.int16]:
    """Return `qp_map` as int16; raise InvalidInputError on a wrong shape, dtype or range."""
    array = np.asarray(qp_map)
    expected = map_shape(image_shape, ctu_size)
    if array.shape != expected:
        raise InvalidInputError(
            f"qp_map has shape {array.shape}, but an image of {image_shape} has {expected} CTUs "
            f"of {ctu_size}: pass an integer array of shape {expected}."
        )
    if not np.issubdtype(array.dtype, np.integer):
        raise InvalidInputError(f"qp_map must hold integers, got {array.dtype}: round it first.")
    low, high = int(array.min()), int(array.max())
    if low < MIN_QP or high > MAX_QP:
        raise InvalidInputError(
            f"qp_map spans {low}..{high}, valid is {MIN_QP}..{MAX_QP}: "
            f"use np.clip(qp_map, {MIN_QP}, {MAX_QP})."
        )
    return array.astype(np.int16)
