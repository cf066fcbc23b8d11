"""Figures of a report, as SVG that follows the page's colours and as PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from dmic_gym.bench import style
from dmic_gym.bench.per_image import extremes, featured, line_of, savings
from dmic_gym.bench.pictures import QUALITIES, curve_panel, line_looks
from dmic_gym.bench.protocol import ANCHOR
from dmic_gym.bench.style import ACCENT, INK, drawing, quiet, short

Results = Mapping[str, Any]

_SIZE = (5.6, 3.9)


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


def curve_charts(results: Results) -> list[Chart]:
    """Return a rate-distortion chart for each quality, and one of still codecs where there are.

    Without agents beside the anchor, the still codecs stand in every chart.
    """
    keys = [key for key in QUALITIES if _has(results, key)]
    stills = list(results.get("stills", {}))
    alone = len(results["agents"]) == 1
    lines = [*results["agents"], *stills] if alone else list(results["agents"])
    charts = [
        Chart(
            f"rd-{key.replace('_', '-')}",
            QUALITIES[key],
            _MEANINGS[key],
            _curves(results, key, lines),
        )
        for key in keys
    ]
    if stills and not alone:
        names = list(dict.fromkeys([ANCHOR, featured(results) or ANCHOR, *stills]))
        figure = _curves(results, keys[0], names)
        heading = f"Other codecs, {QUALITIES[keys[0]]}"
        charts.append(Chart("rd-codecs", heading, _STILLS, figure))
    return charts


def bd_chart(results: Results) -> Chart:
    """Return BD-rates on Dice with intervals, one row a line, one mark a set of base QPs."""
    names = [name for name in (*results["agents"], *results.get("stills", {})) if name != ANCHOR]
    headline, *others = results["protocol"]["qp_sets"]
    with drawing():
        figure = Figure(figsize=(_SIZE[0], 1.1 + 0.36 * max(1, len(names))), layout="constrained")
        axes = figure.subplots()
        for n, name in enumerate(names):
            parts = [line_of(results, name), *(line_of(results, name).get(k) for k in others)]
            for part, fill, shift in zip(parts, ("full", "none"), (-0.13, 0.13), strict=False):
                if part is not None and part["bd_rate_percent"] is not None:
                    _bar(axes, part, n + shift, line_looks(results)[name].colour, fill)
        axes.axvline(0, color=INK, lw=0.9, ls="--")
        axes.set_yticks(range(len(names)), [short(name) for name in names], color=INK)
        axes.set_ylim(len(names) - 0.5, -0.5)
        quiet(axes, "BD-rate on Dice, % of the anchor's bits", "")
        axes.grid(visible=False, axis="y")
    marks = " and ".join(
        f"{mark} for QP {_qps(results, key)}"
        for mark, key in zip(("filled", "hollow"), (headline, *others), strict=False)
    )
    return Chart("bd-rate", "BD-rate", f"Marks {marks}; bars are 95 % intervals. {_LEFT}", figure)


def saving_chart(results: Results, areas: Mapping[str, float]) -> Chart | None:
    """Return each image's saving against its vessel area, in % of the picture.

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
        quiet(axes, "vessel area, % of the picture", "BD-rate on Dice of the image, %")
    caption = (
        f"{name} against the anchor, one point an image; {len(drawn)} of {len(rates)} images "
        "have curves that can be compared. Below the line: bits saved."
    )
    return Chart("saving-area", "Saving by vessel area", caption, figure)


_MEANINGS = {
    "dice": "Against the expert mask. Bands and bars are 95 % bootstrap intervals over images.",
    "second_dice": "The same decoded images, scored by a network that no agent has asked.",
    "consistency_dice": "Against the network's own mask of the image before coding.",
}
_STILLS = "Whole files at constant quality, against HEVC streams with all parameter sets."
_LEFT = "Left of the line: bits saved at equal Dice."


def _curves(results: Results, key: str, names: Sequence[str]) -> Figure:
    with drawing():
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.subplots()
        curve_panel(axes, results, key, names)
        axes.legend(loc="lower right", labelcolor=INK)
        return figure


def _bar(axes: Any, part: Results, y: float, colour: str, fill: str) -> None:
    if part["ci95"] is not None:
        axes.hlines(y, *part["ci95"], color=colour, lw=1.6, alpha=0.55)
    axes.plot(part["bd_rate_percent"], y, "o", color=colour, fillstyle=fill, ms=6)


def _has(results: Results, key: str) -> bool:
    """Whether the anchor has values of a quality: Dice needs masks, the second a network."""
    return any(point[key] is not None for point in results["agents"][ANCHOR]["points"])


def _qps(results: Results, qp_set: str) -> str:
    return ", ".join(str(qp) for qp in results["protocol"]["qp_sets"][qp_set])
