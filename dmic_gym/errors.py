"""The one error tree of dmic_gym.

Every error is a `DmicError` and, where one fits, also an exception of the standard
library, so that ``except ValueError`` keeps working for those who have never heard of us.
"""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable
from importlib import import_module
from types import ModuleType


class DmicError(Exception):
    """Base class of all errors that dmic_gym raises on purpose."""


class InvalidInputError(DmicError, ValueError):
    """An argument is of the wrong type, shape, range or name; the message says what to pass."""


class DataError(DmicError, OSError):
    """A data set or an image file is missing, unreadable or inconsistent."""


class WeightsError(DmicError, ValueError):
    """A weights file or its card is missing, damaged or does not fit the network."""


class MissingDependencyError(DmicError, ImportError):
    """An optional package or a system program is needed and not installed."""


class CodecError(DmicError, RuntimeError):
    """A codec could not do its work; the tool's own words are in the message."""


class EncodeError(CodecError):
    """The encoder refused or failed."""


class DecodeError(CodecError):
    """The decoder refused or failed; damaged streams end here."""


class SelfTestError(CodecError):
    """The encoder ignores QP offsets, so any result obtained with it would be wrong."""


class SegmenterError(DmicError, RuntimeError):
    """The segmenter failed; its own words are in the message."""


class FreezeError(DmicError, RuntimeError):
    """A tensor that had to stay frozen changed in training."""


class WorkerError(DmicError, RuntimeError):
    """A worker process of a sweep could not start."""


class UndefinedMetricError(DmicError, ArithmeticError):
    """A metric (such as a BD-rate) has no value for these inputs; the message says why."""


def unknown_name(kind: str, name: object, known: Iterable[str]) -> InvalidInputError:
    """Build the error for a name that is not in a table: cause, nearest valid value, choices."""
    choices = sorted(known)
    near = difflib.get_close_matches(str(name), choices, n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return InvalidInputError(f"Unknown {kind} {name!r}.{hint} Valid: {', '.join(choices)}.")


def missing_package(package: str, purpose: str) -> MissingDependencyError:
    """Build the error for a package that dmic_gym was installed without: cause, what to type."""
    return MissingDependencyError(
        f"{purpose} needs {package}, which is not installed. Type: pip install dmic_gym"
    )


def required(module: str, package: str, purpose: str) -> ModuleType:
    """Import a module of a package that dmic_gym may have been installed without.

    Raises:
        MissingDependencyError: see `missing_package`.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise missing_package(package, purpose) from error


def checked_integer(name: str, value: object, low: int = 1, high: int | None = None) -> int:
    """Return `value` as an int of low..high, or of low or more.

    Raises:
        InvalidInputError: it is no integer, or out of range; the message names the nearest.
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise InvalidInputError(f"{name} must be an integer, got {value!r}.") from None
    if number < low or (high is not None and number > high):
        limit = f"{low} or more" if high is None else f"{low}..{high}"
        near = low if number < low else high
        raise InvalidInputError(f"{name} must be {limit}, got {number}. Nearest: {near}.")
    return number
