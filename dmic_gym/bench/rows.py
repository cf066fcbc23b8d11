"""The lines of a store, and what they say: starts of a sweep, origins, rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from dmic_gym.bench.cells import FIGURES, Cell, Row

VERSION = 2
"""Of the lines; raised by hand whenever older ones cannot be read any more."""

_OWN = ("image", "base_qp", "quality")
"""Settings of a cell that stand in its row; the others stand in its origin."""


@dataclass(frozen=True)
class Record:
    """One cell and what came of it.

    Attributes:
        id: hash over `provenance`, hexadecimal: the cell's identity.
        cell: its settings.
        provenance: all that decided the result: hashes of image and weights, encoder, its
            parameter string, versions; see `dmic_gym.bench.provenance.provenance`.
        row: figures, QP map and SHA-256 of the bitstream; None where the cell failed.
        error: why it failed, or None.
        run: number of the `SweepRun` that it was made in.
        finished: time of its end, ISO 8601, UTC.
    """

    id: str
    cell: Cell
    provenance: Mapping[str, Any]
    row: Row | None
    error: str | None = None
    run: int = 0
    finished: str = ""


@dataclass(frozen=True)
class SweepRun:
    """One start of ``dmic sweep`` or ``bench`` on a store; a resumed sweep has several.

    Attributes:
        number: from 1.
        began: ISO 8601, UTC.
        command: the command line.
        definition: the sweep as defined, JSON types: the axes with their defaults filled in.
        versions: of Python and packages.
        folder: from the store's folder to the one that the sweep was started in, where that is
            above it, such as ``"../.."``; else empty. Relative paths of data begin there.
    """

    number: int
    began: str
    command: str
    definition: Mapping[str, Any]
    versions: Mapping[str, str]
    folder: str = ""


def identity(provenance: Mapping[str, Any]) -> str:
    """Return the SHA-256 of all that decides a result, hexadecimal."""
    text = json.dumps(provenance, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def read_run(values: dict[str, Any]) -> SweepRun:
    """Return a start of the sweep from its line; raise ValueError for another version."""
    if (version := values.pop("version", None)) != VERSION:
        raise ValueError(f"its version is {version}, this dmic_gym reads {VERSION}")
    return SweepRun(number=values.pop("run"), **values)


def read_record(values: dict[str, Any], origin: Mapping[str, Any]) -> Record:
    """Return a record from its line and that of its origin.

    Raises:
        ValueError, TypeError, KeyError: it is damaged.
    """
    own = {key: values.pop(key) for key in _OWN if key in values}
    cell = Cell(**origin["cell"], **own)
    digest, finished, run = (values.pop(key) for key in ("digest", "finished", "in_run"))
    made = {"cell": cell.as_dict(), "image": digest, **origin["provenance"]}
    error = values.pop("error", None)
    row = _checked(Row(**values)) if error is None else None
    return Record(identity(made), cell, made, row, error, run, finished)


def _checked(row: Row) -> Row:
    """Return a row; raise ValueError where its values are not those of one."""
    for name in FIGURES:
        value = getattr(row, name)
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise ValueError(f"{name} is {value!r}, not a number")
    if not isinstance(row.qp_map, list) or not isinstance(row.sha256, str):
        raise ValueError("qp_map is no list, or sha256 is no text")
    return row


def run_line(run: SweepRun) -> dict[str, Any]:
    """Return the line of a start of the sweep."""
    values = asdict(run)
    return {"run": values.pop("number"), "version": VERSION, **values}


def record_lines(record: Record, origins: dict[str, int]) -> list[dict[str, Any]]:
    """Return a record's line, after that of its origin where that is not among `origins` yet."""
    cell = {key: value for key, value in record.cell.as_dict().items() if value is not None}
    own = {key: cell.pop(key) for key in _OWN if key in cell}
    shared = {key: v for key, v in record.provenance.items() if key not in ("cell", "image")}
    key, lines = origin_key(cell, shared), list[dict[str, Any]]()
    if key not in origins:
        origins[key] = len(origins)
        lines = [{"origin": origins[key], "cell": cell, "provenance": shared}]
    what = {"error": record.error} if record.row is None else record.row.as_dict()
    made = {"digest": record.provenance.get("image"), "in_run": record.run}
    return [*lines, {"of": origins[key], **own, **what, **made, "finished": record.finished}]


def origin_key(cell: Mapping[str, Any], shared: Mapping[str, Any]) -> str:
    """Return what tells origins apart."""
    return json.dumps([cell, shared], sort_keys=True)


def encoded(lines: list[dict[str, Any]]) -> bytes:
    """Return lines as they stand in the file."""
    texts = (json.dumps(line, allow_nan=False, separators=(",", ":")) for line in lines)
    return "".join(f"{text}\n" for text in texts).encode()
