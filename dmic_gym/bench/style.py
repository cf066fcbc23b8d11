"""How figures look: quiet axes, one accent colour, the rest told apart by marker and grey-blue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, MUTED, GRID, ACCENT = "#1d2733", "#64707d", "#dfe3e8", "#0b7a75"
"""Text and anchor, labels and axes, grid, and the one line that the eye should follow."""

_OTHERS = ("#b0703a", "#5f7fa8", "#8a6a9c", "#6f8f5a", "#a85a66", "#8c8a4a")
_MARKERS = ("s", "^", "D", "v", "P", "X", "<", ">")

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
    agents: Sequence[str], stills: Sequence[str] = (), *, anchor: str, accent: str | None
) -> dict[str, Look]:
    """Return each line's look: the anchor in ink, `accent` in the accent colour, others muted."""
    found = {anchor: Look(INK, "o", "--", 1.4, 4)}
    if accent is not None:
        found[accent] = Look(ACCENT, "o", "-", 2.2, 5)
    others = [name for name in (*agents, *stills) if name not in found]
    for n, name in enumerate(others):
        dashes = ":" if name in stills else "-"
        colour, marker = _OTHERS[n % len(_OTHERS)], _MARKERS[n % len(_MARKERS)]
        found[name] = Look(colour, marker, dashes)
    return {name: found[name] for name in (*agents, *stills)}


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
