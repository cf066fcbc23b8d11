"""Data sets by name, by folder or as they are."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dmic_gym.data.folder import ImageFolder
from dmic_gym.data.phantoms import Phantoms
from dmic_gym.data.sample import Sample
from dmic_gym.errors import InvalidInputError, unknown_name

DATASETS: dict[str, Callable[..., Sequence[Sample]]] = {"phantoms": Phantoms}


def load_dataset(
    spec: str | os.PathLike[str] | Sequence[Sample], **options: Any
) -> Sequence[Sample]:
    """Make a data set from what a user would type.

    Args:
        spec: a name (`"phantoms"`), the path of a folder of images (see :class:`ImageFolder`; a
            folder that bears a data set's name is reached as `"./phantoms"`), or a sequence of
            samples, which is returned as it is.
        **options: arguments of the data set named, such as `count`, `size` and `seed` of
            :class:`Phantoms`.

    Raises:
        InvalidInputError: `spec` is none of these, or an option does not belong to it.
        DataError: the folder is missing or has no images.
    """
    if isinstance(spec, str) and spec in DATASETS:
        _check_options(f"data set {spec!r}", options, inspect.signature(DATASETS[spec]).parameters)
        return DATASETS[spec](**options)
    if isinstance(spec, str | os.PathLike):
        _check_options(f"folder {os.fspath(spec)!r}", options, ())
        return _folder(spec)
    if isinstance(spec, Sequence) and not isinstance(spec, str | bytes | bytearray | memoryview):
        _check_options("a sequence of samples", options, ())
        return _checked(spec)
    hint = " Wrap it in a list: [sample]." if isinstance(spec, Sample) else ""
    raise InvalidInputError(
        f"A data set is a name ({', '.join(sorted(DATASETS))}), a folder's path or a sequence of "
        f"Sample, got {type(spec).__name__}.{hint}"
    )


def _folder(spec: str | os.PathLike[str]) -> ImageFolder:
    text = os.fspath(spec)
    if not text:
        raise unknown_name("data set", text, DATASETS)
    bare = Path(text).name == text and not Path(text).exists()
    if bare and difflib.get_close_matches(text.lower(), DATASETS, n=1, cutoff=0.6):
        raise unknown_name("data set or folder", text, DATASETS)
    return ImageFolder(text)


def _checked(spec: Sequence[Sample]) -> Sequence[Sample]:
    """Check the items of a list or tuple; a lazy sequence is taken at its word."""
    items = spec if isinstance(spec, list | tuple) else ()
    for i, item in enumerate(items):
        if not isinstance(item, Sample):
            raise InvalidInputError(
                f"Item {i} of the data set is {type(item).__name__}, not Sample; "
                f"write Sample(image, mask, name)."
            )
    return spec


def _check_options(what: str, options: dict[str, Any], known: Any) -> None:
    for name in options:
        if name not in known:
            if not known:
                raise InvalidInputError(f"{what} takes no options, got {name!r}; leave it out.")
            raise unknown_name(f"option of {what}", name, known)
