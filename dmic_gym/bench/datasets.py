"""Data sets of stored cells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dmic_gym.errors import DataError, DmicError
from dmic_gym.tasks.data.registry import DATASETS, load_dataset
from dmic_gym.tasks.data.sample import Sample


def load_again(spec: str, base: Path | None) -> Sequence[Sample]:
    """Load the data set of a stored cell, from whatever folder.

    Args:
        spec: as for `load_dataset`.
        base: folder in which a relative path begins that is not found in this one; None where it
            is not known.

    Raises:
        InvalidInputError, DataError: as `load_dataset`; where a path is relative, the message says
            where to stand.
    """
    name = spec.partition("?")[0]
    relative = not (name in DATASETS or name.startswith(("$", "~")) or Path(name).is_absolute())
    try:
        if relative and base is not None and not Path(name).exists():
            return load_dataset(f"{base}/{spec}")
        return load_dataset(spec)
    except DmicError as error:
        if not relative:
            raise
        raise DataError(
            f"{error} {name!r} is relative to the folder that the sweep was started in: stand in "
            "that folder, as in: cd FOLDER && dmic replay STORE"
        ) from error
