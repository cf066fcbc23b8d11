"""``results.json``: protocol, BD-rates and means, short; the rows lie beside it (see `Store`)."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dmic_gym.bench.lines import lines_of
from dmic_gym.bench.results import Encoder
from dmic_gym.bench.store import ROWS, Store
from dmic_gym.errors import DataError
from dmic_gym.io import write_atomically

RESULTS = "results.json"


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


def save_results(results: Sequence[Mapping[str, Any]], folder: Path) -> Path:
    """Write ``results.json`` beside the rows of a store, whose name stands in place of the rows.

    Args:
        results: as `results_of` makes them; the first stands at the top, others under ``more``.
        folder: of the store.

    Raises:
        DataError: the folder cannot be written.
    """
    first, *more = [_short(one) for one in results] or [{}]
    content = {**first, "more": more, "rows": ROWS}
    path = folder / RESULTS
    write_atomically(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
    return path


def _short(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return results with the names of the compared images, and of their rows only the file."""
    parts = [*results["agents"].values(), *results["stills"].values()]
    names = sorted({row["name"] for part in parts for row in part["images"]})
    short = {
        key: {name: {**part, "images": ROWS} for name, part in found.items()}
        if key in ("agents", "stills")
        else found
        for key, found in results.items()
    }
    return {**short, "names": names}


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


def _numbered(path: Path, number: int) -> Path:
    return path.with_stem(f"{path.stem}-{number}")


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
    with Store.open(file) as store:
        records = store.records()
    content = json.loads(file.read_bytes())
    found = [{key: value for key, value in content.items() if key not in ("more", "rows")}]
    found = [one for one in [*found, *content["more"]] if one]
    for one in found:
        encoder = Encoder.of_protocol(one["protocol"])
        stills = [r for r in records if r.cell.is_still and r.cell.data == encoder.data]
        qps = one["protocol"]["base_qps"]
        coded = [r for r in records if Encoder.of(r.cell) == encoder and r.cell.base_qp in qps]
        lines = lines_of([*stills, *coded])
        names = one.pop("names", None)  # a store may hold more images, of an earlier run
        for name, part in (one["agents"] | one["stills"]).items():
            line = lines[name]
            images = set(line.images if names is None else names) - set(one["failed"])
            part["images"] = line.only(images).as_dicts()
    return found
