"""Writing files so that a name never stands for half a file."""

from __future__ import annotations

import os
from pathlib import Path

from dmic_gym.errors import DataError


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` beside `path`, bring it to the disk, then give it its name.

    Raises:
        DataError: the file cannot be written: disk full, no such folder, read-only. A file that
            had the name keeps it; nothing else is left.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        _forget(partial)
        if isinstance(error, OSError):
            raise DataError(f"{path}: cannot be written ({error.strerror or error}).") from error
        raise


def _forget(partial: Path) -> None:
    try:
        partial.unlink(missing_ok=True)
    except OSError:
        return  # in a folder that cannot be written there is nothing to remove
