"""Pictures of a benchmark run or a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from dmic_gym.bench.per_image import featured, line_of, mean_intervals
from dmic_gym.bench.protocol import ANCHOR
from dmic_gym.bench.report import Results, title
from dmic_gym.bench.style import ACCENT, INK, MUTED, Look, drawing, looks_of, quiet, short

QUALITIES: Mapping[str, str] = {
    "dice": "Dice",
    "second_dice": "Dice, 2nd network",
    "consistency_dice": "Consistency Dice",
}
"""What curves are drawn of, by key of the points."""


def draw_curves(results: Results) -> Figure:
    """Draw Dice and consistency Dice against bits, one line an agent."""
    with drawing():
        figure = Figure(figsize=(10, 4.2), layout="constrained", facecolor="white")
        for axes, key in zip(figure.subplots(1, 2), ("dice", "consistency_dice"), strict=True):
            curve_panel(axes, results, key)
        figure.axes[1].legend(loc="lower right")
        figure.suptitle(title(results["protocol"]), fontsize=10, parse_math=False)
        return figure


def curve_panel(axes: Axes, results: Results, key: str, names: Sequence[str] | None = None) -> None:
    """Draw the mean of one of `QUALITIES` against mean bits, with intervals over images.

    Anchor and featured line have a band, the others thin bars.

    Args:
        axes: where.
        results: of a benchmark run or a sweep.
        key: one of `QUALITIES`.
        names: which agents and still codecs; None draws all agents.
    """
    looks = line_looks(results)
    for name in results["agents"] if names is None else names:
        look = looks[name]
        line = line_of(results, name)
        drawn = [n for n, point in enumerate(line["points"]) if point[key] is not None]
        if drawn:
            _curve(axes, name, look, line, key, drawn)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    quiet(axes, "bits per image (mean)", f"{QUALITIES[key]} (mean)")


def line_looks(results: Results) -> dict[str, Look]:
    """Return how each agent and still codec is drawn."""
    agents, stills = list(results["agents"]), list(results.get("stills", {}))
    return looks_of(agents, stills, anchor=ANCHOR, accent=featured(results))


def _curve(
    axes: Axes, name: str, look: Look, line: Results, key: str, drawn: Sequence[int]
) -> None:
    found = mean_intervals(line["images"], key)
    points = [line["points"][n] for n in drawn]
    bits, means = [p["bits"] for p in points], [p[key] for p in points]
    style: dict[str, Any] = {"color": look.colour, "zorder": look.front}
    axes.plot(
        bits, means, ls=look.dashes, marker=look.marker, lw=look.width, label=short(name), **style
    )
    bounds = [found[n] for n in drawn]
    if None in bounds:
        return
    low, high = np.array(bounds, float).T
    if look.colour in (INK, ACCENT):
        axes.fill_between(bits, low, high, alpha=0.12, lw=0, **style)
    else:
        axes.vlines(bits, low, high, lw=0.8, alpha=0.35, **style)


def draw_scatter(results: Results) -> Figure:
    """Draw each image's bits and Dice against the anchor's at that base QP, a panel an agent."""
    agents = {name: agent for name, agent in results["agents"].items() if name != ANCHOR}
    columns = max(1, len(agents))
    with drawing():
        figure = Figure(figsize=(3.4 * columns, 3.6), layout="constrained", facecolor="white")
        panels = np.atleast_1d(figure.subplots(1, columns, sharex=True, sharey=True))
        for axes, (name, agent) in zip(panels, agents.items(), strict=False):
            _against_anchor(axes, results, agent)
            axes.set_title(short(name), fontsize=9, parse_math=False)
        panels[0].set_ylabel("Dice - anchor's Dice")
        if agents:
            panels[0].legend(fontsize=7)
        figure.suptitle(title(results["protocol"]), fontsize=10, parse_math=False)
        return figure


def _against_anchor(axes: Axes, results: Results, agent: Results) -> None:
    anchor = results["agents"][ANCHOR]["images"]
    for qp in results["protocol"]["base_qps"]:
        pairs = [
            (row["bits"] / base["bits"], row["dice"] - base["dice"])
            for row, base in zip(agent["images"], anchor, strict=True)
            if row["base_qp"] == qp and row["dice"] is not None
        ]
        axes.plot(*zip(*pairs, strict=True) if pairs else ([], []), "o", ms=3, label=f"QP {qp}")
    axes.axhline(0, color=MUTED, lw=0.8)
    axes.axvline(1, color=MUTED, lw=0.8)
    quiet(axes, "bits / anchor's bits", "")
