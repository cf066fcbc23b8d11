"""How well masks and pictures agree: Dice, IoU, expected Dice and PSNR, each once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dmic_gym.errors import InvalidInputError
from dmic_gym.types import Image, Mask

PSNR_CAP = 100.0
"""PSNR given to identical pictures, in dB."""


def binarize(probability: npt.ArrayLike, threshold: float = 0.5) -> Mask:
    """Turn probabilities into a mask.

    Args:
        probability: array of any shape, 0..1.
        threshold: a pixel belongs to the mask where its probability is above this.

    Returns:
        bool array of the same shape.
    """
    return np.asarray(np.asarray(probability) > threshold)


def dice(prediction: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Dice coefficient 2 |A and B| / (|A| + |B|) (Dice 1945) of two masks.

    The Dice against the expert mask is ``dice(mask of the decoded image, expert mask)``; the
    consistency Dice is ``dice(mask of the decoded image, mask of the original image)``.

    Args:
        prediction: bool or 0/1 array (H, W).
        truth: bool or 0/1 array (H, W).

    Returns:
        0..1; 1.0 where both masks are empty.

    Raises:
        InvalidInputError: the shapes differ, or an array is not a mask of bool or 0/1.
    """
    both, total = _overlap("dice", prediction, truth)
    return 2.0 * both / total if total else 1.0


def iou(prediction: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Intersection over union |A and B| / |A or B| (Jaccard 1901) of two masks.

    It is the region similarity J of the DAVIS benchmark. Arguments, range and errors are those of
    `dice`.
    """
    both, total = _overlap("iou", prediction, truth)
    return both / (total - both) if total else 1.0


def expected_dice(mask: Mask, posterior: npt.NDArray[np.floating[Any]]) -> float:
    """Return the Dice to expect of a mask when the truth is drawn from the posterior.

    It is the ratio of expectations, 2 sum(p in mask) / (|mask| + sum(p)), which stands for the
    expectation of the ratio: exact where the truth's area is certain, and within
    Var(area) / area**2 of it otherwise (the first term of the delta method). The correlation
    between pixels does not enter the ratio, only that remainder.

    Args:
        mask: bool array (H, W), the prediction.
        posterior: float array (H, W), 0..1, calibrated; or the truth itself, as 0 and 1.

    Returns:
        0..1; 1.0 where the mask and the posterior are empty.

    Raises:
        InvalidInputError: the shapes differ.
    """
    if mask.shape != posterior.shape:
        raise InvalidInputError(
            f"expected_dice: mask is {mask.shape}, posterior is {posterior.shape}. "
            "Pass a mask and a posterior of one image."
        )
    total = float(np.count_nonzero(mask)) + float(posterior.sum(dtype=np.float64))
    return 2.0 * float(posterior[mask].sum(dtype=np.float64)) / total if total > 0.0 else 1.0


def psnr(image: Image, reconstruction: Image) -> float:
    """Return the peak signal-to-noise ratio of 8-bit images in dB, at most `PSNR_CAP`."""
    error = cv2.norm(image, reconstruction, cv2.NORM_L2SQR) / image.size
    return PSNR_CAP if error == 0 else min(PSNR_CAP, 10 * float(np.log10(255**2 / error)))


@dataclass(frozen=True)
class Metric:
    """How a task scores a mask against the truth.

    Attributes:
        label: its name in tables and figures.
        score: takes prediction and truth, returns 0..1, more is better.
    """

    label: str
    score: Callable[[npt.ArrayLike, npt.ArrayLike], float]


METRICS = {"dice": Metric("Dice", dice), "iou": Metric("IoU", iou)}
"""The metrics of tasks by name."""


def _overlap(metric: str, prediction: npt.ArrayLike, truth: npt.ArrayLike) -> tuple[int, int]:
    """Return the pixels that two masks share, and the sum of their pixels."""
    a, b = _as_mask(metric, prediction, "prediction"), _as_mask(metric, truth, "truth")
    if a.shape != b.shape:
        raise InvalidInputError(
            f"{metric}: prediction is {a.shape}, truth is {b.shape}. Pass two masks of one shape."
        )
    return int(np.count_nonzero(a & b)), int(np.count_nonzero(a)) + int(np.count_nonzero(b))


def _as_mask(metric: str, values: npt.ArrayLike, what: str) -> Mask:
    array = np.asarray(values)
    if array.dtype == np.bool_:
        return array
    if not np.isin(array, (0, 1)).all():
        raise InvalidInputError(
            f"{metric}: {what} must be a mask of bool or 0/1, got {array.dtype} with values "
            f"{array.min()}..{array.max()}. Pass binarize(probability) or mask > 0."
        )
    return np.asarray(array != 0)
