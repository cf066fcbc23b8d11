"""Fitting images to x265, which takes no picture smaller than a CTU."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

Sample = TypeVar("Sample", bound=np.generic)


def padded(image: npt.NDArray[Sample], ctu_size: int) -> npt.NDArray[Sample]:
    """Return `image` with both sides at least a CTU long, the last row and column repeated."""
    height, width = image.shape
    missing = (max(0, ctu_size - height), max(0, ctu_size - width))
    if not any(missing):
        return image
    return np.pad(image, ((0, missing[0]), (0, missing[1])), mode="edge")


def crop_filter(shape: tuple[int, int], ctu_size: int) -> str | None:
    """Return the FFmpeg bitstream filter that signals the true size of a padded picture.

    It writes the SPS conformance window (Rec. ITU-T H.265, 7.4.3.2.1), in luma samples for
    4:0:0. None where nothing was padded: x265 itself signals sides that are no multiple of 8.
    """
    height, width = shape
    crops = {"crop_right": ctu_size - width, "crop_bottom": ctu_size - height}
    needed = [f"{name}={count}" for name, count in crops.items() if count > 0]
    return "hevc_metadata=" + ":".join(needed) if needed else None
