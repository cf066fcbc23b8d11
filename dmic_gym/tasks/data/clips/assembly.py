"""A clip made of pictures that are read one after the other."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dmic_gym.errors import DataError, checked_integer
from dmic_gym.tasks.data.clip import Clip
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.data.scaling import MIN_HEIGHT, cropped, shrunk

MAX_BYTES = 1 << 30
"""Pixels that a clip may have: it lies in memory as a whole."""


class Cut(NamedTuple):
    """Which frames of a recording make a clip, and how large they are.

    Attributes:
        start: index of the first.
        frames: how many at most, or None for all that follow.
        size: height in rows to which higher frames are scaled down, or None.
        multiple: of which width and height are multiples after that, by cropping.
    """

    start: int = 0
    frames: int | None = None
    size: int | None = None
    multiple: int = 1


def checked_cut(start: int, frames: int | None, size: int | None, multiple: int = 2) -> Cut:
    """Return a cut; frames that are scaled are cropped to the multiple, others stay as they are.

    Raises:
        InvalidInputError: a number is out of its range.
    """
    start = checked_integer("start", start, 0)
    frames = None if frames is None else checked_integer("frames", frames)
    if size is None:
        return Cut(start, frames)
    return Cut(start, frames, checked_integer("size", size, MIN_HEIGHT), multiple)


def assembled(samples: Iterable[Sample], name: str, cut: Cut, whence: object) -> Clip:
    """Return the clip that consecutive pictures make.

    Args:
        samples: all pictures of the recording, with a mask each, with a mask of the first that
            the cut takes alone, or with none.
        name: of the clip.
        cut: which to take.
        whence: a file or folder, for messages.

    Raises:
        DataError: there are none there, their sizes differ, some masks lack, or they are too many.
    """
    stop = None if cut.frames is None else cut.start + cut.frames
    taken, total = [], 0
    for sample in islice(samples, cut.start, stop):
        taken.append(cropped(shrunk(sample, cut.size), cut.multiple))
        total += taken[-1].image.size
        _check(taken[0], taken[-1], total, whence)
    if not taken:
        raise DataError(f"{str(whence)!r} has no frame {cut.start}: start= counts from 0.")
    frames = np.stack([sample.image for sample in taken])
    masks = [sample.mask for sample in taken if sample.mask is not None]
    if len(masks) == len(taken):
        return Clip(frames, np.stack(masks), name=name)
    if not masks or (len(masks) == 1 and taken[0].mask is not None):
        return Clip(frames, None, taken[0].mask, name)
    lost = [sample.name for sample in taken if sample.mask is None]
    raise DataError(
        f"{str(whence)!r}: {len(lost)} of {len(taken)} frames have no mask, as {lost[0]!r}. Add "
        "them, or keep the mask of the first frame alone."
    )


def in_order(name: str | Path) -> list[tuple[int, str]]:
    """Return the key by which names of frames are sorted: numbers in them by their value."""
    parts = re.split(r"(\d+)", str(name))
    return [(int(part) if part.isdecimal() else -1, part) for part in parts]


def _check(first: Sample, last: Sample, total: int, whence: object) -> None:
    if last.image.shape != first.image.shape:
        sizes = " and ".join(f"{s.image.shape} ({s.name})" for s in (first, last))
        raise DataError(
            f"{str(whence)!r}: the frames of a clip have one size, not {sizes}. Give each clip a "
            "folder of its own."
        )
    if total > MAX_BYTES:
        raise DataError(
            f"{str(whence)!r} has more than {MAX_BYTES >> 20} MiB of pixels, too many for a clip: "
            "take fewer with frames= or smaller ones with size=, as in FILE?frames=100&size=240."
        )
