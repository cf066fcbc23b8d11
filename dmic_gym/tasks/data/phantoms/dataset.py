"""Synthetic X-ray coronary angiograms with their vessel masks."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from dmic_gym.errors import InvalidInputError, checked_integer
from dmic_gym.tasks.data.phantoms import raster, scene, vessels
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.data.sequence import LazySamples
from dmic_gym.types import Image, Mask, Plane

MIN_SIDE = 16
MAX_SIDE = 16384
_MAX_GRID = 600.0
_MIN_GRID = 150.0
_SUBTRACTED = 0.4
_FLATNESS = 0.75


class Phantoms(LazySamples):
    """A lazy sequence of synthetic coronary angiograms, `count` of them.

    Item `i` depends on `seed`, `i` and `size` only, in any order and in any process; the anatomy
    does not depend on the size either, so that two sizes show the same patient. Nothing is
    cached: an item is made anew each time it is asked for. Slices are lists of samples.

    Args:
        count: how many samples, 0 or more.
        size: (height, width) in pixels or one int for both, 16..16384 each.
        seed: 0 or more.

    Raises:
        InvalidInputError: an argument is out of its range.
    """

    def __init__(self, count: int = 100, size: int | tuple[int, int] = 300, seed: int = 0) -> None:
        self._count = checked_integer("count", count, 0)
        self.seed = checked_integer("seed", seed, 0)
        sides = (size, size) if np.ndim(size) == 0 else tuple(np.asarray(size).tolist())
        if len(sides) != 2:
            raise InvalidInputError(f"size must be an int or (height, width), got {size!r}.")
        height, width = (checked_integer("size", side, MIN_SIDE, MAX_SIDE) for side in sides)
        self.size = (height, width)

    def __repr__(self) -> str:
        return f"Phantoms(count={self._count}, size={self.size}, seed={self.seed})"

    def __len__(self) -> int:
        return self._count

    def _content(self) -> str:
        return "phantoms"

    def _read(self, index: int) -> Sample:
        image, mask = synthesize(self.seed, index, self.size)
        return Sample(image, mask, self._name(index))

    def _name(self, index: int) -> str:
        return f"phantom-{self.seed}-{index:04d}"


def synthesize(seed: int, index: int, size: tuple[int, int]) -> tuple[Image, Mask]:
    """Make one phantom: its image, uint8 (H, W), and its mask, bool (H, W)."""
    anatomy = np.random.default_rng([seed, index, 0])
    grain = np.random.default_rng([seed, index, 1])
    subtracted = bool(anatomy.random() < _SUBTRACTED)
    tree, tools = _grow(anatomy, subtracted)
    grid = _working_grid(size)
    clean, field = _render(anatomy, [*tree, *tools], grid, subtracted)
    clean, field = _to_size(clean, size), _to_size(field, size)
    sigma = grain.normal(3.2, 0.6) if subtracted else grain.normal(2.3, 0.55)
    noise = scene.quantum_noise(grain, size, float(np.clip(sigma, 0.9, 4.6)))
    grey = clean + noise * (0.35 + 0.65 * field)
    image = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    return image, raster.draw_mask(tree, size)


def _grow(
    rng: np.random.Generator, subtracted: bool
) -> tuple[list[vessels.Vessel], list[vessels.Vessel]]:
    tree = vessels.right_tree(rng) if rng.random() < 0.5 else vessels.left_tree(rng)
    tools = []
    if rng.random() < (0.2 if subtracted else 0.7):
        tools.append(vessels.catheter(rng, tree[0]))
    if rng.random() < 0.3:
        tools.append(vessels.reflux(rng, tree[0]))
    if not subtracted and rng.random() < 0.08:
        tools.append(vessels.crossing_catheter(rng))
    grown = len(tree)
    everything = vessels.placed(rng, [*tree, *vessels.faint_twigs(rng, tree), *tools])
    return everything[:grown], everything[grown:]


def _working_grid(size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns at which the noise-free scene is drawn before it is resized."""
    side = float(np.sqrt(size[0] * size[1]))
    zoom = float(np.clip(side, _MIN_GRID, _MAX_GRID)) / side
    return max(round(size[0] * zoom), 1), max(round(size[1] * zoom), 1)


def _render(
    rng: np.random.Generator,
    tubes: Sequence[vessels.Vessel],
    grid: tuple[int, int],
    subtracted: bool,
) -> tuple[Plane, Plane]:
    """The scene without noise, in grey levels, and the collimator's field, 0..1."""
    make = scene.subtracted_background if subtracted else scene.cine_background
    grey = make(rng, grid)
    widest = 2 * max(float(v.radius.max()) for v in tubes)
    absorption = -np.log(1 - rng.uniform(0.3, 0.56)) / widest
    depth = widest * (raster.project(tubes, grid) / widest) ** np.float32(_FLATNESS)
    grey *= np.exp(np.float32(-absorption) * depth)
    blur = rng.uniform(0.45, 0.72) * raster.frame_scale(grid)
    grey = np.asarray(cv2.GaussianBlur(grey, (0, 0), float(blur)), np.float32)
    field = np.ones(grid, np.float32)
    if rng.random() < 0.6:
        field = scene.collimator(rng, grid)
    black = np.float32(rng.uniform(8, 18))
    return black + (grey - black) * field, field


def _to_size(image: Plane, size: tuple[int, int]) -> Plane:
    if image.shape == size:
        return image
    shrinks = size[0] * size[1] < image.size
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size[::-1], interpolation=method), np.float32)
