"""How a synthetic heart moves from frame to frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np

from dmic_gym.types import Plane

Sources: TypeAlias = tuple[Plane, Plane]
"""float32 (H, W) each: x and y, in pixels, of where each pixel of a frame comes from."""

_KNOTS = 5
_TISSUE_SHARE = 0.15


@dataclass(frozen=True)
class Motion:
    """A smooth periodic motion; lengths are fractions of the frame's width and height.

    The heart contracts about a point, and parts of it follow paths of their own; breathing moves
    everything. Of the tissue around the heart a small share follows the beat.

    Attributes:
        period: frames a heart beat.
        phase: at frame 0, as a fraction of a beat.
        breath: frames a breath.
        centre: x and y of the point about which the heart contracts.
        squeeze: how far it contracts, as a fraction of the distance to that point.
        paths: float32 (2, 2, 5, 5), x and y of two movements on a coarse grid.
        sway: x and y amplitude of breathing.
    """

    period: float
    phase: float
    breath: float
    centre: tuple[float, float]
    squeeze: float
    paths: Plane
    sway: tuple[float, float]

    def heart(self, frame: int, shape: tuple[int, int]) -> Sources:
        """Return where each pixel of a frame of this shape comes from in the heart at rest."""
        return self._sources(frame, shape, 1.0)

    def tissue(self, frame: int, shape: tuple[int, int]) -> Sources:
        """Do what `heart` does for the background."""
        return self._sources(frame, shape, _TISSUE_SHARE)

    def _sources(self, frame: int, shape: tuple[int, int], share: float) -> Sources:
        beat = 2 * np.pi * (frame / self.period + self.phase)
        turn = beat + 0.5 * np.sin(beat)  # the heart contracts faster than it fills
        near, aside = share * (0.5 - 0.5 * np.cos(turn)), share * 0.5 * np.sin(turn)
        breathing = np.sin(2 * np.pi * frame / self.breath + self.phase)
        found = []
        for axis in (0, 1):
            side = shape[1 - axis]
            place = (np.arange(side, dtype=np.float32) + 0.5) / side
            place = place[None, :] if axis == 0 else place[:, None]
            path = near * self.paths[0, axis] + aside * self.paths[1, axis]
            moved = cv2.resize(path.astype(np.float32), shape[::-1], interpolation=cv2.INTER_CUBIC)
            moved += place + np.float32(self.squeeze * near) * (place - self.centre[axis])
            moved += np.float32(self.sway[axis] * breathing)
            found.append(np.asarray(moved * side - 0.5, np.float32))
        return found[0], found[1]


def random_motion(rng: np.random.Generator) -> Motion:
    """Return the motion of one patient: 60 to 100 beats a minute at 15 frames a second."""
    return Motion(
        period=float(rng.uniform(9, 15)),
        phase=float(rng.random()),
        breath=float(rng.uniform(45, 75)),
        centre=(float(rng.uniform(0.4, 0.7)), float(rng.uniform(0.4, 0.7))),
        squeeze=float(rng.uniform(0.04, 0.1)),
        paths=rng.normal(0, 0.01, (2, 2, _KNOTS, _KNOTS)).astype(np.float32),
        sway=(float(rng.normal(0, 0.002)), float(rng.uniform(0.003, 0.01))),
    )


def moved(picture: Plane, sources: Sources) -> Plane:
    """Return a picture whose pixels come from `sources`; its edge goes on outside the frame."""
    border = cv2.BORDER_REPLICATE
    return np.asarray(cv2.remap(picture, *sources, cv2.INTER_LINEAR, borderMode=border))
