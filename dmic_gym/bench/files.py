"""Files of a benchmark run."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from dmic_gym.bench.pictures import draw_curves, draw_scatter
from dmic_gym.bench.report import Results
from dmic_gym.bench.style import png
from dmic_gym.errors import DataError
from dmic_gym.io import write_atomically

PICTURES = {"rd-curves.png": draw_curves, "per-image.png": draw_scatter}


def check_folder(folder: Path) -> None:
    """Make the folder for `save`, so that a long run does not end in a surprise.

    Raises:
        DataError: files cannot be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DataError(f"Cannot write into {folder}: {error}. Pass another --out.") from error


def save(results: Results, folder: Path) -> list[Path]:
    """Write ``results.json`` and two pictures; earlier ones are kept under a number.

    Raises:
        DataError: the folder cannot be written.
    """
    text = json.dumps(results, indent=1, allow_nan=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = [folder / name for name in ("results.json", *PICTURES)]
        keep_previous(written)
        write_atomically(written[0], text.encode())
        for name, draw in PICTURES.items():
            write_atomically(folder / name, png(draw(results), dpi=120))
    except OSError as error:
        raise DataError(f"Cannot write into {folder}: {error}") from error
    return written


def keep_previous(paths: list[Path]) -> None:
    """Rename existing files to ``NAME-1.EXT``, ``NAME-2.EXT``...: the same number for all."""
    existing = [path for path in paths if path.exists()]
    number = 1
    while any(_numbered(path, number).exists() for path in existing):
        number += 1
    for path in existing:
        path.rename(_numbered(path, number))


def _numbered(path: Path, number: int) -> Path:
    return path.with_stem(f"{path.stem}-{number}")
