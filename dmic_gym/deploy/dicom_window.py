"""From stored DICOM values to grey: modality LUT, window or VOI LUT, polarity, as one table."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dmic_gym.deploy.dicom_file import named, number
from dmic_gym.deploy.window import WHITE, Window, checked_window, linear_window, rounded
from dmic_gym.errors import DataError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_RESCALE = ("RescaleSlope", "RescaleIntercept")
_WINDOW = ("WindowCenter", "WindowWidth")
_WAY_OUT = "Give a window: (centre, width), on the command line --window CENTRE,WIDTH."

Table = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


def plain_table(bits: int, inverted: bool) -> Table:
    """Return stored values as they are, or counted from the top where `inverted`."""
    values = np.arange(1 << bits)[:: -1 if inverted else 1]
    return values.astype(np.uint8) if bits <= 8 else values.astype(np.uint16)


def windowed_table(
    dataset: Dataset, bits: int, signed: bool, inverted: bool, window: Window
) -> npt.NDArray[np.uint8]:
    """Return the 8-bit grey of each stored bit pattern, uint8 (2**bits,).

    Raises:
        DataError: "auto", and the file has neither window nor VOI LUT.
        InvalidInputError: the window is none.
    """
    from pydicom.pixels.processing import apply_modality_lut, apply_windowing

    stored = np.arange(1 << bits)
    if signed:
        stored = np.where(stored >> (bits - 1), stored - (1 << bits), stored)
    for keyword in _RESCALE:
        if keyword in dataset:
            number(dataset, keyword)
    values = np.asarray(apply_modality_lut(stored, dataset))
    if (chosen := checked_window(window)) != "auto":
        grey = linear_window(values, *chosen)
    elif _has_window(dataset):
        _check_window(dataset)
        grey = np.asarray(apply_windowing(values, _own_voi(dataset)))
    elif dataset.get("VOILUTSequence"):
        grey = _looked_up(values, dataset)
    else:
        raise DataError(f"has no window of its own, WindowCenter and WindowWidth. {_WAY_OUT}")
    if not np.isfinite(grey).all():
        raise DataError("its rescale or window values are no numbers.")
    table = rounded(grey)
    return np.asarray(WHITE - table if inverted else table, np.uint8)


def _has_window(dataset: Dataset) -> bool:
    return all(dataset.get(keyword) not in (None, "") for keyword in _WINDOW)


def _check_window(dataset: Dataset) -> None:
    """Raise DataError where pydicom would fail without a reason."""
    exact = dataset.get("VOILUTFunction") in ("LINEAR_EXACT", "SIGMOID")
    number(dataset, "WindowCenter")
    width = number(dataset, "WindowWidth")
    if not width >= (sys.float_info.min if exact else 1):
        raise DataError(f"{named('WindowWidth')} is {width:g}. {_WAY_OUT}")


def _looked_up(values: npt.NDArray[Any], dataset: Dataset) -> npt.NDArray[Any]:
    from pydicom.pixels.processing import apply_voi

    bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
    looked_up = np.asarray(apply_voi(values.astype(np.int64), dataset), np.float64)
    return looked_up * WHITE / ((1 << bits) - 1)


def _own_voi(dataset: Dataset) -> Dataset:
    """Return what pydicom needs to know to apply the file's window and give 0..255."""
    from pydicom.dataset import Dataset

    voi = Dataset()
    voi.PhotometricInterpretation, voi.PixelRepresentation = "MONOCHROME2", 0
    voi.BitsStored = 8
    voi.WindowCenter, voi.WindowWidth = dataset.WindowCenter, dataset.WindowWidth
    voi.VOILUTFunction = dataset.get("VOILUTFunction") or "LINEAR"
    return voi
