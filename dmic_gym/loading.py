"""Loading an object that a user names as ``module:object``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from dmic_gym.errors import InvalidInputError, unknown_name


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
