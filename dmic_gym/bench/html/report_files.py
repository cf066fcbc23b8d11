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

Row = Mapping[str, Any]


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


def _csv(rows: Iterator[Row]) -> bytes:
    found = list(rows)
    text = StringIO()
    columns = list(dict.fromkeys(key for row in found for key in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return text.getvalue().encode()


def _lines(section: Section) -> Iterator[tuple[str, Row]]:
    for name in (*section.results["agents"], *section.results["stills"]):
        yield name, line_of(section.results, name)


def _setting(section: Section, name: str) -> Row:
    protocol = section.results["protocol"]
    return {key: protocol[key] for key in ("data", "codec", "ctu_size", "preset")} | {"line": name}


def _bd_rows(section: Section) -> Iterator[Row]:
    """Yield a row for each line, set of base QPs and comparison."""
    headline, *others = section.results["protocol"]["qp_sets"]
    for name, line in _lines(section):
        for key in (headline, *others):
            part = line if key == headline else line.get(key)
            for measure in ("dice", *MEASURES):
                if part is not None:
                    compared = part if measure == "dice" else part[measure]
                    yield {
                        **_setting(section, name),
                        "points": key if name in section.results["agents"] else "all",
                        "measure": measure,
                        **_comparison(compared),
                        "images": section.results["protocol"]["images"],
                    }


def _comparison(compared: Row) -> Row:
    low, high = compared["ci95"] or (None, None)
    return {
        "bd_rate_percent": compared["bd_rate_percent"],
        "low": low,
        "high": high,
        "quality_from": (compared["quality_range"] or (None, None))[0],
        "quality_to": (compared["quality_range"] or (None, None))[1],
        "bd_quality": compared["bd_quality"],
        "note": compared["bd_rate_note"],
        **{
            f"minus {rival} {key}": value
            for rival, found in compared.get("against", {}).items()
            for key, value in zip(
                ("points", "low", "high"),
                (found["points"], *(found["ci95"] or (None, None))),
                strict=True,
            )
        },
    }


def _level_rows(section: Section) -> Iterator[Row]:
    """Yield a row for each line, quality and level."""
    for name, line in _lines(section):
        for quality in LEVEL_QUALITIES:
            for level, found in line["bits_at"][quality].items():
                low, high = found["ci95"] or (None, None)
                yield {
                    **_setting(section, name),
                    "quality": quality,
                    "percent_of_best": level,
                    **{key: found.get(key) for key in ("level", "bits", "percent")},
                    "low": low,
                    "high": high,
                    "note": found["note"],
                }


def _point_rows(section: Section) -> Iterator[Row]:
    """Yield a row for each line and point, with intervals of the means."""
    for name, line in _lines(section):
        bounds = {key: mean_intervals(line["images"], key) for key in LEVEL_QUALITIES}
        for n, point in enumerate(line["points"]):
            row = {**_setting(section, name), **point}
            for key in LEVEL_QUALITIES:
                row[f"{key}_low"], row[f"{key}_high"] = bounds[key][n] or (None, None)
            yield row


def _image_rows(section: Section) -> Iterator[Row]:
    """Yield a row for each line, image and point; QP maps are in the store."""
    for name, line in _lines(section):
        for image in line["images"]:
            figures = {key: value for key, value in image.items() if key != "qp_map"}
            yield {**_setting(section, name), **figures}
