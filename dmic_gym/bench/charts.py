"""Figures of a run: PNG for `dmic bench`, SVG in the page's colours for a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dmic_gym.agents.policy.shipped import policy_names
from dmic_gym.bench import style
from dmic_gym.bench.labels import label_lines
from dmic_gym.bench.per_image import extremes, featured, line_of, mean_intervals, savings
from dmic_gym.bench.protocol import ANCHOR, METRIC, Results
from dmic_gym.bench.style import ACCENT, INK, Look, drawing, log_ticks, looks_of, quiet, short
from dmic_gym.bench.tables import FIGURE_NAMES, qps_of, title

QUALITIES = {
    "dice": "Against the expert mask. Bands and bars are 95 % bootstrap intervals over images.",
    "second_dice": "The same decoded images, scored by a network that no agent has asked.",
    "consistency_dice": "Against the network's own mask of the image before coding.",
}
"""What curves are drawn of, by key of the points, and what it means."""

_STILLS = "Whole files at constant quality, against HEVC streams with all parameter sets."
_SIZE = (5.6, 3.9)
_MOST_LINES = 8


@dataclass(frozen=True, eq=False)
class Chart:
    """A figure and its words.

    Attributes:
        name: for files, such as ``"rd-dice"``.
        heading: short.
        caption: what is drawn, in a sentence or two.
        figure: of matplotlib.
    """

    name: str
    heading: str
    caption: str
    figure: Figure

    @property
    def svg(self) -> str:
        """The figure as a document."""
        return style.svg(self.figure)

    @property
    def png(self) -> bytes:
        """The figure as a file."""
        return style.png(self.figure)


def draw_curves(results: Results, names: Sequence[str] | None = None) -> Figure:
    """Draw quality and consistency against bits side by side, one line an agent.

    Args:
        results: of one data set and encoder.
        names: agents or still codecs; None takes the agents, of more than 8 the anchor, policies
            and those that others are compared with first.
    """
    with drawing():
        figure = Figure(figsize=(9, 4.2), layout="constrained", facecolor="white")
        keys = [key for key in ("dice", "consistency_dice") if _has(results, key)]
        chosen = few_lines(results) if names is None else names
        figure.suptitle(title(results), fontsize=10, parse_math=False)
        for axes, key in zip(figure.subplots(1, len(keys), squeeze=False)[0], keys, strict=True):
            _curve_panel(axes, results, key, chosen)
        return figure


def few_lines(results: Results) -> list[str]:
    """Return the agents that a picture has room for, in order."""
    names, best = list(results["agents"]), featured(results)
    first = [ANCHOR, *([] if best is None else [best]), *policies_of(names)]
    first += [*results["protocol"]["compare"], *(name for name in names if name != "random")]
    chosen = list(dict.fromkeys([*first, *names]))[:_MOST_LINES]
    return [name for name in names if name in chosen]


def policies_of(names: Sequence[str]) -> list[str]:
    """Return those that are shipped policies, refined or not."""
    shipped = policy_names()
    return [name for name in names if name.partition("+")[0] in shipped]


def curve_charts(results: Results) -> list[Chart]:
    """Return a rate-distortion chart for each quality, and one of still codecs where there are.

    Without agents beside the anchor, the still codecs stand in every chart.
    """
    keys = [key for key in QUALITIES if _has(results, key)]
    stills = list(results["stills"])
    alone = len(results["agents"]) == 1
    lines = [ANCHOR, *stills] if alone else few_lines(results)
    charts = [_curve_chart(results, key, lines) for key in keys]
    if stills and not alone:
        names = list(dict.fromkeys([ANCHOR, featured(results) or ANCHOR, *stills]))
        heading = f"Other codecs, {FIGURE_NAMES[keys[0]]}"
        charts.append(Chart("rd-codecs", heading, _STILLS, _curves(results, keys[0], names)))
    return charts


def bd_chart(results: Results) -> Chart:
    """Return BD-rates with intervals, one row a line, one mark a set of base QPs."""
    names = [name for name in (*results["agents"], *results["stills"]) if name != ANCHOR]
    headline, *others = results["protocol"]["qp_sets"]
    looks = _line_looks(results)
    with drawing():
        figure = Figure(figsize=(_SIZE[0], 1.1 + 0.36 * max(1, len(names))), layout="constrained")
        axes = figure.subplots()
        for n, name in enumerate(names):
            parts = [line_of(results, name), *(line_of(results, name).get(k) for k in others)]
            for part, fill, shift in zip(parts, ("full", "none"), (-0.13, 0.13), strict=False):
                if part is not None and part["bd_rate_percent"] is not None:
                    _bar(axes, part, n + shift, looks[name].colour, fill)
        axes.axvline(0, color=INK, lw=0.9, ls="--")
        axes.set_yticks(range(len(names)), [short(name) for name in names], color=INK)
        axes.set_ylim(len(names) - 0.5, -0.5)
        quiet(axes, f"BD-rate on {METRIC}, % of the anchor's bits", "")
        axes.grid(visible=False, axis="y")
    marks = " and ".join(
        f"{mark} for {qps_of(results, key)}"
        for mark, key in zip(("filled", "hollow"), (headline, *others), strict=False)
    )
    left = f"Left of the line: bits saved at equal {METRIC}."
    return Chart("bd-rate", "BD-rate", f"Marks {marks}; bars are 95 % intervals. {left}", figure)


def saving_chart(results: Results, areas: Mapping[str, float]) -> Chart | None:
    """Return each image's saving against the area of its structure, in % of the picture.

    None where there is no featured line, or no image with an area and a saving.
    """
    name = featured(results)
    rates = {} if name is None else savings(results, name)
    drawn = {image: rate for image, rate in rates.items() if rate is not None and image in areas}
    if name is None or not drawn:
        return None
    with drawing():
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.subplots()
        axes.axhline(0, color=INK, lw=0.9, ls="--")
        xs = [areas[image] for image in drawn]
        axes.plot(xs, list(drawn.values()), "o", color=ACCENT, ms=6, alpha=0.75, mew=0)
        for marker, (place, image) in zip("vDs", extremes(drawn).items(), strict=False):
            label = short(f"{place}: {image}")
            axes.plot(areas[image], drawn[image], marker, color=ACCENT, ms=8, label=label, ls="")
        axes.legend(loc="best", labelcolor=INK)
        axes.margins(x=0.08, y=0.12)
        quiet(axes, "area of the structure, % of the picture", f"BD-rate on {METRIC}, %")
    caption = (
        f"{name} against the anchor, one point an image; {len(drawn)} of {len(rates)} images "
        "have curves that can be compared. Below the line: bits saved."
    )
    return Chart("saving-area", "Saving by area of the structure", caption, figure)


def _curve_chart(results: Results, key: str, names: Sequence[str]) -> Chart:
    file = f"rd-{key.replace('_', '-')}"
    return Chart(file, FIGURE_NAMES[key], QUALITIES[key], _curves(results, key, names))


def _curves(results: Results, key: str, names: Sequence[str]) -> Figure:
    with drawing():
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.subplots()
        _curve_panel(axes, results, key, names)
        return figure


def _curve_panel(axes: Axes, results: Results, key: str, names: Sequence[str]) -> None:
    """Draw the mean of a quality against mean bits: anchor and featured line with a band."""
    looks, drawn = _line_looks(results), list[Line2D]()
    for name in names:
        line = line_of(results, name)
        places = [n for n, point in enumerate(line["points"]) if point[key] is not None]
        if places:
            drawn.append(_curve(axes, name, looks[name], line, key, places))
    protocol = results["protocol"]
    what = "clip" if "gop" in protocol else "image"
    quiet(axes, f"kbit per {what} (mean, log scale)", f"{FIGURE_NAMES[key]} (mean)")
    axes.set_xscale("log")
    log_ticks(axes, 1000.0)
    if pixels := protocol.get("pixels"):
        top = axes.secondary_xaxis("top", functions=(lambda x: x / pixels, lambda x: x * pixels))
        top.set_xlabel("bits per pixel", labelpad=6)
        top.tick_params(length=0, pad=3)
        log_ticks(top)
    label_lines(axes, sorted(drawn, key=lambda line: -line.get_zorder()))


def _line_looks(results: Results) -> dict[str, Look]:
    agents, stills = list(results["agents"]), list(results["stills"])
    return looks_of(
        [*agents, *stills],
        anchor=ANCHOR,
        accent=featured(results),
        leads=policies_of(agents),
        dotted=stills,
    )


def _curve(
    axes: Axes, name: str, look: Look, line: Results, key: str, places: Sequence[int]
) -> Line2D:
    found = mean_intervals(line["images"], key)
    points = [line["points"][n] for n in places]
    bits, means = [p["bits"] for p in points], [p[key] for p in points]
    colours: dict[str, Any] = {"color": look.colour, "zorder": look.front}
    (drawn,) = axes.plot(
        bits, means, ls=look.dashes, marker=look.marker, lw=look.width, label=short(name), **colours
    )
    bounds = [found[n] for n in places]
    if None not in bounds:
        low, high = np.array(bounds, float).T
        if look.colour in (INK, ACCENT):
            axes.fill_between(bits, low, high, alpha=0.12, lw=0, **colours)
        else:
            axes.vlines(bits, low, high, lw=0.8, alpha=0.35, **colours)
    return drawn


def _bar(axes: Axes, part: Results, y: float, colour: str, fill: Any) -> None:
    if part["ci95"] is not None:
        axes.hlines(y, *part["ci95"], color=colour, lw=1.6, alpha=0.55)
    axes.plot(part["bd_rate_percent"], y, "o", color=colour, fillstyle=fill, ms=6)


def _has(results: Results, key: str) -> bool:
    """Whether the anchor has values of a quality: Dice needs masks, the second a network."""
    return any(point[key] is not None for point in results["agents"][ANCHOR]["points"])
