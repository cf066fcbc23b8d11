"""What a user types to name a data set, ``name?option=value``, taken apart."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from dmic_gym.errors import InvalidInputError, unknown_name
from dmic_gym.io import expanded
from dmic_gym.tasks.data.sequence import Item, LazySequence, Selection


def parsed(spec: str, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Split ``name?option=value``; a path whose own name holds the question mark stays whole."""
    name, mark, query = spec.partition("?")
    if not mark or Path(os.path.expandvars(spec)).exists():
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


def selected(items: Sequence[Item], take: Any, spec: object) -> Sequence[Item]:
    """Return the slice ``START:STOP:STEP`` of a data set; InvalidInputError if that is none."""
    try:
        bounds = slice(*(int(part) if part else None for part in take.split(":")))
        places = range(*bounds.indices(len(items)))
    except (AttributeError, TypeError, ValueError) as error:
        raise InvalidInputError(
            f"select={take!r} must be START:STOP:STEP, as in select=0::4 for every fourth."
        ) from error
    if not places:
        raise InvalidInputError(
            f"select={take!r} takes none of the {len(items)} items of {spec}. All: leave it out."
        )
    if isinstance(items, LazySequence):
        return Selection(items, places)
    return [items[place] for place in places]


def named(
    table: Mapping[str, Callable[..., Sequence[Item]]], name: str, options: dict[str, Any]
) -> Sequence[Item]:
    """Make the data set of a table that has this name; InvalidInputError for wrong options."""
    parameters = inspect.signature(table[name]).parameters
    check_options(f"data set {name!r}", options, parameters)
    for needed, parameter in parameters.items():
        if parameter.default is parameter.empty and needed not in options:
            raise InvalidInputError(
                f"Data set {name!r} needs {needed}=; or pass the path of its folder instead of "
                f"the name, such as './{name}'."
            )
    return table[name](**options)


def check_options(what: str, options: dict[str, Any], known: Any) -> None:
    """Raise InvalidInputError for an option that is not known."""
    for name in options:
        if name not in known:
            if tuple(known) in ((), ("select",)):
                raise InvalidInputError(
                    f"{what} takes no options but select, got {name!r}; leave it out."
                )
            raise unknown_name(f"option of {what}", name, known)
