"""Names of curves written beside them, each where there is most room."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from dmic_gym.types import Floats

_DISTANCES = (7.0, 16.0, 28.0, 44.0, 64.0)
"""From a point of the curve to its name, in points of 1/72 inch; from the third on a line leads."""

_LED = 16.0
_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
_STEP = 3.0
_CLEAR = 4.0
_APART = 60.0
"""Spacing of the samples of a curve, room around a name, and room enough to the next curve, in
pixels."""


@dataclass(frozen=True, eq=False)
class _Place:
    """Where a name may stand: at a point of its curve, moved by `offset` points of 1/72 inch."""

    point: Floats
    offset: tuple[float, float]
    box: Bbox
    distance: float


def label_lines(axes: Axes, lines: Sequence[Line2D]) -> None:
    """Write each line's label beside it in its colour, the first lines first.

    Call it when limits and scales are final.

    Args:
        axes: of the lines.
        lines: with labels.
    """
    figure = axes.get_figure(root=True)
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()
    curves = [_samples(_pixels(line)) for line in lines]
    taken: list[Bbox] = []
    for n, line in enumerate(lines):
        others = np.concatenate([curve for m, curve in enumerate(curves) if m != n] or [curves[n]])
        places = list(_places(axes, line, figure.dpi / 72))
        if not places:
            continue
        best = min(places, key=lambda place: _cost(place, curves[n], others, taken))
        _write(axes, line, best)
        taken.append(best.box)


def _pixels(line: Line2D) -> Floats:
    return np.asarray(line.get_transform().transform(np.asarray(line.get_xydata())), np.float64)


def _samples(points: Floats) -> Floats:
    """Return points along a curve, `_STEP` pixels apart."""
    parts = [points[-1:]]
    for start, end in pairwise(points):
        count = max(int(np.hypot(*(end - start)) / _STEP), 1)
        parts.append(start + (end - start) * (np.arange(count) / count)[:, None])
    return np.concatenate(parts)


def _places(axes: Axes, line: Line2D, scale: float) -> Iterator[_Place]:
    """Yield the places within the axes at which a line's name may stand."""
    width, height = _size(axes, str(line.get_label()))
    room = axes.get_window_extent()
    data, pixels = np.asarray(line.get_xydata(), np.float64), _pixels(line)
    for (point, at), (x, y), distance in product(
        zip(data, pixels, strict=True), _DIRECTIONS, _DISTANCES
    ):
        middle = at + scale * distance * np.array([x, y]) + np.array([x * width, y * height]) / 2
        left, low = float(middle[0] - width / 2), float(middle[1] - height / 2)
        box = Bbox.from_bounds(left, low, width, height)
        if room.x0 <= box.x0 and box.x1 <= room.x1 and room.y0 <= box.y0 and box.y1 <= room.y1:
            offset = (middle - at) / scale
            yield _Place(point, (float(offset[0]), float(offset[1])), box, distance)


def _size(axes: Axes, text: str) -> tuple[float, float]:
    drawn = axes.text(0.5, 0.5, text, fontsize=9, transform=axes.transAxes)
    box = drawn.get_window_extent()
    drawn.remove()
    return box.width, box.height


def _cost(place: _Place, own: Floats, others: Floats, taken: Sequence[Bbox]) -> float:
    """Return how bad a place is: names and curves hidden first, then doubt, then distance."""
    box = place.box.padded(_CLEAR)
    hidden = sum(box.overlaps(other) for other in taken)
    crossed = _inside(box, others) + _inside(place.box, own)
    apart = _gap(place.box, others)
    doubtful = apart < 1.5 * _gap(place.box, own)
    return (
        1000.0 * hidden
        + 30.0 * crossed
        + 60.0 * doubtful
        + place.distance
        - min(apart, _APART) / 4.0
    )


def _inside(box: Bbox, points: Floats) -> int:
    x, y = points.T
    return int(np.sum((x > box.x0) & (x < box.x1) & (y > box.y0) & (y < box.y1)))


def _gap(box: Bbox, points: Floats) -> float:
    """Return the least distance from a box to any of the points, in pixels."""
    x, y = points.T
    across = np.maximum(np.maximum(box.x0 - x, x - box.x1), 0.0)
    along = np.maximum(np.maximum(box.y0 - y, y - box.y1), 0.0)
    return float(np.hypot(across, along).min())


def _write(axes: Axes, line: Line2D, place: _Place) -> None:
    leader = {"arrowstyle": "-", "color": line.get_color(), "lw": 0.6, "shrinkA": 0, "shrinkB": 2}
    written = axes.annotate(
        str(line.get_label()),
        (float(place.point[0]), float(place.point[1])),
        place.offset,
        textcoords="offset points",
        color=line.get_color(),
        fontsize=9,
        ha="center",
        va="center",
        zorder=9,
        arrowprops=leader if place.distance > _LED else None,
    )
    written.set_in_layout(False)
