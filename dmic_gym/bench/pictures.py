"""Pictures of a benchmark run."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from dmic_gym.bench.report import Results, title


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
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("bits per image (mean)")
        axes.set_ylabel(f"{label} (mean)")
        axes.grid(alpha=0.3, which="both")
    left.legend()
    figure.suptitle(title(results["protocol"]), fontsize=10, parse_math=False)
    return figure


def draw_scatter(results: Results) -> Figure:
    """Draw each image's bits and Dice against the anchor's at that base QP, a panel an agent."""
    agents = {name: agent for name, agent in results["agents"].items() if name != "anchor"}
    figure = Figure(figsize=(3.4 * max(1, len(agents)), 3.6), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, max(1, len(agents)), sharex=True, sharey=True))
    anchor = results["agents"]["anchor"]["images"]
    for axes, (name, agent) in zip(panels, agents.items(), strict=False):
        for qp in results["protocol"]["base_qps"]:
            pairs = [
                (row["bits"] / base["bits"], row["dice"] - base["dice"])
                for row, base in zip(agent["images"], anchor, strict=True)
                if row["base_qp"] == qp and row["dice"] is not None
            ]
            axes.plot(*zip(*pairs, strict=True) if pairs else ([], []), "o", ms=3, label=f"QP {qp}")
        axes.axhline(0, color="black", lw=0.5)
        axes.axvline(1, color="black", lw=0.5)
        axes.set_title(name, fontsize=9, parse_math=False)
        axes.set_xlabel("bits / anchor's bits")
    panels[0].set_ylabel("Dice - anchor's Dice")
    if agents:
        panels[0].legend(fontsize=7)
    figure.suptitle(title(results["protocol"]), fontsize=10, parse_math=False)
    return figure
