"""One image with its expert mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from dmic_gym.errors import InvalidInputError
from dmic_gym.types import Image, Mask


@dataclass(frozen=True, eq=False)
class Sample:
    """An image to be coded and, where an expert drew one, the mask of what matters in it.

    Immutable: image and mask are copies that cannot be written to, so that a buffer may be used
    again, and copies of a sample, deep ones too, are the sample itself.

    Attributes:
        image: uint8 array (H, W), grey, 0..255.
        mask: bool array (H, W), True on the structure (vessel), or None where there is no mask.
            Numbers are taken that are binary: 0 and 1, or 0 and 255 with lossy noise (True above
            127).
        name: a name for tables and messages, unique within its data set.

    Raises:
        InvalidInputError: image is not uint8 (H, W), the mask is not binary, or its shape differs
            from the image's. The message says what to write.
    """

    image: Image
    mask: Mask | None = None
    name: str = "sample"

    def __post_init__(self) -> None:
        image = self._array("image", self.image)
        if image.dtype != np.uint8 or image.ndim != 2 or image.size == 0:
            raise InvalidInputError(
                f"Sample {self.name!r}: image must be a non-empty uint8 array (H, W), "
                f"got {image.dtype} {image.shape}.{_advice(image)}"
            )
        object.__setattr__(self, "image", read_only(image))
        if self.mask is not None:
            mask = self._array("mask", self.mask)
            if mask.shape != image.shape:
                raise InvalidInputError(
                    f"Sample {self.name!r}: mask is {mask.shape}, but the image is {image.shape}."
                )
            object.__setattr__(self, "mask", read_only(self._binary(mask)))

    def _array(self, what: str, value: Any) -> npt.NDArray[Any]:
        array = np.asarray(value)
        if array.dtype.kind not in "buif":
            raise InvalidInputError(
                f"Sample {self.name!r}: {what} must be an array, got {type(value).__name__}. "
                "Read files first, for instance with dmic_gym.load_dataset(folder)."
            )
        return array

    def _binary(self, mask: npt.NDArray[Any]) -> Mask:
        if mask.dtype == np.bool_:
            return mask
        top = mask.max()
        if mask.dtype.kind in "ui" and mask.min() >= 0 and 127 < top <= 255:
            return np.asarray(mask > 127, np.bool_)
        if np.isin(mask, (0, 1)).all():
            return np.asarray(mask == 1, np.bool_)
        raise InvalidInputError(
            f"Sample {self.name!r}: mask holds {mask.dtype} values {mask.min()}..{top}; a mask "
            "holds 0 and 1, or 0 and 255. Write mask > threshold with a threshold of your choice."
        )

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.image, self.mask, self.name)


def read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a contiguous copy that cannot be written to."""
    copied = np.array(array, order="C")
    copied.setflags(write=False)
    return copied


def _advice(image: npt.NDArray[Any]) -> str:
    """Say how to make an image of what was passed."""
    if image.ndim == 3 and 1 in (image.shape[0], image.shape[-1]):
        return " Write image.squeeze() for one channel."
    if image.ndim == 3 and image.shape[-1] in (3, 4) and image.dtype == np.uint8:
        return " For RGB write cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)."
    if image.ndim == 2 and image.dtype.kind == "f":
        return " For 0..1 write (image * 255).round().astype(np.uint8)."
    if image.ndim == 2 and image.dtype == np.uint16:
        return " For 16 bits write (image >> 8).astype(np.uint8), or choose a grey-level window."
    if image.ndim == 2 and image.size:
        return " For 0..255 write image.astype(np.uint8)."
    return ""
