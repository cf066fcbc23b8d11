"""Functional groups of enhanced multi-frame images (PS3.3 C.7.6.16): what differs by frame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dmic_gym.errors import DataError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
GREY_MACROS = ("PixelValueTransformationSequence", "FrameVOILUTSequence")
"""Rescale and window of a frame (C.7.6.16.2.9, C.7.6.16.2.10)."""

_GREY = (
    "ModalityLUTSequence",
    "RescaleIntercept",
    "RescaleSlope",
    "VOILUTFunction",
    "VOILUTSequence",
    "WindowCenter",
    "WindowWidth",
)


def greys_of_frames(dataset: Dataset, frames: int, path: Path) -> Iterator[Dataset]:
    """Yield, for each frame, what says how its values become grey.

    That of the data set, replaced by that of the shared functional groups, and this by the
    frame's own.

    Raises:
        DataError: there are functional groups, but not one for each frame.
    """
    shared, own = (dataset.get(keyword) or [] for keyword in GROUPS)
    if own and len(own) != frames:
        raise DataError(f"{path}: functional groups of {len(own)} frames, but it has {frames}.")
    common = _merged(dataset, *shared)
    for index in range(frames):
        yield _merged(common, own[index]) if own else common


def _merged(dataset: Dataset, *groups: Dataset) -> Dataset:
    from pydicom.dataset import Dataset

    merged = Dataset()
    macros = [item for group in groups for macro in GREY_MACROS for item in group.get(macro) or []]
    for source in (dataset, *macros):
        for keyword in _GREY:
            if keyword in source:
                merged[keyword] = source[keyword]
    return merged
