"""Pictures as x265 takes them: their samples, and sizes of at least a CTU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from dmic_gym.codecs.base import QP_RANGE, QPRange
from dmic_gym.errors import InvalidInputError

P = TypeVar("P", bound=npt.NDArray[np.integer[Any]])

BIT_DEPTHS = (8, 10, 12)

_HIGHEST_OF_12_BITS = 49
"""FFmpeg (5.1 and 8, against x265's MD5 and libde265) decodes 50 and 51 wrongly at 12 bits."""


def check_bit_depth(bit_depth: int) -> int:
    """Return `bit_depth` if it is 8, 10 or 12, else raise InvalidInputError."""
    if bit_depth not in BIT_DEPTHS:
        nearest = min(BIT_DEPTHS, key=lambda depth: abs(depth - bit_depth))
        raise InvalidInputError(
            f"bit_depth={bit_depth!r} is none of 8, 10, 12. Nearest: {nearest}."
        )
    return bit_depth


@dataclass(frozen=True)
class SampleFormat:
    """How samples are stored.

    Attributes:
        bit_depth: 8, 10 or 12.
        chroma: False is 4:0:0; True is 4:2:0 whose chroma is mid-grey everywhere.
    """

    bit_depth: int = 8
    chroma: bool = False

    def __post_init__(self) -> None:
        check_bit_depth(self.bit_depth)

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger[Any]]:
        """Of one sample."""
        return np.dtype(np.uint8) if self.bit_depth == 8 else np.dtype(np.uint16)

    @property
    def qp_range(self) -> QPRange:
        """Lowest and highest luma QP that is coded."""
        return (QP_RANGE[0], _HIGHEST_OF_12_BITS) if self.bit_depth == 12 else QP_RANGE

    @property
    def pix_fmt(self) -> str:
        """FFmpeg's name."""
        depth = "" if self.bit_depth == 8 else f"{self.bit_depth}le"
        return ("yuv420p" if self.chroma else "gray") + depth

    @property
    def mid_grey(self) -> int:
        """The chroma sample of no colour."""
        return 1 << self.bit_depth - 1

    @property
    def x265_params(self) -> dict[str, str | int | float]:
        """Settings beside the anchor's.

        With ``keyint=1`` x265 states the range extensions' profile; with 2 it states Main and
        Main 10 where they apply, and pictures forced to be IDR are intra all the same. Players
        take 4:2:0 for limited range if nobody says otherwise.
        """
        return {"keyint": 2, "open-gop": 0, "range": "full"} if self.chroma else {}

    def even(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Return (H, W) that a stream can state: 4:2:0 has even sides."""
        height, width = shape
        return (height + height % 2, width + width % 2) if self.chroma else (height, width)


GREY = SampleFormat()
"""8 bits, 4:0:0: what is trained and measured with."""


def padded(plane: P, shape: tuple[int, int]) -> P:
    """Return `plane` (samples or QPs) extended to `shape`, the last row and column repeated."""
    missing = [(0, wanted - side) for wanted, side in zip(shape, plane.shape, strict=True)]
    extended: Any = np.pad(plane, missing, mode="edge") if plane.shape != shape else plane
    return cast(P, extended)


def crop_filter(shape: tuple[int, int], picture: tuple[int, ...]) -> str | None:
    """Return the FFmpeg bitstream filter that signals that `picture` was padded from `shape`.

    It writes the SPS conformance window (Rec. ITU-T H.265, 7.4.3.2.1), in luma samples. None
    where nothing was padded: x265 itself signals sides that are no multiple of 8.
    """
    crops = {"crop_right": picture[1] - shape[1], "crop_bottom": picture[0] - shape[0]}
    needed = [f"{name}={count}" for name, count in crops.items() if count > 0]
    return "hevc_metadata=" + ":".join(needed) if needed else None
