"""``results.json`` and the rows beside it: written by `dmic bench` and `dmic sweep`, read by all.

``results.json`` is short: protocol, BD-rates and means of each data set and encoder (the first at
the top, further ones under ``more``), the starts of the sweep, and ``origins``: the settings and
the provenance that many rows share. ``rows.jsonl`` has one line a row: number of its origin,
image, operating point, figures, QP map and hash of the bitstream. Together they hold all that a
store holds, so that `open_store` makes a store of them.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dmic_gym.bench.cells import Cell, encoder_name
from dmic_gym.bench.provenance import identity
from dmic_gym.bench.store import FILE, Record, Store, SweepRun, checked_row
from dmic_gym.errors import DataError
from dmic_gym.io import write_atomically

RESULTS, ROWS = "results.json", "rows.jsonl"

_OWN = ("image", "base_qp", "quality")
"""Settings of a cell that stand in its row; the others stand in its origin."""


def check_folder(folder: Path) -> None:
    """Make the folder for results, so that a long run does not end in a surprise.

    Raises:
        DataError: files cannot be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DataError(f"Cannot write into {folder}: {error}. Pass another --out.") from error


def save_results(
    results: Sequence[Mapping[str, Any]], store: Store, folder: Path, rows: str = ROWS
) -> list[Path]:
    """Write ``results.json`` and its rows.

    Args:
        results: as `results_of` makes them.
        store: where they come from.
        folder: where to.
        rows: name of the file of rows.

    Raises:
        DataError: the folder cannot be written.
    """
    origins: dict[str, int] = {}
    records = [*store.records(), *store.failures()]
    lines = [_compact(_line(record, origins)) for record in records]
    first, *more = [_short(one, rows) for one in results] or [{}]
    content = {
        **first,
        "more": more,
        "rows": rows,
        "runs": [asdict(run) for run in store.runs()],
        "origins": [json.loads(origin) for origin in origins],
    }
    written = [folder / RESULTS, folder / rows]
    write_atomically(written[1], "".join(f"{line}\n" for line in lines).encode())
    write_atomically(written[0], (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
    return written


def keep_previous(paths: Sequence[Path]) -> None:
    """Rename existing files to ``NAME-1.EXT``, ``NAME-2.EXT``...: the same number for all."""
    existing = [path for path in paths if path.exists()]
    number = 1
    while any(_numbered(path, number).exists() for path in existing):
        number += 1
    for path in existing:
        path.rename(_numbered(path, number))
    kept = next((_numbered(p, number) for p in existing if p.name == RESULTS), None)
    if kept is not None:  # it names its rows
        text = kept.read_text().replace(f'"{ROWS}"', f'"{_numbered(Path(ROWS), number)}"')
        write_atomically(kept, text.encode())


def open_store(path: str | Path) -> Store:
    """Open what a run left, for reading: ``sweep.sqlite``, else ``results.json`` with its rows.

    Args:
        path: the folder of `dmic sweep` or `dmic bench`, or one of the two files.

    Raises:
        DataError: there is neither, or it is damaged.
    """
    path = Path(path)
    file = path / RESULTS if path.is_dir() and not (path / FILE).exists() else path
    return _in_memory(file) if file.suffix == ".json" and file.is_file() else Store.open(path)


def read_results(path: str | Path) -> list[dict[str, Any]]:
    """Read ``results.json`` with the rows of every agent and still codec under ``images``.

    Args:
        path: the file, or its folder.

    Returns:
        One entry for each data set and encoder, as `results_of` makes them.

    Raises:
        DataError: a file is missing or damaged.
    """
    file = Path(path) / RESULTS if Path(path).is_dir() else Path(path)
    content = _content(file)
    rows: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for record in _records(file, content):
        if record.row is not None:
            cell = record.cell
            key = (cell.data, cell.line) if cell.is_still else (cell.data, cell.encoder, cell.line)
            point = {"quality": cell.quality} if cell.is_still else {"base_qp": cell.base_qp}
            rows.setdefault(key, []).append({"name": cell.image, **point, **record.row.as_dict()})
    found = [content, *content.pop("more", [])]
    return [_filled(one, rows) for one in found if "agents" in one]


def _filled(one: dict[str, Any], rows: Mapping[tuple[Any, ...], Any]) -> dict[str, Any]:
    protocol = one["protocol"]
    name = encoder_name(protocol["codec"], protocol["preset"], protocol["ctu_size"])
    for agent, part in one["agents"].items():
        part["images"] = _of_images(one, rows.get((protocol["data"], name, agent), []))
    for still, part in one["stills"].items():
        part["images"] = _of_images(one, rows.get((protocol["data"], still), []))
    return {key: one[key] for key in ("protocol", "agents", "stills", "failed")}


def _of_images(one: Mapping[str, Any], rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["name"] not in one["failed"]]


def _short(results: Mapping[str, Any], rows: str) -> dict[str, Any]:
    """Return results with the name of the file of rows in place of the rows."""
    return {
        key: {name: {**part, "images": rows} for name, part in found.items()}
        if key in ("agents", "stills")
        else found
        for key, found in results.items()
    }


def _line(record: Record, origins: dict[str, int]) -> dict[str, Any]:
    """Return a record as one line; what it shares with others goes to `origins`, by number."""
    cell = {key: value for key, value in record.cell.as_dict().items() if value is not None}
    own = {key: cell.pop(key) for key in _OWN if key in cell}
    shared = dict(record.provenance)
    shared.pop("cell", None)
    digest = shared.pop("image", None)
    origin = json.dumps({"cell": cell, "provenance": shared, "run": record.run}, sort_keys=True)
    what = {"error": record.error} if record.row is None else record.row.as_dict()
    return {
        "origin": origins.setdefault(origin, len(origins)),
        **own,
        **what,
        "digest": digest,
        "finished": record.finished,
    }


def _compact(line: Mapping[str, Any]) -> str:
    return json.dumps(line, allow_nan=False, separators=(",", ":"))


def _in_memory(file: Path) -> Store:
    content = _content(file)
    store = Store.in_memory(file.parent)
    try:
        for run in content["runs"]:
            store.add_run(SweepRun(**run))
    except (KeyError, TypeError) as damage:
        raise DataError(f"{file} is damaged: its runs lack {damage}.") from damage
    for record in _records(file, content):
        store.add(record)
    return store


def _content(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise DataError(f"Cannot read {file}: {error.strerror}.") from error
    except ValueError as error:
        raise DataError(f"{file} is no JSON: {error}.") from error
    missing = {"rows", "runs", "origins"} - set(content if isinstance(content, dict) else ())
    if missing:
        raise DataError(f"{file} is no results.json of this version: {min(missing)!r} is missing.")
    return dict(content)


def _records(file: Path, content: Mapping[str, Any]) -> Iterator[Record]:
    """Yield the records of the rows' file, which lies beside `file`."""
    rows = file.parent / content["rows"]
    try:
        lines = rows.read_text().splitlines()
    except OSError as error:
        raise DataError(f"Cannot read {rows}: {error.strerror}; {file} needs it.") from error
    for number, line in enumerate(lines, start=1):
        try:
            yield _record(json.loads(line), content["origins"])
        except (ValueError, TypeError, KeyError, IndexError) as damage:
            raise DataError(f"{rows}, line {number} is damaged: {damage}.") from damage


def _record(values: dict[str, Any], origins: Sequence[Mapping[str, Any]]) -> Record:
    origin = origins[values.pop("origin")]
    own = {key: values.pop(key) for key in _OWN if key in values}
    cell = Cell(**origin["cell"], **own)
    digest, finished = values.pop("digest"), values.pop("finished")
    made = {"cell": cell.as_dict(), "image": digest, **origin["provenance"]}
    error = values.pop("error", None)
    return Record(
        id=identity(made),
        cell=cell,
        provenance=made,
        row=checked_row(values) if error is None else None,
        error=error,
        run=int(origin["run"]),
        finished=finished,
    )


def _numbered(path: Path, number: int) -> Path:
    return path.with_stem(f"{path.stem}-{number}")
