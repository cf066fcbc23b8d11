"""The one parser of "which data": a name, a folder, or samples as they are."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dmic_gym.errors import InvalidInputError, unknown_name
from dmic_gym.tasks.data.angiograms import angiograms
from dmic_gym.tasks.data.arcade import Arcade
from dmic_gym.tasks.data.clips.registry import is_clips
from dmic_gym.tasks.data.davis import Davis, is_davis
from dmic_gym.tasks.data.dca1 import DCA1
from dmic_gym.tasks.data.folder import ImageFolder
from dmic_gym.tasks.data.pairs import DataSpec, as_samples
from dmic_gym.tasks.data.phantoms.dataset import Phantoms
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.data.spec import check_options, named, parsed, selected

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
            - the path of a folder: with JPEGImages/ and Annotations/ in it (see `Davis`)
              or with images (see `ImageFolder`). A folder that bears a data set's name is
              reached as ``"./phantoms"``;
            - either of them with options behind a question mark, as in
              ``"phantoms?count=6&size=128"`` or ``"$DMIC_DATA/davis2016?size=240"``. Values with
              commas are several. ``select=START:STOP:STEP`` takes a slice of any data set.
              Environment variables are expanded;
            - a sequence of `Sample` or of (image, mask) pairs, or a map-style torch
              ``Dataset`` of such items; see `as_samples`.
        **options: the same options as keyword arguments.

    Raises:
        InvalidInputError: `spec` is none of these or holds clips (see `load_clips`), an option
            does not belong to it or lacks, a variable is not set, or `select` takes nothing.
        DataError: the folder is missing or has no images.
    """
    if isinstance(spec, str):
        spec, options = parsed(spec, options)
    take = options.pop("select", None)
    samples = _load(spec, options)
    return samples if take is None else selected(samples, take, spec)


def _load(spec: DataSpec, options: dict[str, Any]) -> Sequence[Sample]:
    if is_clips(spec):
        what = repr(os.fspath(spec)) if isinstance(spec, str | os.PathLike) else type(spec).__name__
        raise InvalidInputError(
            f"{what} holds clips, not images: read them with dmic_gym.load_clips, and code them "
            "in VideoCodingEnv-v0."
        )
    if isinstance(spec, str) and spec in DATASETS:
        return named(DATASETS, spec, options)
    if isinstance(spec, str | os.PathLike):
        return _folder(os.fspath(spec), options)
    if (samples := as_samples(spec)) is not None:
        check_options("a data set that is an object", options, ())
        return samples
    hint = " Wrap it in a list: [sample]." if isinstance(spec, Sample) else ""
    raise InvalidInputError(
        f"A data set is a name ({', '.join(sorted(DATASETS))}), a folder's path, or a sequence of "
        f"Sample or (image, mask), got {type(spec).__name__}.{hint}"
    )


def _folder(text: str, options: dict[str, Any]) -> Sequence[Sample]:
    if not text:
        raise unknown_name("data set", text, DATASETS)
    bare = Path(text).name == text and not Path(text).exists()
    if bare and difflib.get_close_matches(text.lower(), DATASETS, n=1, cutoff=0.6):
        raise unknown_name("data set or folder", text, DATASETS)
    if is_davis(Path(text)):
        check_options(f"DAVIS folder {text!r}", options, ("sequences", "size", "select"))
        return Davis(text, **options)
    check_options(f"folder {text!r}", options, ("select",))
    return ImageFolder(text)
