"""The store of a sweep: every finished cell in SQLite, committed at once.

``DIR/sweep.sqlite`` in WAL mode with full synchronisation: after kill -9, a power cut or a full
disk it holds every cell that was added. One process writes (a lock that dies with it), any number
read meanwhile. For other tools, the view ``results`` has a plain column for each setting and
figure.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from filelock import BaseFileLock, FileLock, Timeout

from dmic_gym.bench.cells import FIGURES, Cell, Row
from dmic_gym.bench.schema import check_version, connect_reading, explained, make_tables
from dmic_gym.errors import DataError

FILE = "sweep.sqlite"
LOCK = "sweep.lock"


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


class Store:
    """Cells on disk or in memory.

    `Store.open` reads, `Store.create` reads and writes, `Store.in_memory` is empty and ends with
    its object. A context manager; `close` leaves everything in the one file ``sweep.sqlite``.

    Attributes:
        path: of its file; of a store in memory where its file would be.
    """

    def __init__(
        self, path: Path, connection: sqlite3.Connection, lock: BaseFileLock | None = None
    ) -> None:
        self.path = path
        self._connection = connection
        self._lock = lock

    @classmethod
    def open(cls, path: str | Path) -> Store:
        """Open a store for reading, also while a sweep is writing to it.

        Args:
            path: the sweep's folder, or the SQLite file itself.

        Raises:
            DataError: there is no store, or it is damaged or of another version.
        """
        file = Path(path) / FILE if Path(path).is_dir() else Path(path)
        if not file.is_file():
            raise DataError(f"No sweep in {str(path)!r}: pass the folder that dmic sweep wrote.")
        with explained(file, "read"):
            connection = connect_reading(file)
            check_version(file, connection)
        return cls(file, connection)

    @classmethod
    def create(cls, folder: str | Path) -> Store:
        """Open a folder's store for writing; both are made if missing.

        Raises:
            DataError: another sweep writes to it, or the folder cannot be written.
        """
        folder = Path(folder)
        lock = _locked(folder)
        file = folder / FILE
        try:
            with explained(file, "write"):
                connection = sqlite3.connect(file, isolation_level=None)
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                make_tables(file, connection)
        except BaseException:
            lock.release()
            raise
        return cls(file, connection, lock)

    @classmethod
    def in_memory(cls, folder: str | Path = ".") -> Store:
        """Return an empty store.

        Args:
            folder: where its results will be written.
        """
        connection = sqlite3.connect(":memory:", isolation_level=None)
        make_tables(Path(folder) / FILE, connection)
        return cls(Path(folder) / FILE, connection)

    def begin_run(
        self, command: str, definition: Mapping[str, Any], versions: Mapping[str, str]
    ) -> int:
        """Record a start of the sweep; return its number, which goes into its records."""
        folder = os.path.relpath(Path.cwd(), self.path.parent)
        above = {"..", "."} >= set(Path(folder).parts)
        run = SweepRun(0, _now(), command, definition, versions, folder if above else "")
        return self.add_run(run)

    def add_run(self, run: SweepRun) -> int:
        """Record a start of the sweep as it is; return its number, the next free one."""
        definition, versions = json.dumps(dict(run.definition)), json.dumps(dict(run.versions))
        with explained(self.path, "write"):
            added = self._connection.execute(
                "INSERT INTO runs (began, command, definition, versions, folder) "
                "VALUES (?, ?, ?, ?, ?)",
                (run.began, run.command, definition, versions, run.folder),
            )
        return int(added.lastrowid or 0)

    def add(self, record: Record) -> None:
        """Commit a cell; it takes the place of an earlier failure of the same cell.

        Raises:
            DataError: the disk is full, or cannot be written.
        """
        values = (
            record.id,
            record.run,
            record.finished or _now(),
            json.dumps(record.cell.as_dict()),
            json.dumps(dict(record.provenance)),
            None if record.row is None else json.dumps(record.row.as_dict()),
            record.error,
        )
        with explained(self.path, "write"):
            self._connection.execute(
                "INSERT OR REPLACE INTO cells VALUES (?, ?, ?, ?, ?, ?, ?)", values
            )

    def done(self) -> set[str]:
        """Return the ids of the cells that have a result."""
        found = self._select("SELECT id FROM cells WHERE row IS NOT NULL")
        return {id_ for (id_,) in found}

    def records(self) -> list[Record]:
        """Return the newest record of each cell that has a result, in order of their settings.

        After an upgrade of weights or package a resumed sweep codes its cells again: the old
        ones stay in the store (`history`) and not in here, so that nothing counts twice.
        """
        newest = {record.cell: record for record in self.history() if record.row is not None}
        return [newest[cell] for cell in sorted(newest, key=lambda cell: tuple(_order(cell)))]

    def failures(self) -> list[Record]:
        """Return the cells whose last attempt failed and that have no result."""
        done = {record.cell for record in self.records()}
        newest = {r.cell: r for r in self.history() if r.row is None and r.cell not in done}
        return list(newest.values())

    def history(self) -> list[Record]:
        """Return all records, oldest first."""
        return [_record(found) for found in self._select("SELECT * FROM cells ORDER BY rowid")]

    def runs(self) -> list[SweepRun]:
        """Return the starts of the sweep, oldest first."""
        return [
            _run(found)
            for found in self._select(
                "SELECT number, began, command, definition, versions, folder FROM runs "
                "ORDER BY number"
            )
        ]

    @property
    def base(self) -> Path | None:
        """The folder in which relative paths of data begin, if it is known and there."""
        runs = self.runs()
        folder = self.path.parent / runs[-1].folder if runs and runs[-1].folder else None
        return folder if folder is not None and folder.is_dir() else None

    def close(self) -> None:
        """Close the file and let others write."""
        self._connection.close()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _select(self, query: str) -> Sequence[tuple[Any, ...]]:
        with explained(self.path, "read"):
            return self._connection.execute(query).fetchall()


def _locked(folder: Path) -> BaseFileLock:
    """Keep other sweeps out of a folder until the lock is released or this process ends."""
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise DataError(
            f"Another sweep is writing to {folder}: wait for it, or pass another --out."
        ) from error
    except OSError as error:
        raise DataError(f"Cannot write into {folder}: {error}. Pass another --out.") from error
    return lock


def _run(found: tuple[Any, ...]) -> SweepRun:
    number, began, command, definition, versions, folder = found
    try:
        return SweepRun(number, began, command, _object(definition), _object(versions), str(folder))
    except (TypeError, ValueError) as damage:
        raise DataError(f"Run {number} of the store is damaged: {damage}.") from damage


def _record(found: tuple[Any, ...]) -> Record:
    id_, run, finished, cell, provenance, row, error = found
    try:
        return Record(
            id=id_,
            cell=Cell(**_object(cell)),
            provenance=_object(provenance),
            row=None if row is None else checked_row(_object(row)),
            error=error,
            run=run,
            finished=finished,
        )
    except (TypeError, ValueError) as damage:
        raise DataError(f"Cell {id_} of the store is damaged: {damage}.") from damage


def _object(text: str) -> dict[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError(f"{text[:40]!r} is no JSON object")
    return found


def checked_row(values: Mapping[str, Any]) -> Row:
    """Return a row; raise TypeError or ValueError where its values are not those of one."""
    row = Row(**values)
    for name in FIGURES:
        value = getattr(row, name)
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise ValueError(f"{name} is {value!r}, not a number")
    if not isinstance(row.qp_map, list) or not isinstance(row.sha256, str):
        raise ValueError("qp_map is no list, or sha256 is no text")
    return row


def _order(cell: Cell) -> Iterator[Any]:
    yield from (cell.data, cell.codec, -cell.ctu_size, cell.preset, cell.image, cell.point)
    yield from (cell.agent, cell.seed, cell.segmenter, cell.second)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
