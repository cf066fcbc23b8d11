"""Tables of a sweep's SQLite file, and SQLite's errors in our words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from dmic_gym.bench.cells import Cell
from dmic_gym.bench.runner import Row
from dmic_gym.errors import DataError

_SCHEMA_VERSION = 1

_TABLES = """
CREATE TABLE IF NOT EXISTS runs (
    number INTEGER PRIMARY KEY, began TEXT NOT NULL, command TEXT NOT NULL,
    definition TEXT NOT NULL, versions TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS cells (
    id TEXT PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs, finished TEXT NOT NULL,
    cell TEXT NOT NULL, provenance TEXT NOT NULL, row TEXT, reward REAL, error TEXT);
"""


def make_tables(file: Path, connection: sqlite3.Connection) -> None:
    """Make what is missing in a new file; raise DataError for a file of another version."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        connection.executescript(f"BEGIN; {_TABLES} {_view()}; PRAGMA user_version = 1; COMMIT;")
    check_version(file, connection)


def _view() -> str:
    """Return SQL of the view ``results``: settings and figures as columns."""
    columns = ["cells.id", "cells.run", "cells.finished", "cells.reward"]
    columns += [f"json_extract(cell, '$.{f.name}') AS {f.name}" for f in fields(Cell)]
    taken = {field.name for field in fields(Cell)} | {"name"}
    columns += [
        f"json_extract(row, '$.{f.name}') AS {f.name}" for f in fields(Row) if f.name not in taken
    ]
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
        hint = (
            "What is in it is safe: make room and go on with --resume."
            if verb == "write"
            else "Is it a sweep.sqlite of dmic sweep, whole?"
        )
        raise DataError(f"Cannot {verb} {file}: {error}. {hint}") from error
