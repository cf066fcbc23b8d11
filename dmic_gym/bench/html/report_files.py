"""Files of a report."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from dmic_gym.bench.html.document import Document, Section
from dmic_gym.bench.html.page import html, markdown
from dmic_gym.bench.per_image import line_of, mean_intervals
from dmic_gym.bench.summary import LEVEL_QUALITIES, MEASURES
from dmic_gym.errors import DataError
from dmic_gym.io import write_atomically

Columns = Mapping[str, Any]

_COMPARED = ("bd_rate_percent", "ci95", "quality_range", "bd_quality", "bd_rate_note", "against")
_INTERVALS = {"ci95": ("low", "high"), "quality_range": ("quality_from", "quality_to")}


def save_report(document: Document, folder: Path) -> list[Path]:
    """Write ``report.html``, ``report.md``, four CSV tables, and each figure as PNG.

    Files of an earlier report are replaced.

    Raises:
        DataError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [_write(folder / name, data) for name, data in _files(document)]
    except OSError as error:
        raise DataError(f"Cannot write into {folder}: {error}. Pass another --out.") from error


def _files(document: Document) -> Iterator[tuple[str, bytes]]:
    yield "report.html", html(document).encode()
    yield "report.md", markdown(document).encode()
    sections = document.sections
    yield "bd-rates.csv", _csv(row for section in sections for row in _bd_rows(section))
    yield "bits-at.csv", _csv(row for section in sections for row in _level_rows(section))
    yield "points.csv", _csv(row for section in sections for row in _point_rows(section))
    yield "images.csv", _csv(row for section in sections for row in _image_rows(section))
    for section in sections:
        for chart in section.charts:
            yield f"{chart.name}-{section.key}.png", chart.png
        for strip in section.strips:
            yield f"strip-{strip.place}-{section.key}.png", strip.png


def _write(path: Path, data: bytes) -> Path:
    write_atomically(path, data)
    return path


def _csv(rows: Iterator[Columns]) -> bytes:
    found = list(rows)
    text = StringIO()
    columns = list(dict.fromkeys(key for row in found for key in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return text.getvalue().encode()


def _lines(section: Section) -> Iterator[tuple[str, Columns]]:
    for name in (*section.results["agents"], *section.results["stills"]):
        yield name, line_of(section.results, name)


def _setting(section: Section, name: str) -> Columns:
    protocol = section.results["protocol"]
    return {key: protocol[key] for key in ("data", "codec", "ctu_size", "preset")} | {"line": name}


def _bd_rows(section: Section) -> Iterator[Columns]:
    """Yield a row for each line, set of base QPs and comparison."""
    headline, *others = section.results["protocol"]["qp_sets"]
    for name, line in _lines(section):
        sets = {headline: line} | {key: line[key] for key in others if key in line}
        for key, part in sets.items():
            for measure in ("dice", *MEASURES):
                compared = part if measure == "dice" else part[measure]
                yield {
                    **_setting(section, name),
                    "points": key if name in section.results["agents"] else "all",
                    "measure": measure,
                    **_flat({key: compared[key] for key in compared if key in _COMPARED}),
                    "images": section.results["protocol"]["images"],
                }


def _level_rows(section: Section) -> Iterator[Columns]:
    """Yield a row for each line, quality and level."""
    for name, line in _lines(section):
        for quality in LEVEL_QUALITIES:
            for share, found in line["bits_at"][quality].items():
                what = {"quality": quality, "percent_of_best": share}
                yield {**_setting(section, name), **what, **_flat(found)}


def _flat(part: Columns, prefix: str = "") -> dict[str, Any]:
    """Return nested figures as columns; an interval becomes two."""
    found: dict[str, Any] = {}
    for key, value in part.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key} ")
        elif key in _INTERVALS:
            low, high = value or (None, None)
            found |= {
                f"{prefix}{name}": v for name, v in zip(_INTERVALS[key], (low, high), strict=True)
            }
        else:
            found[f"{prefix}{key}"] = value
    return found


def _point_rows(section: Section) -> Iterator[Columns]:
    """Yield a row for each line and point, with intervals of the means."""
    for name, line in _lines(section):
        bounds = {key: mean_intervals(line["images"], key) for key in LEVEL_QUALITIES}
        for n, point in enumerate(line["points"]):
            row = {**_setting(section, name), **point}
            for key in LEVEL_QUALITIES:
                row[f"{key}_low"], row[f"{key}_high"] = bounds[key][n] or (None, None)
            yield row


def _image_rows(section: Section) -> Iterator[Columns]:
    """Yield a row for each line, image and point; QP maps are in the store."""
    for name, line in _lines(section):
        for image in line["images"]:
            figures = {key: value for key, value in image.items() if key != "qp_map"}
            yield {**_setting(section, name), **figures}
