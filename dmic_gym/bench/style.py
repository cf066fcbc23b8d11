"""How figures look: quiet axes, one accent colour, the rest told apart by marker and grey-blue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

INK, MUTED, GRID, ACCENT = "#1d2733", "#64707d", "#dfe3e8", "#0b7a75"
"""Text and anchor, labels and axes, grid, and the one line that the eye should follow."""

_LEADS = ("#d55e00", "#0072b2", "#cc79a7", "#6a3d9a", "#8a6d00")
_OTHERS = ("#e69f00", "#56b4e9", "#8b939c", "#a08a3c", "#b7a6d0")
_MARKERS = ("s", "^", "D", "v", "P", "X", "<", ">")
"""Colours after Okabe and Ito, which the colour-blind tell apart, with a marker each."""

_SETTINGS: Any = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 10,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.minor.size": 0,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "dmic",
}


@dataclass(frozen=True)
class Look:
    """How one line of a figure is drawn.

    Attributes:
        colour: a matplotlib colour.
        marker: a matplotlib marker.
        dashes: a matplotlib line style.
        width: of the line, in points.
        front: drawing order, higher in front.
    """

    colour: str
    marker: str = "o"
    dashes: str = "-"
    width: float = 1.3
    front: int = 2


def looks_of(
    names: Sequence[str],
    *,
    anchor: str,
    accent: str | None,
    leads: Sequence[str] = (),
    dotted: Sequence[str] = (),
) -> dict[str, Look]:
    """Return each line's look: the anchor in ink, `accent` in the accent colour, others behind.

    Args:
        names: of all lines.
        anchor: dashed.
        accent: the one that the eye should follow; None for none.
        leads: lines to stand in front of the others, in strong colours.
        dotted: lines that are drawn dotted.
    """
    found = {anchor: Look(INK, "o", "--", 1.4, 6)}
    if accent is not None:
        found[accent] = Look(ACCENT, "o", "-", 2.2, 5)
    front = [name for name in leads if name not in found]
    behind = [name for name in names if name not in (*found, *front)]
    looks = [Look(_LEADS[n % len(_LEADS)], width=1.9, front=4) for n in range(len(front))]
    looks += [Look(_OTHERS[n % len(_OTHERS)]) for n in range(len(behind))]
    for n, (name, look) in enumerate(zip([*front, *behind], looks, strict=True)):
        dashes = ":" if name in dotted else "-"
        found[name] = replace(look, marker=_MARKERS[n % len(_MARKERS)], dashes=dashes)
    return {name: found[name] for name in names}


@contextmanager
def drawing() -> Iterator[None]:
    """Draw in this style; matplotlib's own settings are back afterwards."""
    with matplotlib.rc_context(_SETTINGS):
        yield


def short(name: str, limit: int = 28) -> str:
    """Return a name that fits beside a figure: the middle of a long one is left out."""
    half = (limit - 1) // 2
    return name if len(name) <= limit else f"{name[:half]}\N{HORIZONTAL ELLIPSIS}{name[-half:]}"


def quiet(axes: Axes, xlabel: str, ylabel: str) -> None:
    """Label the axes and draw a light grid."""
    axes.set_xlabel(xlabel, labelpad=6)
    axes.set_ylabel(ylabel, labelpad=6)
    axes.grid(axis="both")
    axes.tick_params(length=0, pad=5)


def log_ticks(axes: Any, unit: float = 1.0) -> None:
    """Label a logarithmic x axis at 1, 2 and 5 of each decade, in multiples of `unit`."""
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x / unit:,g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def png(figure: Figure, dpi: int = 160) -> bytes:
    """Return the figure as a PNG file on white."""
    return _saved(figure, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})


def svg(figure: Figure) -> str:
    """Return the figure as an SVG document, text as text."""
    return _saved(figure, format="svg", metadata={"Date": None}).decode()


def _saved(figure: Figure, **options: Any) -> bytes:
    buffer = BytesIO()
    with drawing():
        figure.savefig(buffer, **options)
    return buffer.getvalue()
