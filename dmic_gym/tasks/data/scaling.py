"""Pictures and masks made smaller."""

from __future__ import annotations

import cv2
import numpy as np

from dmic_gym.tasks.data.sample import Sample
from dmic_gym.types import Image, Mask

MIN_HEIGHT = 16


def shrunk(sample: Sample, height: int | None) -> Sample:
    """Return a sample at `height` rows, its width in proportion; lower ones stay as they are.

    Area averaging; a pixel of the mask is True where the structure covers more than half of it.
    """
    rows, columns = sample.image.shape
    if height is None or height >= rows:
        return sample
    size = (max(round(columns * height / rows), 1), height)
    mask = None if sample.mask is None else _covered(sample.mask, size)
    return Sample(_averaged(sample.image, size), mask, sample.name)


def cropped(sample: Sample, multiple: int) -> Sample:
    """Return the middle of a sample, whose sides are multiples of a number.

    Of an odd rest the larger part goes at the right and at the bottom. A side below the number
    stays as it is.
    """
    rows, columns = (_middle(side, multiple) for side in sample.image.shape)
    mask = None if sample.mask is None else sample.mask[rows, columns]
    return Sample(sample.image[rows, columns], mask, sample.name)


def _middle(side: int, multiple: int) -> slice:
    rest = side % multiple if side >= multiple else 0
    return slice(rest // 2, side - (rest - rest // 2))


def _averaged(image: Image, size: tuple[int, int]) -> Image:
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _covered(mask: Mask, size: tuple[int, int]) -> Mask:
    cover = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return np.asarray(cover > 0.5, np.bool_)
