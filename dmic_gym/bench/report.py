"""Tables, pictures and files of a benchmark run."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.markup import escape
from rich.table import Table

from dmic_gym.errors import DataError

Results = Mapping[str, Any]


def tables(results: Results) -> list[Table]:
    """Return a table of BD-rates for each QP set, and the operating points."""
    headline, *others = results["protocol"]["qp_sets"]
    agents = results["agents"]
    return [
        _bd_table(results, headline, agents),
        *(_bd_table(results, key, {n: agents[n][key] for n in agents}) for key in others),
        _points_table(results),
        _cost_table(results),
    ]


def _bd_table(results: Results, qp_set: str, compared: Mapping[str, Results]) -> Table:
    qps = "-".join(str(qp) for qp in results["protocol"]["qp_sets"][qp_set])
    made = Table(title=escape(f"BD-rate, {_title(results['protocol'])}, QP {qps}"))
    made.add_column("agent")
    columns = {"Dice": None, "consistency": "consistency"}
    if results["protocol"]["second_segmenter"] is not None:
        columns["2nd network"] = "second"
    for heading in columns:
        made.add_column(heading, justify="right")
        made.add_column("95 % interval", justify="right")
    for name, agent in compared.items():
        made.add_row(
            escape(name), *(cell for key in columns.values() for cell in _bd_cells(agent, key))
        )
    return made


def _bd_cells(agent: Results, key: str | None) -> tuple[str, str]:
    comparison = agent if key is None else agent[key]
    return percent(comparison["bd_rate_percent"]), interval(comparison["ci95"])


def _points_table(results: Results) -> Table:
    made = Table(caption="bits and Dice per image, means")
    made.add_column("agent")
    for qp in results["protocol"]["base_qps"]:
        made.add_column(f"QP {qp}", justify="right")
    for name, agent in results["agents"].items():
        made.add_row(escape(name), *(_point(point) for point in agent["points"]))
    return made


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


def draw_curves(results: Results) -> Figure:
    """Draw Dice and consistency Dice against bits, one line an agent."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    panels = ((left, "dice", "Dice"), (right, "consistency_dice", "consistency Dice"))
    for axes, key, label in panels:
        for name, agent in results["agents"].items():
            drawn = [point for point in agent["points"] if point[key] is not None]
            axes.plot([p["bits"] for p in drawn], [p[key] for p in drawn], "o-", ms=4, label=name)
        axes.set_xscale("log")
        axes.set_xlabel("bits per image (mean)")
        axes.set_ylabel(f"{label} (mean)")
        axes.grid(alpha=0.3, which="both")
    left.legend()
    figure.suptitle(_title(results["protocol"]), fontsize=10, parse_math=False)
    return figure


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
    """Write ``results.json`` and ``rd-curves.png``; earlier ones are kept under a number.

    Raises:
        DataError: the folder cannot be written.
    """
    text = json.dumps(results, indent=1, allow_nan=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        keep_previous([folder / "results.json", folder / "rd-curves.png"])
        write_atomically(folder / "results.json", text.encode())
        picture = folder / "rd-curves.png"
        draw_curves(results).savefig(picture, dpi=120)
    except OSError as error:
        raise DataError(f"Cannot write into {folder}: {error}") from error
    return [folder / "results.json", picture]


def keep_previous(paths: list[Path]) -> None:
    """Rename existing files to ``NAME-1.EXT``, ``NAME-2.EXT``...: the same number for all."""
    existing = [path for path in paths if path.exists()]
    number = 1
    while any(_numbered(path, number).exists() for path in existing):
        number += 1
    for path in existing:
        path.rename(_numbered(path, number))


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that its name never stands for half of it."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as temporary:
        temporary.write(data)
        temporary.flush()
        os.fsync(temporary.fileno())
    Path(temporary.name).replace(path)


def _numbered(path: Path, number: int) -> Path:
    return path.with_stem(f"{path.stem}-{number}")


def _title(protocol: Results) -> str:
    return (
        f"{protocol['data']}: {protocol['images']} images, CTU {protocol['ctu_size']}, "
        f"x265 {protocol['preset']}"
    )


def _point(point: Results) -> str:
    dice = "-" if point["dice"] is None else f"{point['dice']:.3f}"
    return f"{point['bits']:.0f}\n{dice}"


def _mean(agent: Results, key: str) -> float:
    return sum(float(point[key]) for point in agent["points"]) / len(agent["points"])
