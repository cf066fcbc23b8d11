"""Data sets of a user's own: sequences and torch data sets of samples or (image, mask) pairs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.data.sequence import LazySamples


class MapStyle(Protocol):
    """Anything with a length and items by index, such as a torch ``Dataset`` or ``Subset``."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any: ...


DataSpec: TypeAlias = str | os.PathLike[str] | MapStyle
"""What `dmic_gym.load_dataset` takes."""


def as_samples(data: object) -> Sequence[Sample] | None:
    """Return the samples of a sequence or map-style data set; None where `data` is neither.

    A list or tuple of samples, and any lazy sequence of ours, is returned as it is.

    Raises:
        InvalidInputError: an item of a list or tuple is neither a sample nor (image, mask).
    """
    if isinstance(data, LazySamples):
        return data
    is_text = isinstance(data, str | bytes | bytearray | memoryview | np.ndarray | dict)
    if is_text or not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        return None
    if isinstance(data, list | tuple):
        if all(isinstance(item, Sample) for item in data):
            return data
        return [as_sample(item, n) for n, item in enumerate(data)]
    return MapStyleSamples(data)


class MapStyleSamples(LazySamples):
    """The samples of a torch ``Dataset`` or another lazy sequence, made when asked for.

    Args:
        data: with ``len(data)`` items ``data[0]`` ..; see `as_sample` for the items. They may
            change with each access, as augmentation does.
    """

    lasting = False

    def __init__(self, data: MapStyle) -> None:
        self.data = data

    def __repr__(self) -> str:
        return f"MapStyleSamples({self.data!r})"

    def __len__(self) -> int:
        return len(self.data)

    def _content(self) -> str:
        return f"items of {type(self.data).__name__}"

    def _read(self, index: int) -> Sample:
        return as_sample(self.data[index], index)


def as_sample(item: object, index: int) -> Sample:
    """Return an item of a data set as a sample.

    Args:
        item: a `Sample`, or (image, mask) or (image, mask, name) of what `Sample` takes, of numpy,
            torch or Pillow; (1, H, W) becomes (H, W).
        index: its place in the data set, which names it where nothing else does.

    Raises:
        InvalidInputError: it is none of these; the message says what to write.
    """
    if isinstance(item, Sample):
        return item
    if not isinstance(item, list | tuple) or len(item) not in (2, 3):
        raise InvalidInputError(
            f"Item {index} of the data set is {type(item).__name__}, neither Sample nor (image, "
            "mask). Write Sample(image, mask, name)."
        )
    name = str(item[2]) if len(item) == 3 else f"sample-{index:04d}"
    return Sample(_plane(item[0], name), None if item[1] is None else _plane(item[1], name), name)


def _plane(value: Any, name: str) -> Any:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidInputError(
            f"Sample {name!r} holds {type(value).__name__}, which numpy cannot read ({error}). "
            "Write .detach().cpu() for a tensor with gradients or on another device."
        ) from error
    if array.dtype.kind not in "buif":
        return value
    return array[0] if array.ndim == 3 and len(array) == 1 else array
