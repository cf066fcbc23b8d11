"""Data sets of a user's own: sequences and torch data sets of samples or (image, mask) pairs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.data.sequence import LazySamples
from dmic_gym.types import Image, Mask


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
        item: a `Sample`, or (image, mask) or (image, mask, name): image uint8, mask bool or 0 and
            1 or 0 and 255 or None; each (H, W) or (1, H, W), of numpy, torch or Pillow.
        index: its place in the data set, which names it where nothing else does.

    Raises:
        InvalidInputError: it is none of these; the message says what to write.
    """
    if isinstance(item, Sample):
        return item
    if not isinstance(item, list | tuple) or len(item) not in (2, 3):
        raise InvalidInputError(
            f"Item {index} of the data set is {_shown(item)}, neither Sample nor (image, mask). "
            "Write Sample(image, mask, name)."
        )
    name = str(item[2]) if len(item) == 3 else f"sample-{index:04d}"
    mask = None if item[1] is None else _mask(item[1], name)
    return Sample(_image(item[0], name), mask, name)


def _image(value: object, name: str) -> Image:
    array = _plane(value, f"The image of {name!r}")
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind == "f":
        hint = "For floats 0..1 write (255 * image).round().astype('uint8')"
    else:
        hint = "Choose a grey-level window and write .astype('uint8')"
    raise InvalidInputError(
        f"The image of {name!r} is {array.dtype} with values {array.min()}..{array.max()}, "
        f"expected uint8 grey levels 0..255. {hint}."
    )


def _mask(value: object, name: str) -> Mask:
    array = _plane(value, f"The mask of {name!r}")
    found = set(np.unique(array).tolist())
    if not (found <= {0, 1} or found <= {0, 255}):
        raise InvalidInputError(
            f"The mask of {name!r} is {array.dtype} with values {array.min()}..{array.max()}, "
            "expected bool, or 0 and 1, or 0 and 255. Write mask > 0.5 for probabilities, or "
            "mask == LABEL for labels."
        )
    return np.asarray(array != 0)


def _plane(value: object, what: str) -> npt.NDArray[Any]:
    """Return numbers as an array (H, W); a leading axis of length 1 is dropped."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidInputError(
            f"{what} is {_shown(value)}, expected an array (H, W). A torch tensor on another "
            f"device or with gradients: .detach().cpu() first. ({error})"
        ) from error
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if array.dtype.kind not in "buif" or array.ndim != 2 or array.size == 0:
        hint = " Convert colour to grey first." if array.ndim == 3 and 3 in array.shape else ""
        raise InvalidInputError(
            f"{what} is {_shown(value)} of shape {array.shape}, expected numbers (H, W).{hint}"
        )
    return array


def _shown(value: object) -> str:
    return f"a {type(value).__name__}"
