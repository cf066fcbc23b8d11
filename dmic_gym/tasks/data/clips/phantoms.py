"""Synthetic cine angiograms."""

from __future__ import annotations

import numpy as np

from dmic_gym.errors import checked_integer
from dmic_gym.tasks.data.clip import Clip
from dmic_gym.tasks.data.phantoms.dataset import Patient, checked_size, make_patient
from dmic_gym.tasks.data.phantoms.motion import Sources, moved, random_motion
from dmic_gym.tasks.data.phantoms.raster import draw_mask
from dmic_gym.tasks.data.sequence import LazyClips
from dmic_gym.types import Image, Plane

_STREAM = 7
"""Keeps the patients apart from those of `Phantoms`, which draw from streams 0 and 1."""


class PhantomClips(LazyClips):
    """A lazy sequence of synthetic cine angiograms with the masks of their vessels.

    The patients are drawn as those of `Phantoms`, but are others. The vessel tree moves smoothly
    with heart beat and breathing, and its masks move with it; the tissue around follows in part,
    the collimator rests. The amount of contrast agent and the strength of the noise vary a little
    from frame to frame, and every frame has noise of its own.

    Item `i` depends on `seed`, `i` and `size` only, and its first frames do not depend on
    `frames`. Nothing is cached.

    Args:
        count: how many clips, 0 or more.
        size: (height, width) in pixels or one int for both, 16..16384 each.
        frames: how many in a clip, at 15 a second.
        seed: 0 or more.

    Raises:
        InvalidInputError: an argument is out of its range.
    """

    def __init__(
        self,
        count: int = 20,
        size: int | tuple[int, int] = 256,
        frames: int = 20,
        seed: int = 0,
    ) -> None:
        self._count = checked_integer("count", count, 0)
        self.size = checked_size(size)
        self.frames = checked_integer("frames", frames)
        self.seed = checked_integer("seed", seed, 0)

    def __repr__(self) -> str:
        sizes = f"size={self.size}, frames={self.frames}"
        return f"PhantomClips(count={self._count}, {sizes}, seed={self.seed})"

    def __len__(self) -> int:
        return self._count

    def _content(self) -> str:
        return "synthetic clips"

    def _name(self, index: int) -> str:
        return f"phantom-clip-{self.seed}-{index:04d}"

    def _read(self, index: int) -> Clip:
        anatomy, movement, grain = (
            np.random.default_rng([self.seed, index, _STREAM, part]) for part in range(3)
        )
        patient, motion = make_patient(anatomy, self.size), random_motion(movement)
        sigma = patient.noise(grain)
        drawn: Plane = draw_mask(patient.tree, self.size).astype(np.float32)
        images, masks, grid = [], [], patient.depth.shape
        for number in range(self.frames):
            beat = motion.heart(number, grid)
            tissue = motion.tissue(number, grid)
            images.append(_frame(patient, tissue, beat, sigma, grain))
            place = beat if grid == self.size else motion.heart(number, self.size)
            masks.append(moved(drawn, place) > 0.5)
        return Clip(np.stack(images), np.stack(masks), name=self._name(index))


def _frame(
    patient: Patient, tissue: Sources, heart: Sources, sigma: float, grain: np.random.Generator
) -> Image:
    contrast, louder = np.exp(grain.normal(0, (0.03, 0.06)))
    background, depth = moved(patient.background, tissue), moved(patient.depth, heart)
    return patient.recorded(grain, sigma * louder, background, depth, float(contrast))
