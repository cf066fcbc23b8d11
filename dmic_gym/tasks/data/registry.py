"""The one parser of "which data": a name, a folder, or samples as they are."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from dmic_gym.errors import InvalidInputError, unknown_name
from dmic_gym.io import expanded
from dmic_gym.tasks.data.angiograms import angiograms
from dmic_gym.tasks.data.arcade import Arcade
from dmic_gym.tasks.data.davis import Davis, is_davis
from dmic_gym.tasks.data.dca1 import DCA1
from dmic_gym.tasks.data.folder import ImageFolder
from dmic_gym.tasks.data.pairs import DataSpec, as_samples
from dmic_gym.tasks.data.phantoms.dataset import Phantoms
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.data.sequence import LazySamples, Selection

DATASETS: Mapping[str, Callable[..., Sequence[Sample]]] = {
    "angiograms": angiograms,
    "arcade": Arcade,
    "davis": Davis,
    "dca1": DCA1,
    "phantoms": Phantoms,
}


def load_dataset(spec: DataSpec, **options: Any) -> Sequence[Sample]:
    """Make a data set from what a user would type.

    Args:
        spec: one of

            - a name (`DATASETS`), such as ``"phantoms"``;
            - the path of a folder: with JPEGImages/ and Annotations/ in it (see :class:`Davis`)
              or with images (see :class:`ImageFolder`). A folder that bears a data set's name is
              reached as ``"./phantoms"``;
            - either of them with options behind a question mark, as in
              ``"phantoms?count=6&size=128"`` or ``"$DMIC_DATA/davis2016?size=240"``. Values with
              commas are several. ``select=START:STOP:STEP`` takes a slice of any data set.
              Environment variables are expanded;
            - a sequence of :class:`Sample` or of (image, mask) pairs, or a map-style torch
              ``Dataset`` of such items; see `as_samples`.
        **options: the same options as keyword arguments.

    Raises:
        InvalidInputError: `spec` is none of these, an option does not belong to it or lacks, a
            variable is not set, or `select` takes nothing.
        DataError: the folder is missing or has no images.
    """
    if isinstance(spec, str):
        spec, options = _parsed(spec, options)
    take = options.pop("select", None)
    samples = _load(spec, options)
    return samples if take is None else _selected(samples, take, spec)


def _load(spec: DataSpec, options: dict[str, Any]) -> Sequence[Sample]:
    if isinstance(spec, str) and spec in DATASETS:
        return _named(spec, options)
    if isinstance(spec, str | os.PathLike):
        return _folder(os.fspath(spec), options)
    if (samples := as_samples(spec)) is not None:
        _check_options("a data set that is an object", options, ())
        return samples
    hint = " Wrap it in a list: [sample]." if isinstance(spec, Sample) else ""
    raise InvalidInputError(
        f"A data set is a name ({', '.join(sorted(DATASETS))}), a folder's path, or a sequence of "
        f"Sample or (image, mask), got {type(spec).__name__}.{hint}"
    )


def _parsed(spec: str, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Split ``name?option=value``; a folder whose own name holds the question mark stays whole."""
    name, mark, query = spec.partition("?")
    if not mark or Path(os.path.expandvars(spec)).is_dir():
        return expanded(spec), options
    try:
        pairs = parse_qsl(query, strict_parsing=True)
    except ValueError as error:
        raise InvalidInputError(
            f"{spec!r}: behind the question mark write option=value, with & between several, as in "
            "phantoms?count=6&size=128."
        ) from error
    return expanded(name), {key: _value(text) for key, text in pairs} | options


def _value(text: str) -> Any:
    if "," in text:
        return tuple(_value(part) for part in text.split(","))
    words = {"true": True, "false": False}
    return int(text) if text.isdecimal() else words.get(text.lower(), text)


def _selected(samples: Sequence[Sample], take: Any, spec: object) -> Sequence[Sample]:
    try:
        bounds = slice(*(int(part) if part else None for part in take.split(":")))
        places = range(*bounds.indices(len(samples)))
    except (AttributeError, TypeError, ValueError) as error:
        raise InvalidInputError(
            f"select={take!r} must be START:STOP:STEP, as in select=0::4 for every fourth."
        ) from error
    if not places:
        raise InvalidInputError(
            f"select={take!r} takes none of the {len(samples)} images of {spec}. All: leave it out."
        )
    if isinstance(samples, LazySamples):
        return Selection(samples, places)
    return [samples[place] for place in places]


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


def _folder(text: str, options: dict[str, Any]) -> Sequence[Sample]:
    if not text:
        raise unknown_name("data set", text, DATASETS)
    bare = Path(text).name == text and not Path(text).exists()
    if bare and difflib.get_close_matches(text.lower(), DATASETS, n=1, cutoff=0.6):
        raise unknown_name("data set or folder", text, DATASETS)
    if is_davis(Path(text)):
        _check_options(f"DAVIS folder {text!r}", options, ("sequences", "size", "select"))
        return Davis(text, **options)
    _check_options(f"folder {text!r}", options, ("select",))
    return ImageFolder(text)


def _check_options(what: str, options: dict[str, Any], known: Any) -> None:
    for name in options:
        if name not in known:
            if tuple(known) in ((), ("select",)):
                raise InvalidInputError(
                    f"{what} takes no options but select, got {name!r}; leave it out."
                )
            raise unknown_name(f"option of {what}", name, known)
