"""Renaming the tensors of files that others made, by a table.

A table maps regular expressions to replacements. Of each name, the first expression found in it
is replaced everywhere (`re.sub`); a name that becomes empty is dropped; a name in which none is
found stays. As TOML: ``"^encoder\\\\." = "features_extractor."``, one line each.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from dmic_gym.errors import InvalidInputError, WeightsError

KeyMap = Mapping[str, str] | str | PathLike[str]
"""A table, or the path of a .json or .toml file that holds one."""

_MOST_COMPARED = 500


def rename(tensors: Mapping[str, Tensor], key_map: KeyMap | None) -> dict[str, Tensor]:
    """Return the tensors under the names that `key_map` gives them.

    Raises:
        InvalidInputError: the table is none, or one of its expressions is not regular.
        WeightsError: two tensors get one name.
    """
    rules = _rules(key_map)
    renamed: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    for name, tensor in tensors.items():
        new = _renamed(name, rules)
        if new in renamed:
            raise WeightsError(f"key_map gives {origin[new]!r} and {name!r} the same name {new!r}.")
        if new:
            renamed[new], origin[new] = tensor, name
    return renamed


def suggest(missing: Mapping[str, Tensor], unexpected: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the one prefix rule that makes most of the unexpected tensors fit missing ones."""
    votes: Counter[tuple[str, str]] = Counter()
    for name, tensor in list(missing.items())[:_MOST_COMPARED]:
        for other, found in list(unexpected.items())[:_MOST_COMPARED]:
            if found.shape == tensor.shape and (pair := _prefixes(other, name)):
                votes[pair] += 1
    if not votes:
        return {}
    old, new = min(votes, key=lambda pair: (-votes[pair], len(pair[0]) + len(pair[1])))
    return {f"^{re.escape(old)}": new}


def _prefixes(old: str, new: str) -> tuple[str, str] | None:
    """Split off the longest ending of whole words; None if the last words differ."""
    a, b = old.split("."), new.split(".")
    same = 0
    while same < min(len(a), len(b)) and a[-1 - same] == b[-1 - same]:
        same += 1
    if not same:
        return None
    return "".join(f"{w}." for w in a[:-same]), "".join(f"{w}." for w in b[:-same])


def _renamed(name: str, rules: list[tuple[re.Pattern[str], str]]) -> str:
    for pattern, replacement in rules:
        if pattern.search(name):
            try:
                return pattern.sub(replacement, name)
            except (re.error, IndexError) as error:
                raise InvalidInputError(
                    f"key_map: the replacement {replacement!r} of {pattern.pattern!r} is wrong "
                    f"({error}). Groups are \\1, \\2, ..."
                ) from error
    return name


def _rules(key_map: KeyMap | None) -> list[tuple[re.Pattern[str], str]]:
    table = {} if key_map is None else key_map if isinstance(key_map, Mapping) else _read(key_map)
    try:
        return [(re.compile(pattern), _text(pattern, new)) for pattern, new in table.items()]
    except re.error as error:
        raise InvalidInputError(
            f"key_map: {error.pattern!r} is not a regular expression ({error})."
        ) from error


def _text(pattern: str, replacement: Any) -> str:
    if not isinstance(replacement, str):
        raise InvalidInputError(
            f'key_map: {pattern!r} has the replacement {replacement!r}; it must be text, "" to '
            "drop the matching part."
        )
    return replacement


def _read(file: str | PathLike[str]) -> Mapping[str, Any]:
    path = Path(file)
    try:
        text = path.read_text()
        table = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except OSError as error:
        raise InvalidInputError(
            f"key_map: {path} cannot be read ({error.strerror}). Pass a dict, or the path of a "
            ".json or .toml file."
        ) from error
    except (ValueError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"key_map: {path} is not valid JSON or TOML ({error}).") from error
    if not isinstance(table, dict):
        raise InvalidInputError(f"key_map: {path} must hold one table, pattern to replacement.")
    return table
