"""Tables of a report, for HTML and Markdown alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dmic_gym.bench.html.study import Coverage
from dmic_gym.bench.per_image import UNUSABLE, featured
from dmic_gym.bench.protocol import ANCHOR

Results = Mapping[str, Any]
Lines = Mapping[str, Results]

_MEASURES = {
    "Dice": None,
    "Dice, 2nd network": "second",
    "Consistency": "consistency",
    "Dice, payload": "slices",
}
"""Columns of BD-rates, and the key of each comparison (None: the headline itself)."""


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: in full.
        detail: below it and smaller.
        tone: ``"gain"``, ``"none"`` (undefined) or nothing.
    """

    text: str
    detail: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        heading: what it is.
        note: how to read it.
        columns: headings; the first column names the row, the others are numbers.
        rows: of equal length.
        accent: the first cell of the row to be set apart.
    """

    heading: str
    note: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    accent: str | None = None


def bd_tables(results: Results) -> list[Table]:
    """Return a table of BD-rates for each set of base QPs, and one of still codecs."""
    headline, *others = results["protocol"]["qp_sets"]
    agents, stills = results["agents"], results.get("stills", {})
    sets = {_heading(results, headline): agents}
    sets |= {_heading(results, key): {name: agents[name][key] for name in agents} for key in others}
    columns = {
        title: key
        for title, key in _MEASURES.items()
        if key != "second" or results["protocol"].get("second_segmenter") is not None
    }
    tables = [_bd_table(heading, "Agent", lines, columns) for heading, lines in sets.items()]
    tables.append(_bd_table("Constant quality, all points", "Codec", stills, columns))
    accent = featured(results)
    return [replace(table, accent=accent) for table in tables if table.rows]


def _heading(results: Results, qp_set: str) -> str:
    return "QP " + ", ".join(str(qp) for qp in results["protocol"]["qp_sets"][qp_set])


def _bd_table(heading: str, kind: str, lines: Lines, columns: Mapping[str, str | None]) -> Table:
    rows = [
        [_name(name), *(bd_cell(_part(part, key)) for key in columns.values())]
        for name, part in lines.items()
        if name != ANCHOR
    ]
    note = "BD-rate against the anchor, negative saves bits; below, 95 % intervals over images."
    return Table(heading, note, [kind, *columns], rows)


def _part(line: Results, key: str | None) -> Results:
    found: Results = line if key is None else line[key]
    return found


def _name(name: str) -> Cell:
    return Cell(name, "knows the expert mask" if name.startswith(UNUSABLE) else "")


def bd_cell(part: Results) -> Cell:
    """Return a BD-rate with its interval; a gain is one whose interval lies below 0."""
    if part["bd_rate_percent"] is None:
        return Cell("undefined", "", "none")
    bounds = part["ci95"]
    tone = "gain" if bounds is not None and bounds[1] < 0 else ""
    detail = "" if bounds is None else f"{signed(bounds[0])} to {signed(bounds[1])}"
    return Cell(f"{signed(part['bd_rate_percent'])} %", detail, tone)


def signed(value: float) -> str:
    """Format with one decimal and a true minus sign."""
    return f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")


def point_tables(results: Results) -> list[Table]:
    """Return bits and qualities at each operating point, one table for agents, one for stills."""
    stills = results.get("stills", {})
    tables = [_point_table("Operating points of the agents", "QP", results["agents"])]
    if stills:
        tables.append(_point_table("Operating points of other codecs", "quality", stills))
    return tables


def _point_table(heading: str, setting: str, lines: Lines) -> Table:
    columns = ["Line", "Bits", "Payload bits", "Dice", "2nd network", "Consistency", "PSNR, dB"]
    rows = [
        [Cell(name, f"{setting} {point['base_qp']}"), *_figures(point)]
        for name, part in lines.items()
        for point in part["points"]
    ]
    return Table(heading, "Means over images.", columns, rows)


def _figures(point: Results) -> Iterator[Cell]:
    yield from (Cell(f"{point[key]:,.0f}") for key in ("bits", "slice_bits"))
    for key in ("dice", "second_dice", "consistency_dice"):
        yield Cell("-", "", "none") if point[key] is None else Cell(f"{point[key]:.4f}")
    yield Cell(f"{point['psnr']:.2f}")


def cost_table(results: Results) -> Table:
    """Return encodes and time per image, means over images and base QPs."""
    lines = results["agents"] | results.get("stills", {})
    rows = [
        [Cell(name), Cell(f"{_mean(part, 'encodes'):,.0f}"), Cell(f"{_mean(part, 'seconds'):.3f}")]
        for name, part in lines.items()
    ]
    note = (
        "Wall time of deciding, coding, decoding and segmenting one image at one point, on "
        "machines that may have been busy with other cells."
    )
    return Table(
        "Means over images and points",
        note,
        ["Line", "Encodes per image", "Seconds per image"],
        rows,
    )


def _mean(line: Results, key: str) -> float:
    return sum(float(point[key]) for point in line["points"]) / len(line["points"])


def coverage_table(lines: Sequence[Coverage]) -> Table:
    """Return how many cells of each line are done."""
    rows = [
        [
            Cell(line.line, line.encoder if line.encoder != line.line else ""),
            Cell(f"{line.done:,}"),
            Cell(f"{line.failed:,}"),
            Cell(f"{line.planned - line.done - line.failed:,}"),
        ]
        for line in lines
    ]
    columns = ["Line", "Done", "Failed", "Not coded yet"]
    return Table("What is missing", "Cells: one image at one point.", columns, rows)
