"""Data sets as a sweep names them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from urllib.parse import parse_qsl

from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.data.registry import load_dataset
from dmic_gym.tasks.data.sample import Sample


def load_data(spec: str) -> Sequence[Sample]:
    """Load the data set of a cell's `data`.

    Args:
        spec: what `load_dataset` takes, with options behind a question mark, as in
            ``phantoms?count=6&size=128``; environment variables are expanded, as in
            ``$DMIC_DATA/angiograms/test``.

    Raises:
        InvalidInputError: an unknown name or option, or a variable that is not set.
        DataError: the folder is missing or has no images.
    """
    name, _, query = spec.partition("?")
    return load_dataset(expanded(name), **{key: _value(text) for key, text in parse_qsl(query)})


def expanded(path: str) -> str:
    """Return `path` with its environment variables expanded.

    Raises:
        InvalidInputError: one of them is not set.
    """
    found = os.path.expandvars(path)
    if "$" in found:
        variable = found[found.index("$") :].split("/")[0]
        raise InvalidInputError(
            f"{path!r}: {variable} is not set. Type: export {variable.strip('${}')}=FOLDER"
        )
    return found


def _value(text: str) -> int | str:
    return int(text) if text.isdecimal() else text
