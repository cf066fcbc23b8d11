"""What a diagnosis network has to offer, and the check of what it returns."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.data.clip import Clip
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.types import Images, Probabilities

__all__ = [
    "Images",
    "PerClipSegmenter",
    "PerSampleSegmenter",
    "Probabilities",
    "Segmenter",
    "SegmenterSpec",
    "check_images",
    "check_probabilities",
    "segmenter_for",
    "segmenter_for_clip",
]

_ROUNDING = 1e-5


@runtime_checkable
class Segmenter(Protocol):
    """Any callable that maps a batch of images to a batch of vessel probabilities."""

    def __call__(self, images: Images, /) -> Probabilities:
        """Segment a batch.

        Args:
            images: uint8 array (N, H, W), grey, 0..255.

        Returns:
            float32 array (N, H, W), probability of the structure at each pixel, 0..1.
        """
        ...


class PerSampleSegmenter(ABC):
    """Several segmenters, of which each image has one, such as that which has not seen it."""

    in_parallel = True
    """Images come one by one: two may have two segmenters."""

    @abstractmethod
    def for_sample(self, sample: Sample) -> Segmenter:
        """Return the segmenter of an image."""

    @abstractmethod
    def describe(self) -> dict[str, str]:
        """Return what identifies it in records; see `describe_segmenter`."""

    def __call__(self, images: Images, /) -> Probabilities:
        """Raise InvalidInputError: which segmenter an image has depends on its name."""
        raise InvalidInputError(
            f"{self!r} has a segmenter for each sample: call for_sample(sample), or pass one of "
            "its segmenters."
        )


def segmenter_for(segmenter: Segmenter, sample: Sample) -> Segmenter:
    """Return the segmenter itself or, of a `PerSampleSegmenter`, the one for the sample."""
    return segmenter.for_sample(sample) if isinstance(segmenter, PerSampleSegmenter) else segmenter


class PerClipSegmenter(ABC):
    """Several segmenters, of which each clip has one, such as that which knows its first mask."""

    @abstractmethod
    def for_clip(self, clip: Clip) -> Segmenter:
        """Return the segmenter of a clip's frames."""

    @abstractmethod
    def describe(self) -> dict[str, str]:
        """Return what identifies it in records; see `describe_segmenter`."""

    def __call__(self, images: Images, /) -> Probabilities:
        """Raise InvalidInputError: which segmenter frames have depends on their clip."""
        raise InvalidInputError(f"{self!r} has a segmenter for each clip: call for_clip(clip).")


def segmenter_for_clip(segmenter: Segmenter, clip: Clip) -> Segmenter:
    """Return the segmenter itself or, of a `PerClipSegmenter`, the one for the clip."""
    return segmenter.for_clip(clip) if isinstance(segmenter, PerClipSegmenter) else segmenter


SegmenterSpec: TypeAlias = Segmenter | str | os.PathLike[str] | None
"""What `dmic_gym.load_segmenter` takes."""


def check_images(images: npt.NDArray[Any]) -> Images:
    """Return the batch if it is uint8 (N, H, W) with at least one pixel an image.

    Raises:
        InvalidInputError: another type or shape.
    """
    array = np.asarray(images)
    if array.dtype != np.uint8 or array.ndim != 3 or 0 in array.shape[1:]:
        hint = " Pass image[np.newaxis] for a single image." if array.ndim == 2 else ""
        raise InvalidInputError(
            f"A segmenter takes a uint8 array (N, H, W), got {array.dtype} {array.shape}.{hint}"
        )
    return array


def check_probabilities(output: Any, images: Images) -> Probabilities:
    """Check what a segmenter returned for ``images`` and return it as a float32 array.

    Args:
        output: what the segmenter returned.
        images: uint8 array (N, H, W), what it was given.

    Returns:
        float32 array (N, H, W), 0..1; values up to 1e-5 outside, such as a product of rounded
        numbers has, are clipped.

    Raises:
        InvalidInputError: output is no float array of that shape, or leaves 0..1, or has NaN.
    """
    array = np.asarray(output)
    if array.dtype.kind != "f" and array.dtype != np.bool_:
        raise InvalidInputError(
            f"The segmenter returned {array.dtype}, expected float32 probabilities 0..1. "
            "Return probabilities, not labels or logits."
        )
    if array.shape != images.shape:
        raise InvalidInputError(
            f"The segmenter returned shape {array.shape} for images {images.shape}. "
            f"Return one probability per pixel: {images.shape}."
        )
    low, high = (array.min(), array.max()) if array.size else (0.0, 0.0)
    if not (low >= -_ROUNDING and high <= 1.0 + _ROUNDING):
        raise InvalidInputError(
            f"The segmenter returned values {low}..{high}, expected 0..1. "
            "Apply a sigmoid to logits, and look for NaN."
        )
    probabilities = array.astype(np.float32, copy=False)
    return probabilities if low >= 0.0 and high <= 1.0 else probabilities.clip(0.0, 1.0)
