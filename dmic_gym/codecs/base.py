"""What a codec is: pictures and QP maps in, a bitstream and the decoded pictures out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self, runtime_checkable

import numpy as np

from dmic_gym.errors import InvalidInputError, checked_integer
from dmic_gym.types import AnyQPMap, QPMap, Samples

CTU_SIZES = (64, 32, 16)
MAX_SIDE = 4096

QPRange = tuple[int, int]
"""Lowest and highest QP, both valid: ``np.clip(qp_map, *codec.qp_range)``."""

QP_RANGE: QPRange = (0, 51)
"""Of luma in 8-bit HEVC (Rec. ITU-T H.265, 7.4.9.14), for checks before there is a codec."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """What coding one picture produced.

    Attributes:
        bitstream: the picture's access unit as an HEVC byte stream (Rec. ITU-T H.265, Annex B).
            Those of several pictures joined are one stream.
        reconstruction: (H, W), what any decoder makes of it; of the picture's dtype.
        bits: length of `bitstream` in bits, parameter sets included.
        slice_bits: bits of the coded slices alone (VCL NAL units with their start codes); the
            rest is parameter sets, equal for every picture and QP map of one size.
    """

    bitstream: bytes
    reconstruction: Samples
    bits: int
    slice_bits: int


@runtime_checkable
class Codec(Protocol):
    """A codec with one QP per coding tree unit (CTU): all that this package asks of one.

    Any object with these five can be passed as `codec`. It has to be safe to call from several
    threads, deterministic (same input, same bytes), and picklable where worker processes use it.
    """

    @property
    def ctu_size(self) -> int:
        """Side of a CTU in luma samples; QP maps have `map_shape(image_shape, ctu_size)`."""
        ...

    @property
    def qp_range(self) -> QPRange:
        """Lowest and highest QP that `encode` takes."""
        ...

    def encode(self, frames: Sequence[Samples], qp_maps: Iterable[AnyQPMap]) -> list[Encoded]:
        """Code pictures of one size.

        Args:
            frames: uint8 (H, W) each, grey.
            qp_maps: as many, integers (rows, cols), absolute QPs within `qp_range`. Each map is
                asked for when its frame is coded, so a generator can decide late.
        """
        ...

    def decode(self, bitstream: bytes) -> Samples:
        """Return the pictures of a stream, uint8 (N, H, W)."""
        ...

    def close(self) -> None:
        """Free what the codec holds; it may not be used afterwards."""
        ...


@runtime_checkable
class VideoStream(Protocol):
    """Frames of one size coded one after the other, each decoded before the next is decided.

    The first frame is intra (IDR), every other one is predicted from those before it. What is
    coded cannot be taken back: to try another map, code the frames from the first one on again.
    """

    def encode(self, frame: Samples, qp_map: AnyQPMap) -> Encoded:
        """Code the next frame; its bitstream and reconstruction come at once.

        The bitstreams of all frames joined are one stream, to which that of another `VideoStream`
        of the same codec may be joined.

        Args:
            frame: uint8 (H, W), grey.
            qp_map: integers (rows, cols), absolute QPs within the codec's `qp_range`.
        """
        ...

    def close(self) -> None:
        """Free the encoder and the decoder."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


@runtime_checkable
class VideoCodec(Codec, Protocol):
    """A codec that predicts frames from earlier ones."""

    def video(self, shape: tuple[int, int], base_qp: int) -> VideoStream:
        """Begin a stream.

        Args:
            shape: (H, W) of its frames.
            base_qp: the QP that maps are coded relative to; a uniform map of it is the anchor.
        """
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


def uniform_map(image_shape: tuple[int, int], ctu_size: int, qp: int) -> QPMap:
    """Return the anchor's QP map: `qp` in every CTU."""
    return np.full(map_shape(image_shape, ctu_size), qp, dtype=np.int16)


def check_shape(shape: tuple[int, int]) -> tuple[int, int]:
    """Return (H, W) as two integers; raise InvalidInputError if they are not 1..4096 each."""
    if np.shape(shape) != (2,):
        raise InvalidInputError(f"shape must be (H, W), got {shape!r}.")
    height, width = (checked_integer("a side of shape", side, 1, MAX_SIDE) for side in shape)
    return height, width


def check_image(image: Samples, bit_depth: int = 8) -> Samples:
    """Return `image` C-contiguous.

    Raises:
        InvalidInputError: it is no (H, W) of 1..4096 a side, uint8 (uint16 beyond 8 bits), or
            has samples of more than `bit_depth` bits.
    """
    array = np.asarray(image)
    dtype = np.uint8 if bit_depth == 8 else np.uint16
    if array.dtype != dtype or array.ndim != 2:
        raise InvalidInputError(
            f"image must be a {dtype.__name__} array (H, W), got {array.dtype} {array.shape}. "
            f"Convert to grey and scale to 0..{2**bit_depth - 1} first."
        )
    if not all(1 <= side <= MAX_SIDE for side in array.shape):
        raise InvalidInputError(f"image sides must be 1..{MAX_SIDE}, got {array.shape}.")
    if bit_depth > 8 and int(array.max()) >> bit_depth:
        raise InvalidInputError(
            f"image reaches {array.max()}, {bit_depth} bits hold 0..{2**bit_depth - 1}: "
            "scale it, or pass a larger bit_depth."
        )
    return np.ascontiguousarray(array)


def check_frames(frames: Sequence[Samples], bit_depth: int = 8) -> list[Samples]:
    """Return the frames, each as `check_image` does; raise InvalidInputError if sizes differ."""
    if isinstance(frames, np.ndarray) and frames.ndim == 2:
        raise InvalidInputError("frames must be a sequence of images (H, W): pass [image].")
    checked = [check_image(frame, bit_depth) for frame in frames]
    if len(shapes := {frame.shape for frame in checked}) > 1:
        raise InvalidInputError(
            f"frames must have one size, got {sorted(shapes)}: call encode once for each size."
        )
    return checked


def check_qp_map(
    qp_map: AnyQPMap, image_shape: tuple[int, int], ctu_size: int, qp_range: QPRange
) -> QPMap:
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
    lowest, highest = qp_range
    low, high = int(array.min()), int(array.max())
    if low < lowest or high > highest:
        raise InvalidInputError(
            f"qp_map spans {low}..{high}, valid is {lowest}..{highest}: "
            f"use np.clip(qp_map, {lowest}, {highest})."
        )
    return array.astype(np.int16)
