"""The store of a run: ``rows.jsonl``, one line a finished cell, on the disk as soon as it is coded.

Lines of three kinds: ``{"run": 1, ...}``, a start of the sweep; ``{"origin": 0, ...}``, settings
and provenance that many rows share; ``{"of": 0, "image": ..., "base_qp": ..., "bits": ...}``, a row
of that origin. After kill -9, a power cut or a full disk the file holds every cell that was added;
an unfinished last line is cut off. One process writes (a lock that dies with it), any number read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any, Self

from filelock import BaseFileLock, FileLock, Timeout

from dmic_gym.bench.cells import Cell
from dmic_gym.bench.rows import (
    Record,
    SweepRun,
    encoded,
    origin_key,
    read_record,
    read_run,
    record_lines,
    run_line,
)
from dmic_gym.errors import DataError
from dmic_gym.io import write_atomically

ROWS, LOCK = "rows.jsonl", "rows.lock"


class Store:
    """Cells on disk or in memory.

    `Store.open` reads, `Store.create` reads and writes, `Store.in_memory` is empty and ends with
    its object unless `write` is called. A context manager.

    Attributes:
        path: of its file; of a store in memory where its file would be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._runs: list[SweepRun] = []
        self._records: dict[str, Record] = {}
        self._origins: dict[str, int] = {}
        self._file: FileIO | None = None
        self._lock: BaseFileLock | None = None

    @classmethod
    def open(cls, path: str | Path) -> Store:
        """Open what is in a store now for reading, also while a sweep is writing to it.

        Args:
            path: the folder of ``dmic sweep`` or ``dmic bench``, or a file of theirs:
                ``rows.jsonl``, or ``results.json``, which names its rows.

        Raises:
            DataError: there is no store, or it is damaged or of another version.
        """
        store = cls(rows_of(Path(path)))
        store._read()
        return store

    @classmethod
    def create(cls, folder: str | Path) -> Store:
        """Open a folder's store for writing; both are made if missing.

        Raises:
            DataError: another sweep writes to it, it is damaged, or the folder cannot be written.
        """
        store = cls(Path(folder) / ROWS)
        store._lock = _locked(Path(folder))
        try:
            if store.path.exists():
                _cut(store.path)
                store._read()
            store._file = store.path.open("ab", buffering=0)
        except BaseException as error:
            store.close()
            if isinstance(error, OSError) and not isinstance(error, DataError):
                raise DataError(f"Cannot write {store.path}: {error.strerror}.") from error
            raise
        return store

    @classmethod
    def in_memory(cls, folder: str | Path = ".") -> Store:
        """Return an empty store; `folder` is where it may be written."""
        return cls(Path(folder) / ROWS)

    def write(self) -> None:
        """Write a store in memory to its path, in place of what is there; later rows follow.

        Raises:
            DataError: another sweep writes there, or it cannot be written.
        """
        self._lock = _locked(self.path.parent)
        lines = [run_line(run) for run in self._runs]
        origins: dict[str, int] = {}
        for record in self._records.values():
            lines += record_lines(record, origins)
        write_atomically(self.path, encoded(lines))
        self._file = self.path.open("ab", buffering=0)

    def begin_run(
        self, command: str, definition: Mapping[str, Any], versions: Mapping[str, str]
    ) -> int:
        """Record a start of the sweep; return its number, which goes into its records."""
        folder = os.path.relpath(Path.cwd(), self.path.parent)
        above = {"..", "."} >= set(Path(folder).parts)
        plain, found = json.loads(json.dumps([definition, versions]))
        number = len(self._runs) + 1
        run = SweepRun(number, _now(), command, plain, found, folder if above else "")
        self._append([run_line(run)])
        self._runs.append(run)
        return run.number

    def add(self, record: Record) -> None:
        """Bring a cell to the disk; it takes the place of an earlier failure of the same cell.

        Raises:
            DataError: the disk is full, or cannot be written.
        """
        record = replace(record, finished=record.finished or _now())
        origins = dict(self._origins)
        self._append(record_lines(record, origins))
        self._origins = origins
        self._keep(record)

    def done(self) -> set[str]:
        """Return the ids of the cells that have a result."""
        return {record.id for record in self._records.values() if record.row is not None}

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
        return list(self._records.values())

    def runs(self) -> list[SweepRun]:
        """Return the starts of the sweep, oldest first."""
        return list(self._runs)

    @property
    def base(self) -> Path | None:
        """The folder in which relative paths of data begin, if it is known and there."""
        folder = self._runs[-1].folder if self._runs else ""
        base = self.path.parent / folder
        return base if folder and base.is_dir() else None

    def close(self) -> None:
        """Close the file and let others write."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _keep(self, record: Record) -> None:
        self._records.pop(record.id, None)
        self._records[record.id] = record

    def _append(self, lines: list[dict[str, Any]]) -> None:
        """Write lines at the end, whole or not at all."""
        if self._file is None:
            return
        size = os.fstat(self._file.fileno()).st_size
        data = encoded(lines)
        try:
            while data:
                data = data[self._file.write(data) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            self._file.truncate(size)
            raise DataError(
                f"Cannot write {self.path}: {error.strerror}. What is in it is safe: make room and "
                "go on with --resume."
            ) from error

    def _read(self) -> None:
        """Take in the file's whole lines."""
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise DataError(f"Cannot read {self.path}: {error.strerror}.") from error
        origins: list[Mapping[str, Any]] = []
        for number, line in enumerate(data.split(b"\n")[:-1], start=1):
            try:
                self._take(json.loads(line), origins)
            except (ValueError, TypeError, KeyError, IndexError, AttributeError) as damage:
                raise DataError(f"{self.path}, line {number} is damaged: {damage}.") from damage

    def _take(self, values: dict[str, Any], origins: list[Mapping[str, Any]]) -> None:
        if "run" in values:
            self._runs.append(read_run(values))
        elif "origin" in values:
            self._origins[origin_key(values["cell"], values["provenance"])] = values["origin"]
            origins.append(values)
        else:
            self._keep(read_record(values, origins[values.pop("of")]))


def rows_of(path: Path) -> Path:
    """Return the file of rows that a folder, ``results.json`` or ``rows.jsonl`` stands for.

    Raises:
        DataError: there is none.
    """
    file = path / ROWS if path.is_dir() else path
    if file.suffix == ".json" and file.is_file():
        try:
            file = file.parent / json.loads(file.read_bytes())["rows"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{file} names no file of rows: is it a results.json?") from error
    if not file.is_file():
        raise DataError(
            f"No run in {str(path)!r}: pass the folder that dmic sweep or dmic bench wrote."
        )
    return file


def _cut(path: Path) -> None:
    """Cut off an unfinished last line, which a crash may have left."""
    data = path.read_bytes()
    if not data.endswith(b"\n"):
        os.truncate(path, data.rfind(b"\n") + 1)


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


def _order(cell: Cell) -> Iterator[Any]:
    yield from (cell.data, cell.codec, -cell.ctu_size, cell.preset, cell.image, cell.point)
    yield from (cell.agent, cell.seed, cell.segmenter, cell.second)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
