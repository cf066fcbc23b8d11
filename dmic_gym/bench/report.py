"""Tables of a benchmark run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

Results = Mapping[str, Any]


def tables(results: Results) -> list[Table]:
    """Return tables of BD-rates for each QP set and for still codecs, and of the points."""
    headline, *others = results["protocol"]["qp_sets"]
    agents = results["agents"]
    return [
        _bd_table(results, _qps(results, headline), agents),
        *(
            _bd_table(results, _qps(results, key), {name: agents[name][key] for name in agents})
            for key in others
        ),
        _points_table(results),
        *(_still_tables(results, results["stills"]) if results.get("stills") else []),
        _cost_table(results),
    ]


def _qps(results: Results, qp_set: str) -> str:
    return "QP " + "-".join(str(qp) for qp in results["protocol"]["qp_sets"][qp_set])


def _bd_table(results: Results, what: str, compared: Mapping[str, Results]) -> Table:
    heading = f"BD-rate, {title(results['protocol'])}, {what}"
    made = Table(title=escape(heading), caption="with 95 % intervals over images")
    made.add_column("agent")
    columns = {"Dice": None, "consistency Dice": "consistency"}
    if results["protocol"]["second_segmenter"] is not None:
        columns["Dice, 2nd network"] = "second"
    for heading in columns:
        made.add_column(heading, justify="right")
    for name, agent in compared.items():
        made.add_row(escape(name), *(_bd_cell(agent, key) for key in columns.values()))
    return made


def _bd_cell(agent: Results, key: str | None) -> str:
    comparison = agent if key is None else agent[key]
    return f"{percent(comparison['bd_rate_percent'])}\n{interval(comparison['ci95'])}"


def _points_table(results: Results) -> Table:
    made = Table(caption="bits and Dice per image, means")
    made.add_column("agent")
    for qp in results["protocol"]["base_qps"]:
        made.add_column(f"QP {qp}", justify="right")
    for name, agent in results["agents"].items():
        made.add_row(escape(name), *(_point(point) for point in agent["points"]))
    return made


def _still_tables(results: Results, stills: Mapping[str, Results]) -> list[Table]:
    made = Table(caption="quality setting, bits and Dice per image, means")
    made.add_column("codec")
    for _ in range(max(len(still["points"]) for still in stills.values())):
        made.add_column("", justify="right")
    for name, still in stills.items():
        cells = (f"{point['base_qp']}\n{_point(point)}" for point in still["points"])
        made.add_row(escape(name), *cells)
    return [_bd_table(results, "still codecs against the anchor", stills), made]


def _cost_table(results: Results) -> Table:
    made = Table()
    made.add_column("agent")
    made.add_column("encodes/image", justify="right")
    made.add_column("s/image", justify="right")
    for name, agent in results["agents"].items():
        encodes, seconds = _mean(agent, "encodes"), _mean(agent, "seconds")
        made.add_row(escape(name), f"{encodes:.0f}", f"{seconds:.3f}")
    return made


def notes(results: Results) -> list[str]:
    """Return what has to be known to read the table."""
    protocol = results["protocol"]
    lines = [
        f"{name}: {agent['bd_rate_note']}"
        for name, agent in results["agents"].items()
        if agent["bd_rate_note"]
    ]
    if protocol["left_out_empty_mask"]:
        left_out = ", ".join(protocol["left_out_empty_mask"])
        lines.append(f"left out, expert mask empty: {left_out}")
    lines += [f"failed, left out: {name}: {why}" for name, why in results["failed"].items()]
    return lines


def percent(value: float | None) -> str:
    """Format a BD-rate; one that is undefined reads so."""
    return "undefined" if value is None else f"{value:+.2f} %"


def interval(bounds: list[float] | None) -> str:
    """Format an interval; none is a dash."""
    return "-" if bounds is None else f"{bounds[0]:+.1f} .. {bounds[1]:+.1f}"


def title(protocol: Results) -> str:
    """Return what was coded, in one line."""
    return (
        f"{protocol['data']}: {protocol['images']} images, CTU {protocol['ctu_size']}, "
        f"x265 {protocol['preset']}"
    )


def _point(point: Results) -> str:
    dice = "-" if point["dice"] is None else f"{point['dice']:.3f}"
    return f"{point['bits']:.0f}\n{dice}"


def _mean(agent: Results, key: str) -> float:
    return sum(float(point[key]) for point in agent["points"]) / len(agent["points"])
