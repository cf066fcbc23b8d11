"""Files, versions and objects: atomic writes, paths, what is installed, ``module:object``."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import platform
import re
import sys
from collections.abc import Iterable
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


def expanded(path: str) -> str:
    """Return `path` with its environment variables expanded.

    Raises:
        InvalidInputError: one of them is not set.
    """
    found = os.path.expandvars(path)
    if "$" in found and not Path(found).exists():
        variable = found[found.index("$") :].split("/")[0]
        raise InvalidInputError(
            f"{path!r}: {variable} is not set. Type: export {variable.strip('${}')}=FOLDER"
        )
    return found


def portable(text: str) -> str:
    """Write the folder of DMIC_DATA as the variable, so that a record holds on other machines."""
    folder = os.environ.get("DMIC_DATA", "").rstrip("/")
    whole = rf"{re.escape(folder)}(?![\w.-])"  # not the folder data2 where it is data
    return re.sub(whole, "$DMIC_DATA", text) if folder else text


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of Python and of these packages; "not installed" for one that is not."""
    from importlib.metadata import PackageNotFoundError, version

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


def qualified_name(thing: Any) -> str:
    """Return ``module:name`` of a class or function, or of an object's class."""
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{named.__module__}:{named.__qualname__}"


def source_sha256(thing: Any) -> str:
    """Return the SHA-256 of the source file that defines an object or its class.

    "unknown" where there is none: the object is built in, or typed at a prompt.
    """
    defined = thing if inspect.isroutine(thing) or inspect.isclass(thing) else type(thing)
    try:
        return hashlib.sha256(Path(inspect.getfile(defined)).read_bytes()).hexdigest()
    except (TypeError, OSError):
        return "unknown"
