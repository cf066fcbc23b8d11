"""Draw what encodes and time buy: BD-rate over both, one line a way to spend them.

    dmic sweep benchmarks/frontier.toml --out runs/frontier
    python benchmarks/frontier.py runs/frontier --out benchmarks/results/frontier/frontier

Writes OUT.png and OUT.md. ``NAME:N`` and ``NAME+refine:N`` of several N are one line; agents
without a budget are points, and the point that a line of ``+refine`` or ``+sample`` begins with.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from measure.common import markdown

from dmic_gym.bench.protocol import ANCHOR, METRIC, Results
from dmic_gym.bench.results_files import RESULTS
from dmic_gym.bench.style import INK, Look, drawing, log_ticks, looks_of, png, quiet
from dmic_gym.bench.tables import qps_of, title

COSTS = {"encodes": "encodes an image", "seconds": "processor seconds an image"}
_BUDGET = re.compile(r"(?P<way>.+):(?P<budget>\d+)")


@dataclass(frozen=True)
class Spent:
    """What an agent costs and saves.

    Attributes:
        agent: its spec.
        encodes: mean over images and base QPs.
        seconds: the same, processor time.
        percent: BD-rate on Dice over the headline QPs.
        interval: 95 %, or None.
    """

    agent: str
    encodes: float
    seconds: float
    percent: float
    interval: tuple[float, float] | None


def spent(results: Results) -> list[Spent]:
    """Return every agent that has a BD-rate, the cheapest first."""
    headline = set(results["protocol"]["base_qps"])
    found = []
    for agent, part in results["agents"].items():
        points = [point for point in part["points"] if point["base_qp"] in headline]
        if agent != ANCHOR and part["bd_rate_percent"] is not None:
            encodes, seconds = (sum(p[cost] for p in points) / len(points) for cost in COSTS)
            found.append(Spent(agent, encodes, seconds, part["bd_rate_percent"], part["ci95"]))
    return sorted(found, key=lambda one: one.encodes)


def ways(agents: Sequence[Spent]) -> Mapping[str, list[Spent]]:
    """Sort agents with a budget into lines, each from the agent that it begins with."""
    known = {one.agent: one for one in agents}
    lines: dict[str, list[Spent]] = defaultdict(list)
    for one in agents:
        if (budget := _BUDGET.fullmatch(one.agent)) is None:
            continue
        way = budget["way"]
        start = known.get(way.rpartition("+")[0])
        lines[way] = [*(lines[way] or ([start] if start else [])), one]
    return lines


def draw(results: Results) -> Figure:
    """Return BD-rate over encodes and over time, side by side."""
    agents = spent(results)
    lines = ways(agents)
    looks = looks_of([ANCHOR, *lines], anchor=ANCHOR, accent=next(iter(lines), None))
    with drawing():
        figure = Figure(figsize=(10, 4.2), layout="constrained", facecolor="white")
        for axes, cost in zip(figure.subplots(1, 2, sharey=True), COSTS, strict=True):
            _panel(axes, agents, lines, looks, cost)
        figure.axes[0].set_ylabel(f"BD-rate on {METRIC}, %")
        figure.axes[0].legend(loc="upper right", bbox_to_anchor=(1.0, 0.93))  # below the zero
        figure.suptitle(_title(results), fontsize=10, parse_math=False)
        return figure


def _title(results: Results) -> str:
    headline = next(iter(results["protocol"]["qp_sets"]))
    return f"{title(results)}, {qps_of(results, headline)}"


def _panel(
    axes: Axes,
    agents: Sequence[Spent],
    lines: Mapping[str, list[Spent]],
    looks: Mapping[str, Look],
    cost: str,
) -> None:
    for way, line in lines.items():
        look, spending = looks[way], [getattr(one, cost) for one in line]
        saved = [one.percent for one in line]
        axes.plot(spending, saved, look.marker + "-", color=look.colour, label=way)
        for x, one in zip(spending, line, strict=True):
            if one.interval is not None:
                axes.vlines(x, *one.interval, color=look.colour, lw=1.6, alpha=0.35)
    for one in agents:
        if not _BUDGET.fullmatch(one.agent):
            at = getattr(one, cost), one.percent
            axes.plot(*at, "o", color=INK)
            axes.annotate(one.agent, at, xytext=(6, 5), textcoords="offset points", fontsize=9)
    axes.set_xscale("log")
    log_ticks(axes)
    axes.axhline(0, color=INK, lw=0.9, ls="--")
    quiet(axes, COSTS[cost], "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of dmic sweep or dmic bench")
    parser.add_argument("--out", type=Path, required=True, help="where to write, without suffix")
    given = parser.parse_args()
    results = json.loads((given.run / RESULTS).read_bytes())
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.with_suffix(".png").write_bytes(png(draw(results), dpi=120))
    rows = [
        {
            "agent": f"`{one.agent}`",
            "encodes": one.encodes,
            "seconds": one.seconds,
            "BD-rate, %": f"{one.percent:+.1f}",
            "95 %": "" if one.interval is None else "{:+.1f} to {:+.1f}".format(*one.interval),
        }
        for one in spent(results)
    ]
    text = f"{_title(results)}\n\n{markdown(rows)}\n"
    given.out.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
