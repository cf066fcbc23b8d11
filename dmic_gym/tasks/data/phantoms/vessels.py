"""Coronary trees: random centrelines with radii, side branches and catheters.

Geometry lives in a reference frame of 300 x 300 units (x right, y down), one unit being one
pixel of a 300 x 300 angiogram; `phantom_raster` stretches it to any grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dmic_gym.types import Floats

FRAME = 300.0
STEP = 2.0


@dataclass(frozen=True)
class Vessel:
    """A tube: its centreline, the radius along it and how much contrast agent it carries.

    Attributes:
        points: float array (N, 2), x and y in reference units.
        radius: float array (N,), reference units.
        density: float array (N,), attenuation relative to a well-filled artery.
        marked: whether an expert would draw it.
    """

    points: Floats
    radius: Floats
    density: Floats
    marked: bool

    def heading(self, index: int) -> float:
        """Direction of travel at a point, radians, 0 to the right, pi / 2 down."""
        i = min(max(index, 1), len(self.points) - 2)
        dx, dy = self.points[i + 1] - self.points[i - 1]
        return float(np.arctan2(dy, dx))


def walk(
    rng: np.random.Generator,
    start: npt.ArrayLike,
    headings: Sequence[float],
    length: float,
    tortuosity: float,
    shortest: float = 14.0,
) -> Floats:
    """A smooth centreline that follows `headings` (radians, evenly spread) with random bends.

    `tortuosity` is the amplitude of the bends in radians, `shortest` their least wavelength.
    """
    count = max(int(length / STEP), 6)
    s = np.linspace(0.0, 1.0, count)
    theta = np.interp(s, np.linspace(0.0, 1.0, len(headings)), headings)
    for factor in (rng.uniform(1, 1.7), rng.uniform(1.8, 3.2), rng.uniform(4, 8)):
        wavelength = factor * shortest
        phase = 2 * np.pi * (s * length / wavelength + rng.random())
        envelope = np.interp(s, [0, rng.uniform(0.2, 0.8), 1], [0.1, rng.uniform(0.3, 1.0), 1.0])
        theta += tortuosity * rng.uniform(0.2, 1.0) * envelope * np.sin(phase)
    steps = (length / count) * np.stack([np.cos(theta), np.sin(theta)], axis=1)
    return np.asarray(start, dtype=np.float64) + np.cumsum(steps, axis=0)


def tube(
    points: Floats,
    radii: tuple[float, float],
    density: tuple[float, float],
    marked: bool,
) -> Vessel:
    """A vessel that tapers and fades linearly from its first to its last point."""
    s = np.linspace(0.0, 1.0, len(points))
    return Vessel(
        points, np.interp(s, [0, 1], radii), np.interp(s, [0, 1], density) + 0 * s, marked
    )


def branch(
    rng: np.random.Generator, parent: Vessel, at: float, turn: float, length: float
) -> Vessel:
    """A thinner vessel that leaves `parent` at fraction `at`, turning by `turn` radians."""
    i = int(at * (len(parent.points) - 1))
    angle = parent.heading(i) + turn
    back = angle - turn * rng.uniform(-0.1, 0.7)
    headings = [angle, back, back + rng.normal(0, 0.4), back + rng.normal(0, 0.6)]
    points = walk(rng, parent.points[i], headings, length, _tortuosity(rng))
    first = max(float(parent.radius[i]) * rng.uniform(0.45, 0.8), 0.9)
    last = max(first * rng.uniform(0.5, 0.85), 0.8)
    filled = float(parent.density[i])
    return tube(points, (first, last), (filled, filled * rng.uniform(0.6, 1.0)), parent.marked)


def _tortuosity(rng: np.random.Generator) -> float:
    return float(rng.uniform(0.5, 1.3) if rng.random() < 0.4 else rng.uniform(0.1, 0.4))


def _side_branches(
    rng: np.random.Generator, parent: Vessel, count: int, side: float, length: tuple[float, float]
) -> list[Vessel]:
    grown = []
    for at in np.sort(rng.uniform(0.1, 0.9, count)):
        sign = side if rng.random() < 0.8 else -side
        reach = rng.uniform(*length) * (1.15 - 0.5 * at)
        child = branch(rng, parent, float(at), sign * rng.uniform(0.45, 1.2), reach)
        grown.append(child)
        if rng.random() < 0.35:
            turn = rng.choice([-1.0, 1.0]) * rng.uniform(0.4, 0.9)
            grown.append(branch(rng, child, rng.uniform(0.2, 0.7), turn, 0.6 * reach))
    return grown


def _opened(vessel: Vessel) -> Vessel:
    """The vessel with its mouth, where the catheter lies, narrowed to a soft end."""
    mouth = np.minimum(0.55 + 0.45 * np.arange(len(vessel.points)) * STEP / 10, 1.0)
    return Vessel(vessel.points, vessel.radius * mouth, vessel.density * mouth, vessel.marked)


def _trunk_radius(rng: np.random.Generator) -> float:
    return float(np.clip(rng.lognormal(1.5, 0.32), 2.6, 9.0))


def right_tree(rng: np.random.Generator) -> list[Vessel]:
    """A right coronary artery: a wide C, open to the right, with marginal and distal branches."""
    start = (rng.uniform(120, 215), rng.uniform(8, 55))
    left, down = np.pi + rng.uniform(-0.3, 0.6), np.pi / 2 + rng.uniform(-0.1, 0.3)
    end = rng.uniform(-0.3, 0.3)
    near, far = rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.9)
    headings = [left, left, left + near * (down - left), down + 0.15, down, down - 0.15]
    headings += [down + far * (end - down), end + 0.2, end, end - 0.1]
    points = walk(rng, start, headings, rng.uniform(360, 480), rng.uniform(0.05, 0.5), 32)
    points += np.maximum(12 - points.min(axis=0), 0)
    wide = _trunk_radius(rng)
    ends = (wide, wide * rng.uniform(0.35, 0.7))
    trunk = tube(points, ends, (1.0, rng.uniform(0.7, 1)), True)
    tree = [_opened(trunk), *_side_branches(rng, trunk, int(rng.integers(1, 4)), -1.0, (60, 150))]
    for _ in range(int(rng.integers(1, 5))):
        turn = rng.choice([-1.0, 1.0]) * rng.uniform(0.3, 1.0)
        tree.append(branch(rng, trunk, rng.uniform(0.6, 0.99), turn, rng.uniform(50, 140)))
    return tree


def left_tree(rng: np.random.Generator) -> list[Vessel]:
    """A left coronary artery: a short stem that splits into two trees of branches."""
    start = (rng.uniform(-6, 60), rng.uniform(8, 70))
    stem_heading = rng.uniform(-0.2, 0.6)
    stem_points = walk(rng, start, [stem_heading] * 3, rng.uniform(18, 65), 0.15)
    wide = _trunk_radius(rng)
    tree = [_opened(tube(stem_points, (wide, wide * 0.9), (1.0, 1.0), True))]
    down = np.pi / 2 + rng.uniform(-0.5, 0.2)
    across = [stem_heading + rng.uniform(-0.5, 0.1), 0.2, rng.uniform(0.3, 0.9)]
    across += [across[-1] + rng.uniform(0, 0.8)]
    below = [stem_heading + rng.uniform(0.5, 1.2), down, down + rng.normal(0, 0.3)]
    below += [down - rng.uniform(-0.2, 0.9)]
    for headings, side in ((across, 1.0), (below, -1.0)):
        points = walk(
            rng, stem_points[-1], headings, rng.uniform(190, 330), _tortuosity(rng) / 2, 22
        )
        r = wide * rng.uniform(0.55, 0.95)
        ends = (r, max(r * rng.uniform(0.35, 0.65), 1.0))
        limb = tube(points, ends, (1, rng.uniform(0.6, 1)), True)
        tree += [limb, *_side_branches(rng, limb, int(rng.integers(1, 5)), side, (60, 170))]
    return tree


def faint_twigs(rng: np.random.Generator, tree: Sequence[Vessel]) -> list[Vessel]:
    """Thin or barely filled branches that show in the image but that experts leave out."""
    twigs = []
    for _ in range(int(rng.integers(6, 30))):
        parent = tree[int(rng.integers(len(tree)))]
        turn = rng.choice([-1.0, 1.0]) * rng.uniform(0.4, 1.4)
        twig = branch(rng, parent, rng.uniform(0.05, 1.0), turn, rng.uniform(20, 100))
        shade, radius = rng.uniform(0.2, 0.9), rng.uniform(0.7, 1.3)
        twigs.append(tube(twig.points, (radius, 0.6), (shade, 0.5 * shade), False))
    return twigs


def reflux(rng: np.random.Generator, root: Vessel) -> Vessel:
    """Contrast agent that spills back around the vessel's mouth, a diffuse dark patch."""
    count = int(rng.integers(4, 9))
    points = root.points[0] + rng.normal(0, 7, (count, 2))
    radius = rng.uniform(5, 9, count)
    return Vessel(points, radius, np.full(count, rng.uniform(0.03, 0.1)), False)


