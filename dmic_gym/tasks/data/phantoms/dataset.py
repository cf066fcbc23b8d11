"""Synthetic X-ray coronary angiograms with their vessel masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
        self.size = checked_size(size)

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


def checked_size(size: int | tuple[int, int]) -> tuple[int, int]:
    """Return (height, width); InvalidInputError unless both are 16..16384."""
    sides = (size, size) if np.ndim(size) == 0 else tuple(np.asarray(size).tolist())
    if len(sides) != 2:
        raise InvalidInputError(f"size must be an int or (height, width), got {size!r}.")
    height, width = (checked_integer("size", side, MIN_SIDE, MAX_SIDE) for side in sides)
    return height, width


def synthesize(seed: int, index: int, size: tuple[int, int]) -> tuple[Image, Mask]:
    """Make one phantom: its image, uint8 (H, W), and its mask, bool (H, W)."""
    grain = np.random.default_rng([seed, index, 1])
    patient = make_patient(np.random.default_rng([seed, index, 0]), size)
    return patient.recorded(grain, patient.noise(grain)), raster.draw_mask(patient.tree, size)


@dataclass(frozen=True)
class Patient:
    """What one angiogram shows, before noise.

    Attributes:
        size: (height, width) of its image.
        subtracted: whether the background was subtracted digitally.
        tree: the vessels.
        background: grey levels without contrast agent, on a working grid.
        depth: how thick the contrast agent is at each pixel of that grid.
        absorption: of the contrast agent.
        blur: standard deviation in pixels of that grid.
        field: the collimator's, 0..1, on that grid.
        black: grey level outside the field.
    """

    size: tuple[int, int]
    subtracted: bool
    tree: Sequence[vessels.Vessel]
    background: Plane
    depth: Plane
    absorption: float
    blur: float
    field: Plane
    black: np.float32

    def noise(self, grain: np.random.Generator) -> float:
        """Draw the standard deviation of the noise, in grey levels."""
        sigma = grain.normal(3.2, 0.6) if self.subtracted else grain.normal(2.3, 0.55)
        return float(np.clip(sigma, 0.9, 4.6))

    def recorded(
        self,
        grain: np.random.Generator,
        sigma: float,
        background: Plane | None = None,
        depth: Plane | None = None,
        contrast: float = 1.0,
    ) -> Image:
        """Return the image with noise of its own, uint8 (H, W).

        Args:
            grain: where the noise comes from.
            sigma: the noise's standard deviation in grey levels.
            background: in place of the patient's.
            depth: in place of the patient's.
            contrast: how much contrast agent there is, relative to the patient's.
        """
        grey = (self.background if background is None else background).copy()
        depth = self.depth if depth is None else depth
        grey *= np.exp(np.float32(-self.absorption * contrast) * depth)
        grey = np.asarray(cv2.GaussianBlur(grey, (0, 0), self.blur), np.float32)
        clean = _to_size(self.black + (grey - self.black) * self.field, self.size)
        noise = scene.quantum_noise(grain, self.size, sigma)
        grey = clean + noise * (0.35 + 0.65 * _to_size(self.field, self.size))
        return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def make_patient(rng: np.random.Generator, size: tuple[int, int]) -> Patient:
    """Draw a patient; the anatomy does not depend on the size of the image."""
    subtracted = bool(rng.random() < _SUBTRACTED)
    tree, tools = _grow(rng, subtracted)
    tubes, grid = [*tree, *tools], _working_grid(size)
    background = (scene.subtracted_background if subtracted else scene.cine_background)(rng, grid)
    widest = 2 * max(float(v.radius.max()) for v in tubes)
    absorption = -np.log(1 - rng.uniform(0.3, 0.56)) / widest
    depth = widest * (raster.project(tubes, grid) / widest) ** np.float32(_FLATNESS)
    blur = float(rng.uniform(0.45, 0.72) * raster.frame_scale(grid))
    field = scene.collimator(rng, grid) if rng.random() < 0.6 else np.ones(grid, np.float32)
    black = np.float32(rng.uniform(8, 18))
    return Patient(size, subtracted, tree, background, depth, absorption, blur, field, black)


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


def _to_size(image: Plane, size: tuple[int, int]) -> Plane:
    if image.shape == size:
        return image
    shrinks = size[0] * size[1] < image.size
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size[::-1], interpolation=method), np.float32)
