"""Functional groups of enhanced multi-frame images (PS3.3 C.7.6.16): what differs by frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from dmic_gym.deploy.dicom_file import element
from dmic_gym.errors import DataError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
GREY_MACROS = ("PixelValueTransformationSequence", "FrameVOILUTSequence")
"""Rescale and window of a frame (C.7.6.16.2.9, C.7.6.16.2.10)."""

MODALITY = ("ModalityLUTSequence", "RescaleIntercept", "RescaleSlope")
VOI = ("VOILUTFunction", "VOILUTSequence", "WindowCenter", "WindowWidth")


def greys_of_frames(
    dataset: Dataset, frames: int, keywords: Sequence[str] = (*MODALITY, *VOI)
) -> Iterator[Dataset]:
    """Yield, for each frame, what says how its values become grey.

    That of the data set, replaced by that of the shared functional groups, and this by the
    frame's own.

    Raises:
        DataError: an attribute is damaged, or there are functional groups, but not one for each
            frame.
    """
    shared, own = (dataset.get(keyword) or [] for keyword in GROUPS)
    if own and len(own) != frames:
        raise DataError(f"functional groups of {len(own)} frames, but it has {frames}.")
    common = _merged((dataset, *_macros(shared)), keywords)
    for index in range(frames):
        of_frame = (common, *_macros(own[index : index + 1]))
        yield _merged(of_frame, keywords) if own else common


def _macros(groups: Sequence[Dataset]) -> list[Dataset]:
    return [item for group in groups for macro in GREY_MACROS for item in group.get(macro) or []]


def _merged(sources: Sequence[Dataset], keywords: Sequence[str]) -> Dataset:
    from pydicom.dataset import Dataset

    merged = Dataset()
    for source in sources:
        for keyword in keywords:
            if keyword in source:
                merged[keyword] = element(source, keyword)
    return merged
