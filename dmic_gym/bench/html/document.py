"""A report before it is written: sections of figures, tables and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dmic_gym.bench import report
from dmic_gym.bench.html.charts import Chart, bd_chart, curve_charts, saving_chart
from dmic_gym.bench.html.origin import Origin, origin_of
from dmic_gym.bench.html.strips import Strip, make_strips
from dmic_gym.bench.html.study import Study, encoder_name
from dmic_gym.bench.html.tables import (
    Table,
    bd_tables,
    cost_table,
    coverage_table,
    point_tables,
    signed,
)
from dmic_gym.bench.per_image import featured, line_of

Results = Mapping[str, Any]


@dataclass(frozen=True)
class Headline:
    """The one figure that a reader should take away.

    Attributes:
        figure: such as ``"-31.4 %"``.
        words: what it says.
        detail: interval, images and QPs.
    """

    figure: str
    words: str
    detail: str


@dataclass(frozen=True, eq=False)
class Section:
    """One data set and HEVC encoder.

    Attributes:
        key: of its files and ids, such as ``"1"``.
        title: data set.
        subtitle: images and encoder.
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
    subtitle: str
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
    title: str = field(default="Bits at equal diagnosis")


_FAILURES_SHOWN = 8


def make_document(study: Study, *, pictures: bool = True) -> Document:
    """Draw and tabulate a study.

    Args:
        study: the store, read.
        pictures: whether to show images; without them the report holds no pixel of the data.
    """
    left = study.incomplete
    failures = [f"{record.cell}: {record.error}" for record in study.failures]
    if len(failures) > _FAILURES_SHOWN:
        more = len(failures) - _FAILURES_SHOWN
        failures = [*failures[:_FAILURES_SHOWN], f"and {more} more"]
    return Document(
        sections=[
            _section(str(n), results, study, pictures)
            for n, results in enumerate(study.results, start=1)
        ],
        done=study.done,
        planned=study.planned,
        missing=coverage_table(left) if left else None,
        failures=failures,
        warnings=[*study.warnings, *_without_anchor(study)],
        origin=origin_of(study),
    )


def _without_anchor(study: Study) -> list[str]:
    if study.results:
        return []
    return ["No image has been coded by the anchor at every base QP yet: nothing to compare."]


def _section(key: str, results: Results, study: Study, pictures: bool) -> Section:
    protocol = results["protocol"]
    areas = {
        name: 100 * float(sample.mask.mean())
        for (data, name), sample in study.samples.items()
        if data == protocol["data"] and sample.mask is not None
    }
    strips, absent = make_strips(results, study.records, study.samples) if pictures else ([], [])
    saving = saving_chart(results, areas)
    bd = bd_tables(results)
    return Section(
        key=key,
        title=protocol["data"],
        subtitle=f"{_count(protocol['images'], 'image')}, {_encoder(protocol)}",
        headline=_headline(results),
        results=results,
        charts=[*curve_charts(results), *([bd_chart(results)] if bd else []), *_some(saving)],
        bd=bd,
        cost=cost_table(results),
        points=point_tables(results),
        strips=strips,
        notes=[*_still_notes(results), *report.notes(results), *absent],
    )


def _some(chart: Chart | None) -> list[Chart]:
    return [] if chart is None else [chart]


def _encoder(protocol: Results) -> str:
    return encoder_name(protocol["codec"], protocol["ctu_size"], protocol["preset"])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _still_notes(results: Results) -> list[str]:
    return [
        f"{name}: {part['bd_rate_note']}"
        for name, part in results.get("stills", {}).items()
        if part["bd_rate_note"]
    ]


def _headline(results: Results) -> Headline | None:
    name = featured(results)
    part = {} if name is None else line_of(results, name)
    rate = part.get("bd_rate_percent")
    if rate is None:
        return None
    qps = next(iter(results["protocol"]["qp_sets"].values()))
    where = f"QP {', '.join(str(qp) for qp in qps)}" if name in results["agents"] else "all points"
    words = f"bits of {name} against the anchor at equal Dice"
    return Headline(f"{signed(rate)} %", words, "; ".join([_certainty(part), where]))


def _certainty(part: Results) -> str:
    bounds = part["ci95"]
    if bounds is None:
        return "no interval"
    said = f"95 % interval {signed(bounds[0])} to {signed(bounds[1])} %"
    return f"{said}, not told apart from 0" if bounds[0] <= 0 <= bounds[1] else said
