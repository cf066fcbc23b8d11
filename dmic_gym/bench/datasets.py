"""Data sets of images or clips, as sweeps name them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from dmic_gym.envs.results import sample_key
from dmic_gym.envs.video_results import clip_key
from dmic_gym.errors import DataError, DmicError
from dmic_gym.tasks.data.clip import Clip
from dmic_gym.tasks.data.clips.registry import CLIPS, is_clips, load_clips
from dmic_gym.tasks.data.registry import DATASETS, load_dataset
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.types import Mask, Masks

Source: TypeAlias = Sample | Clip
"""What one cell codes."""


def load_sources(spec: str) -> Sequence[Source]:
    """Return the images or the clips of a data set; see `load_dataset` and `load_clips`."""
    return load_clips(spec) if is_clips(spec) else load_dataset(spec)


def source_key(source: Source) -> bytes:
    """Return a digest of an image or clip with its masks."""
    return clip_key(source) if isinstance(source, Clip) else sample_key(source)


def mask_of(source: Source) -> Mask | Masks | None:
    """Return the expert mask of an image, or those of a clip."""
    return source.masks if isinstance(source, Clip) else source.mask


def pixels_of(source: Source) -> int:
    """Return the pixels of an image, or of all frames of a clip."""
    return int(source.frames.size if isinstance(source, Clip) else source.image.size)


def load_again(spec: str, base: Path | None) -> Sequence[Source]:
    """Load the data set of a stored cell, from whatever folder.

    Args:
        spec: as for `load_sources`.
        base: folder in which a relative path begins that is not found in this one; None where it
            is not known.

    Raises:
        InvalidInputError, DataError: as `load_sources`; where a path is relative, the message says
            where to stand.
    """
    name = spec.partition("?")[0]
    known = name in DATASETS or name in CLIPS
    relative = not (known or name.startswith(("$", "~")) or Path(name).is_absolute())
    try:
        if relative and base is not None and not Path(name).exists():
            return load_sources(f"{base}/{spec}")
        return load_sources(spec)
    except DmicError as error:
        if not relative:
            raise
        raise DataError(
            f"{error} {name!r} is relative to the folder that the sweep was started in: stand in "
            "that folder, as in: cd FOLDER && dmic replay STORE"
        ) from error