def catheter(rng: np.random.Generator, root: Vessel) -> Vessel:
    """The tube through which contrast agent comes; experts leave it out of the mask."""
    back = root.heading(0) + np.pi
    up = -np.pi / 2 + rng.normal(0, 0.3)
    bend = back + (up - back + np.pi) % (2 * np.pi) - np.pi
    headings = [back, 0.5 * (back + bend), bend, bend]
    points = walk(rng, root.points[0], headings, rng.uniform(120, 300), 0.1)
    r, shade = rng.uniform(1.6, 2.6), rng.uniform(0.35, 0.8)
    return tube(points, (r, r), (shade, shade), False)


def crossing_catheter(rng: np.random.Generator) -> Vessel:
    """A long, nearly straight catheter across the whole frame."""
    start = (rng.uniform(60, 290), -10.0)
    lean = np.pi / 2 + rng.uniform(-0.4, 0.4)
    points = walk(rng, start, [lean, lean + rng.normal(0, 0.15)], 360, 0.03)
    return tube(points, (1.9, 1.9), (0.7, 0.7), False)


def placed(rng: np.random.Generator, vessels: Sequence[Vessel]) -> list[Vessel]:
    """The same vessels seen under a random small rotation, zoom and, rarely, reflection."""
    angle, zoom = rng.normal(0, 0.12), rng.uniform(0.9, 1.12)
    flip = -1.0 if rng.random() < 0.08 else 1.0
    c, s = zoom * np.cos(angle), zoom * np.sin(angle)
    turn = np.array([[c * flip, s * flip], [-s, c]])
    middle = np.array([FRAME / 2, FRAME / 2])
    shift = middle + rng.normal(0, 6, 2)
    return [
        Vessel((v.points - middle) @ turn.T + shift, v.radius, v.density, v.marked) for v in vessels
    ]
