"""Files, versions and objects: atomic writes, what is installed, loading of ``module:object``."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from dmic_gym.errors import DataError, InvalidInputError, unknown_name


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


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of Python and of these packages; "not installed" for one that is not."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def load_object(spec: str) -> Any:
    """Import ``module:object``; the current folder counts as a place for modules.

    Raises:
        InvalidInputError: the form is wrong, or there is no such module or object.
    """
    module_name, _, name = spec.partition(":")
    if not module_name or not name:
        raise InvalidInputError(f"{spec!r} must have the form module:object, as in my_agent:Agent.")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise InvalidInputError(
            f"Cannot import {error.name!r} for {spec!r}: put {module_name}.py into this folder or "
            "on PYTHONPATH."
        ) from error
    if not hasattr(module, name):
        public = [key for key in vars(module) if not key.startswith("_")]
        raise unknown_name(f"object of {module_name}", name, public)
    return getattr(module, name)


def load_instance(spec: str) -> Any:
    """Do what `load_object` does, and make an instance where the object is a class."""
    found = load_object(spec)
    return found() if isinstance(found, type) else found
