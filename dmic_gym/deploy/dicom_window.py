"""From stored DICOM values to grey: modality LUT, window or VOI LUT, polarity, as one table."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from dmic_gym.errors import DataError, InvalidInputError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Window = tuple[float, float] | Literal["auto"]
Table = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
_WHITE = 255


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


def plain_table(bits: int, inverted: bool) -> Table:
    """Return stored values as they are, or counted from the top where `inverted`."""
    values = np.arange(1 << bits)[:: -1 if inverted else 1]
    return values.astype(np.uint8) if bits <= 8 else values.astype(np.uint16)


def windowed_table(
    dataset: Dataset, bits: int, signed: bool, inverted: bool, window: Window, path: Path
) -> npt.NDArray[np.uint8]:
    """Return the 8-bit grey of each stored bit pattern, uint8 (2**bits,).

    Raises:
        DataError: "auto", and the file has neither window nor VOI LUT.
        InvalidInputError: the window is none.
    """
    from pydicom.pixels.processing import apply_modality_lut

    stored = np.arange(1 << bits)
    if signed:
        stored = np.where(stored >> (bits - 1), stored - (1 << bits), stored)
    values = np.asarray(apply_modality_lut(stored, dataset))
    if checked_window(window) != "auto":
        grey = _linear(values, _voi(*window))
    elif "WindowCenter" in dataset and "WindowWidth" in dataset:
        grey = _linear(values, _own_voi(dataset))
    elif "VOILUTSequence" in dataset:
        grey = _looked_up(values, dataset)
    else:
        raise DataError(
            f"{path}: has no window of its own. Give one: window=(centre, width), on the command "
            "line --window CENTRE,WIDTH."
        )
    if not np.isfinite(grey).all():
        raise DataError(f"{path}: its rescale or window values are no numbers.")
    table = np.rint(np.clip(grey, 0, _WHITE)).astype(np.uint8)
    return np.asarray(_WHITE - table if inverted else table, np.uint8)


def _linear(values: npt.NDArray[Any], voi: Dataset) -> npt.NDArray[Any]:
    from pydicom.pixels.processing import apply_windowing

    return np.asarray(apply_windowing(values, voi))


def _looked_up(values: npt.NDArray[Any], dataset: Dataset) -> npt.NDArray[Any]:
    from pydicom.pixels.processing import apply_voi

    bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
    looked_up = np.asarray(apply_voi(values.astype(np.int64), dataset), np.float64)
    return looked_up * _WHITE / ((1 << bits) - 1)


def _voi(centre: object, width: object, function: object = "LINEAR") -> Dataset:
    """Return what pydicom needs to know to window to 0..255."""
    from pydicom.dataset import Dataset

    voi = Dataset()
    voi.PhotometricInterpretation, voi.PixelRepresentation = "MONOCHROME2", 0
    voi.BitsStored = 8
    voi.WindowCenter, voi.WindowWidth, voi.VOILUTFunction = centre, width, function
    return voi


def _own_voi(dataset: Dataset) -> Dataset:
    function = dataset.get("VOILUTFunction") or "LINEAR"
    return _voi(dataset.WindowCenter, dataset.WindowWidth, function)
