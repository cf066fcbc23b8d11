"""Tables of a sweep's SQLite file, and SQLite's errors in our words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from dmic_gym.bench.cells import Cell, Row
from dmic_gym.errors import DataError

_SCHEMA_VERSION = 2

_TABLES = """
CREATE TABLE IF NOT EXISTS runs (
    number INTEGER PRIMARY KEY, began TEXT NOT NULL, command TEXT NOT NULL,
    definition TEXT NOT NULL, versions TEXT NOT NULL, folder TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS cells (
    id TEXT PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs, finished TEXT NOT NULL,
    cell TEXT NOT NULL, provenance TEXT NOT NULL, row TEXT, error TEXT);
"""


def make_tables(file: Path, connection: sqlite3.Connection) -> None:
    """Make what is missing in a new file; raise DataError for a file of another version."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        connection.executescript(
            f"BEGIN; {_TABLES} {_view()}; PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;"
        )
    check_version(file, connection)


def _view() -> str:
    """Return SQL of the view ``results``: settings and figures as columns."""
    columns = ["cells.id", "cells.run", "cells.finished"]
    columns += [f"json_extract(cell, '$.{f.name}') AS {f.name}" for f in fields(Cell)]
    columns += [f"json_extract(row, '$.{f.name}') AS {f.name}" for f in fields(Row)]
    return (
        f"CREATE VIEW IF NOT EXISTS results AS SELECT {', '.join(columns)} FROM cells "
        "WHERE row IS NOT NULL"
    )


def check_version(file: Path, connection: sqlite3.Connection) -> None:
    """Raise DataError for a file of another version."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != _SCHEMA_VERSION:
        raise DataError(
            f"{file} has store version {version}, this dmic_gym reads {_SCHEMA_VERSION}: read it "
            "with the dmic_gym that wrote it, or sweep into another --out."
        )


def connect_reading(file: Path) -> sqlite3.Connection:
    """Connect for reading; where the folder is read-only, the file is taken to be at rest."""
    for mode in ("mode=ro", "immutable=1"):
        connection = sqlite3.connect(f"{file.resolve().as_uri()}?{mode}", uri=True)
        try:
            connection.execute("SELECT 1 FROM sqlite_master").fetchall()
            return connection
        except sqlite3.OperationalError:
            connection.close()
    return sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)


@contextmanager
def explained(file: Path, verb: str) -> Iterator[None]:
    """Turn SQLite's errors into one that says what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise DataError(f"Cannot {verb} {file}: {error}. {_advice(error, verb)}") from error


def _advice(error: sqlite3.Error, verb: str) -> str:
    """Return what to do: a file that is damaged is told from a disk that is full."""
    usable = isinstance(error, sqlite3.OperationalError) and "no such" not in str(error)
    if not usable:  # "malformed", "not a database", "no such table"
        return (
            "The file is damaged, or is none of dmic sweep: move it away and sweep anew; the "
            "program sqlite3 may save what is in it (.recover)."
        )
    if verb == "write":
        return "What is in it is safe: make room and go on with --resume."
    return "Is it a sweep.sqlite of dmic sweep, whole?"
