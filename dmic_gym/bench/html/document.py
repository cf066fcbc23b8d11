"""A report before it is written: sections of figures, tables and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dmic_gym.bench.charts import Chart, bd_chart, curve_charts, saving_chart
from dmic_gym.bench.datasets import mask_of
from dmic_gym.bench.html.origin import Origin, origin_of
from dmic_gym.bench.html.report_data import Coverage, ReportData
from dmic_gym.bench.html.strips import Strip, make_strips
from dmic_gym.bench.per_image import featured, line_of
from dmic_gym.bench.protocol import LEVELS, METRIC, Results
from dmic_gym.bench.tables import (
    Entry,
    Table,
    bd_tables,
    cost_table,
    interval,
    notes,
    point_tables,
    qps_of,
    signed,
    title,
)


@dataclass(frozen=True)
class Headline:
    """The one figure that a reader should take away.

    Attributes:
        figure: such as ``"-31.4 %"``.
        words: what it says.
        detail: interval, points and range of quality.
        certain: whether there is an interval and it does not hold 0; else the figure is muted.
    """

    figure: str
    words: str
    detail: Sequence[str]
    certain: bool


@dataclass(frozen=True, eq=False)
class Section:
    """One data set and HEVC encoder.

    Attributes:
        key: of its files and ids, such as ``"1"``.
        title: data set, images and encoder.
        headline: None where no line has a BD-rate.
        results: as `results_of` makes them.
        charts: figures.
        bd: tables of BD-rates.
        cost: encodes and time.
        points: tables of operating points.
        strips: pictures.
        notes: what has to be known to read it.
    """

    key: str
    title: str
    headline: Headline | None
    results: Results
    charts: Sequence[Chart]
    bd: Sequence[Table]
    cost: Table
    points: Sequence[Table]
    strips: Sequence[Strip]
    notes: Sequence[str]


@dataclass(frozen=True, eq=False)
class Document:
    """A whole report.

    Attributes:
        sections: by data set and encoder.
        done: planned cells with a result.
        planned: cells of the sweep's definition.
        missing: by line what is not done; None where all is.
        failures: the first few failed cells, with why.
        warnings: what a reader has to know before trusting a figure.
        origin: commands, versions, weights and encoders.
    """

    sections: Sequence[Section]
    done: int
    planned: int
    missing: Table | None
    failures: Sequence[str]
    warnings: Sequence[str]
    origin: Origin
    title: str = "Bits at equal diagnosis"


_FAILURES_SHOWN = 8


def make_document(data: ReportData, *, pictures: bool = True) -> Document:
    """Draw and tabulate a run.

    Args:
        data: the store, read.
        pictures: whether to show images; without them the report holds no pixel of the data.
    """
    left = data.incomplete
    failures = [f"{record.cell}: {record.error}" for record in data.failures]
    if len(failures) > _FAILURES_SHOWN:
        more = len(failures) - _FAILURES_SHOWN
        failures = [*failures[:_FAILURES_SHOWN], f"and {more} more"]
    return Document(
        sections=[
            _section(str(n), results, data, pictures)
            for n, results in enumerate(data.results, start=1)
        ],
        done=data.done,
        planned=data.planned,
        missing=coverage_table(left) if left else None,
        failures=failures,
        warnings=[*data.warnings, *_without_anchor(data)],
        origin=origin_of(data),
    )


def _without_anchor(data: ReportData) -> list[str]:
    if data.results:
        return []
    return ["No image has been coded by the anchor at every base QP yet: nothing to compare."]


def _section(key: str, results: Results, data: ReportData, pictures: bool) -> Section:
    areas = {
        name: 100 * float(mask.mean())
        for (spec, name), source in data.sources.items()
        if spec == results["protocol"]["data"] and (mask := mask_of(source)) is not None
    }
    strips, absent = make_strips(results, data.records, data.sources) if pictures else ([], [])
    saving = saving_chart(results, areas)
    compared = len(results["agents"]) + len(results["stills"]) > 1
    return Section(
        key=key,
        title=title(results),
        headline=_headline(results),
        results=results,
        charts=[
            *curve_charts(results),
            *([bd_chart(results)] if compared else []),
            *([] if saving is None else [saving]),
        ],
        bd=bd_tables(results),
        cost=cost_table(results),
        points=point_tables(results),
        strips=strips,
        notes=[*notes(results), *absent],
    )


def _headline(results: Results) -> Headline | None:
    name = featured(results)
    part = {} if name is None else line_of(results, name)
    rate = part.get("bd_rate_percent")
    if name is None or rate is None:
        return None
    set_name = next(iter(results["protocol"]["qp_sets"]))
    where = qps_of(results, set_name) if name in results["agents"] else "all points"
    low, high = part["quality_range"]
    bounds = part["ci95"]
    certain = bounds is not None and not bounds[0] <= 0 <= bounds[1]
    detail = [
        *([] if bounds is None else [f"95 % interval {interval(bounds)} %"]),
        *([] if certain else ["not told apart from 0"]),
        f"{where}, over a {METRIC} of {low:.3f} to {high:.3f}",
        *([part["bd_rate_note"]] if part["bd_rate_note"] else []),
        *_at_level(part),
    ]
    words = f"bits of {name} against the anchor at equal {METRIC}"
    return Headline(f"{signed(rate)} %", words, detail, certain)


def _at_level(part: Results) -> list[str]:
    level = LEVELS[1]
    found = part["bits_at"]["dice"][str(level)]
    if found["percent"] is None:
        return []
    bounds = f" ({interval(found['ci95'])})" if found["ci95"] else ""
    return [f"{signed(found['percent'])} %{bounds} bits at {level} % of the anchor's best {METRIC}"]


def coverage_table(lines: Sequence[Coverage]) -> Table:
    """Return how many cells of each line are done."""
    rows = [
        [
            Entry(line.line, line.encoder if line.encoder != line.line else ""),
            Entry(f"{line.done:,}"),
            Entry(f"{line.failed:,}"),
            Entry(f"{line.planned - line.done - line.failed:,}"),
        ]
        for line in lines
    ]
    columns = ["Line", "Done", "Failed", "Not coded yet"]
    return Table("What is missing", "Cells: one image at one point.", columns, rows)
