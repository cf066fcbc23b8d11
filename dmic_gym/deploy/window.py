"""Grey-level windows: as they are typed, and linear ones applied to samples."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dmic_gym.errors import InvalidInputError

Window = tuple[float, float] | Literal["auto"]
"""Centre and width, or the file's own."""

WHITE = 255


def parse_window(text: str) -> Window:
    """Read a window as it is typed: ``auto``, or centre and width as in ``2048,4096``.

    Raises:
        InvalidInputError: it is neither.
    """
    if text.strip() == "auto":
        return "auto"
    try:
        centre, width = (float(word) for word in text.split(","))
    except ValueError:
        raise InvalidInputError(
            f"window {text!r} is neither auto nor CENTRE,WIDTH, as in 2048,4096."
        ) from None
    return checked_window((centre, width))


def checked_window(window: Window) -> Window:
    """Return the window; raise InvalidInputError unless it is finite and at least 1 wide."""
    if window == "auto":
        return window
    centre, width = window
    if not (math.isfinite(centre) and math.isfinite(width) and width >= 1):
        raise InvalidInputError(
            f"window {centre:g},{width:g}: the centre must be a number and the width at least 1."
        )
    return window


def linear_window(values: npt.NDArray[Any], centre: float, width: float) -> npt.NDArray[np.float64]:
    """Return values of a linear window as 0..255, not rounded (DICOM PS3.3 C.11.2.1.2.1)."""
    distance = np.asarray(values, np.float64) - (centre - 0.5)
    if width == 1:
        return np.where(distance > 0, float(WHITE), 0.0)
    return np.clip(distance / (width - 1) + 0.5, 0, 1) * WHITE


def rounded(grey: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Return grey of 0..255 in 8 bits."""
    return np.rint(np.clip(grey, 0, WHITE)).astype(np.uint8)
