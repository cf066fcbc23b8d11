"""Bounds on what a stranger's file may make us do."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from dmic_gym.codecs.base import MAX_SIDE
from dmic_gym.errors import DataError, InvalidInputError


@dataclass(frozen=True)
class Limits:
    """What a file may ask for; beyond it, it is refused before its pictures are allocated.

    With the defaults reading or decoding takes at most 2.5 GB: the file five times, the samples
    twice at two bytes each, and a decoder's few pictures.

    Attributes:
        max_bytes: of the file or stream.
        max_side: of a picture, in samples.
        max_samples: of all pictures of a file together, each colour channel counted.
        max_units: NAL units in a stream.
        seconds: for decoding a stream, looked at between pictures.
    """

    max_bytes: int = 1 << 28
    max_side: int = MAX_SIDE
    max_samples: int = 1 << 27
    max_units: int = 1 << 16
    seconds: float = 60.0

    def check_bytes(self, count: int) -> None:
        """Raise InvalidInputError if a file has more bytes than allowed."""
        if count > self.max_bytes:
            raise InvalidInputError(
                f"{count} bytes are more than the limit of {self.max_bytes}: split the file, or "
                "raise Limits.max_bytes."
            )

    def check_size(self, height: int, width: int, frames: int = 1) -> None:
        """Raise InvalidInputError if pictures of this size are not allowed."""
        if not (1 <= height <= self.max_side and 1 <= width <= self.max_side):
            raise InvalidInputError(
                f"A picture of {width} x {height} samples (width x height) is outside "
                f"1..{self.max_side} a side."
            )
        if frames * height * width > self.max_samples:
            raise InvalidInputError(
                f"{frames} x {width} x {height} samples are more than the limit of "
                f"{self.max_samples}: split the file, or raise Limits.max_samples."
            )


@dataclass
class Deadline:
    """A moment after which decoding stops."""

    seconds: float
    _end: float = field(init=False)

    def __post_init__(self) -> None:
        self._end = time.monotonic() + self.seconds

    @property
    def passed(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() > self._end


DEFAULT_LIMITS = Limits()


def read_bytes(path: Path, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Read a file.

    Raises:
        DataError: it is missing, no regular file, too large or unreadable.
    """
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise DataError("it is a pipe or a device. Save it as a file first.")
        limits.check_bytes(path.stat().st_size)
        return path.read_bytes()
    except (InvalidInputError, OSError) as error:
        words = getattr(error, "strerror", None)
        raise DataError(f"Cannot read {str(path)!r}: {f'{words}.' if words else error}") from error
