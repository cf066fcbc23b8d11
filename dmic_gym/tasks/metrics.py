"""Overlap between two masks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dmic_gym.errors import InvalidInputError

Mask = npt.NDArray[np.bool_]


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
    a, b = _as_mask(prediction, "prediction"), _as_mask(truth, "truth")
    if a.shape != b.shape:
        raise InvalidInputError(
            f"dice: prediction is {a.shape}, truth is {b.shape}. Pass two masks of one shape."
        )
    total = int(np.count_nonzero(a)) + int(np.count_nonzero(b))
    return 2.0 * int(np.count_nonzero(a & b)) / total if total else 1.0


def _as_mask(values: npt.ArrayLike, what: str) -> Mask:
    array = np.asarray(values)
    if array.dtype == np.bool_:
        return array
    if not np.isin(array, (0, 1)).all():
        raise InvalidInputError(
            f"dice: {what} must be a mask of bool or 0/1, got {array.dtype} with values "
            f"{array.min()}..{array.max()}. Pass binarize(probability) or mask > 0."
        )
    return np.asarray(array != 0)
