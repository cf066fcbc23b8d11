"""Data sets by name, by folder or as they are."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dmic_gym.errors import InvalidInputError, unknown_name
from dmic_gym.tasks.data.arcade import Arcade
from dmic_gym.tasks.data.davis import Davis, is_davis
from dmic_gym.tasks.data.dca1 import DCA1
from dmic_gym.tasks.data.folder import ImageFolder
from dmic_gym.tasks.data.phantoms.dataset import Phantoms
from dmic_gym.tasks.data.sample import Sample


def _dca1_test(
    root: str | os.PathLike[str] | None = None, download: bool = False
) -> Sequence[Sample]:
    return DCA1(root, "test", download)


def _arcade_val(root: str | os.PathLike[str] | None = None) -> Sequence[Sample]:
    return Arcade(root, "val")


DATASETS: dict[str, Callable[..., Sequence[Sample]]] = {
    "arcade": Arcade,
    "arcade-val": _arcade_val,
    "davis": Davis,
    "dca1": DCA1,
    "dca1-test": _dca1_test,
    "phantoms": Phantoms,
}


def load_dataset(
    spec: str | os.PathLike[str] | Sequence[Sample], **options: Any
) -> Sequence[Sample]:
    """Make a data set from what a user would type.

    Args:
        spec: one of

            - a name: `"phantoms"`, `"arcade"` or `"dca1"` (the training split unless `split` says
              otherwise), `"arcade-val"`, `"dca1-test"`, or `"davis"` (needs `root`);
            - the path of a folder: with JPEGImages/ and Annotations/ in it (see :class:`Davis`)
              or with images (see :class:`ImageFolder`). A folder that bears a data set's name is
              reached as `"./phantoms"`;
            - a sequence of samples, which is returned as it is.
        **options: arguments of the data set named, such as `count`, `size` and `seed` of
            :class:`Phantoms`, or for a DAVIS folder `sequences` and `size`.

    Raises:
        InvalidInputError: `spec` is none of these, or an option does not belong to it or lacks.
        DataError: the folder is missing or has no images.
    """
    if isinstance(spec, str) and spec in DATASETS:
        return _named(spec, options)
    if isinstance(spec, str | os.PathLike):
        return _folder(spec, options)
    if isinstance(spec, Sequence) and not isinstance(spec, str | bytes | bytearray | memoryview):
        _check_options("a sequence of samples", options, ())
        return _checked(spec)
    hint = " Wrap it in a list: [sample]." if isinstance(spec, Sample) else ""
    raise InvalidInputError(
        f"A data set is a name ({', '.join(sorted(DATASETS))}), a folder's path or a sequence of "
        f"Sample, got {type(spec).__name__}.{hint}"
    )


def _named(name: str, options: dict[str, Any]) -> Sequence[Sample]:
    parameters = inspect.signature(DATASETS[name]).parameters
    _check_options(f"data set {name!r}", options, parameters)
    for needed, parameter in parameters.items():
        if parameter.default is parameter.empty and needed not in options:
            raise InvalidInputError(
                f"Data set {name!r} needs {needed}=; or pass the path of its folder instead of "
                f"the name, such as './{name}'."
            )
    return DATASETS[name](**options)


def _folder(spec: str | os.PathLike[str], options: dict[str, Any]) -> Sequence[Sample]:
    text = os.fspath(spec)
    if not text:
        raise unknown_name("data set", text, DATASETS)
    bare = Path(text).name == text and not Path(text).exists()
    if bare and difflib.get_close_matches(text.lower(), DATASETS, n=1, cutoff=0.6):
        raise unknown_name("data set or folder", text, DATASETS)
    if is_davis(Path(text)):
        _check_options(f"DAVIS folder {text!r}", options, ("sequences", "size"))
        return Davis(text, **options)
    _check_options(f"folder {text!r}", options, ())
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
