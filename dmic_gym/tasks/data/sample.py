"""One image with its expert mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dmic_gym.errors import InvalidInputError


@dataclass(frozen=True, eq=False)
class Sample:
    """An image to be coded and, where an expert drew one, the mask of what matters in it.

    Attributes:
        image: uint8 array (H, W), grey, 0..255.
        mask: bool array (H, W), True on the structure (vessel), or None where there is no mask.
        name: a name for tables and messages, unique within its data set.

    Raises:
        InvalidInputError: image is not uint8 (H, W), or the mask's shape differs from it.
    """

    image: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.bool_] | None = None
    name: str = "sample"

    def __post_init__(self) -> None:
        image = np.asarray(self.image)
        if image.dtype != np.uint8 or image.ndim != 2 or image.size == 0:
            raise InvalidInputError(
                f"Sample {self.name!r}: image must be a non-empty uint8 array (H, W), "
                f"got {image.dtype} {image.shape}."
            )
        object.__setattr__(self, "image", np.ascontiguousarray(image))
        if self.mask is not None:
            object.__setattr__(self, "mask", self._checked_mask(np.asarray(self.mask)))

    def _checked_mask(self, mask: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        if mask.shape != self.image.shape:
            raise InvalidInputError(
                f"Sample {self.name!r}: mask is {mask.shape}, but the image is {self.image.shape}."
            )
        return np.ascontiguousarray(mask if mask.dtype == np.bool_ else mask > 0)
