"""What surrounds the vessels in an X-ray angiogram: tissue, bones, collimator and noise."""

from __future__ import annotations

import cv2
import numpy as np

from dmic_gym.types import Plane

WHITE = 0.42


def _grid(shape: tuple[int, int]) -> tuple[Plane, Plane]:
    """Pixel centres as fractions of width (1, W) and height (H, 1)."""
    x = (np.arange(shape[1], dtype=np.float32) + 0.5) / shape[1]
    y = (np.arange(shape[0], dtype=np.float32) + 0.5) / shape[0]
    return np.asarray(x[None, :], np.float32), np.asarray(y[:, None], np.float32)


def _step(distance: Plane, softness: float) -> Plane:
    """A smooth step from 0 to 1 where `distance` crosses 0, about 4 * `softness` wide."""
    return np.asarray(0.5 + 0.5 * np.tanh(distance / np.float32(2 * softness)), np.float32)


def smooth_field(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int]) -> Plane:
    """Gaussian random field of unit variance at the given number of cells (rows, columns)."""
    knots = rng.standard_normal((cells[0] + 3, cells[1] + 3)).astype(np.float32)
    return np.asarray(cv2.resize(knots, shape[::-1], interpolation=cv2.INTER_CUBIC), np.float32)


def tissue(rng: np.random.Generator, shape: tuple[int, int], gain: float) -> Plane:
    """Soft-tissue shading: octaves of smooth fields, grey levels around 0."""
    out = np.zeros(shape, np.float32)
    for cells, amplitude in ((2, 12.0), (4, 4.5), (8, 3.2), (16, 2.8), (32, 2.3), (64, 1.0)):
        strength = gain * amplitude * rng.uniform(0.6, 1.4)
        grain = float(np.exp(rng.normal(0, 0.1)))
        knots = max(round(cells / grain), 1), max(round(cells * grain), 1)
        out += np.float32(strength) * smooth_field(rng, shape, knots)
    return out


def _blob(
    shape: tuple[int, int], centre: tuple[float, float], radii: tuple[float, float], tilt: float
) -> Plane:
    """Signed distance (in fractions of the frame, positive inside) to an ellipse, about."""
    x, y = _grid(shape)
    dx, dy = x - centre[0], y - centre[1]
    c, s = np.cos(tilt), np.sin(tilt)
    u, v = (c * dx + s * dy) / radii[0], (c * dy - s * dx) / radii[1]
    rho = np.sqrt(u * u + v * v)
    return np.asarray((1 - rho) * min(radii), np.float32)


def lung(rng: np.random.Generator, shape: tuple[int, int]) -> Plane:
    """Bright lung outside the heart's silhouette, 0..1."""
    side = rng.choice([-1.0, 1.0], p=[0.35, 0.65])
    centre = (0.5 - side * rng.uniform(0.2, 0.6), rng.uniform(0.5, 1.0))
    radii = (rng.uniform(0.65, 1.05), rng.uniform(0.55, 1.0))
    inside = _blob(shape, centre, radii, rng.uniform(-0.6, 0.6))
    inside += np.float32(0.018) * smooth_field(rng, shape, (3, 3))
    return _step(-inside, float(rng.choice([0.008, 0.02, 0.05, 0.1])))


def diaphragm(rng: np.random.Generator, shape: tuple[int, int]) -> Plane:
    """The dome that rises from the lower edge, 0..1, with a sharp border."""
    centre = (rng.uniform(-0.2, 1.2), rng.uniform(1.3, 1.6))
    radii = (rng.uniform(0.7, 1.4), rng.uniform(0.45, 0.9))
    inside = _blob(shape, centre, radii, rng.normal(0, 0.2))
    inside += np.float32(0.015) * smooth_field(rng, shape, (3, 3))
    return _step(inside, rng.uniform(0.002, 0.008))


def spine(rng: np.random.Generator, shape: tuple[int, int]) -> Plane:
    """A vertical band with faint vertebrae, 0..1."""
    x, y = _grid(shape)
    middle = rng.uniform(0.0, 1.0) + rng.normal(0, 0.1) * (y - 0.5)
    half = rng.uniform(0.1, 0.17)
    band = _step(np.asarray(half - np.abs(x - middle), np.float32), 0.02)
    bones = 1 + 0.08 * np.sin(2 * np.pi * (rng.uniform(3, 5) * y + rng.random()))
    return np.asarray(band * bones, np.float32)


def ribs(rng: np.random.Generator, shape: tuple[int, int]) -> Plane:
    """Two to four curved bands, 0..1."""
    x, y = _grid(shape)
    slope, bow = rng.uniform(-0.7, 0.7), rng.uniform(-0.5, 0.5)
    height = y - slope * (x - 0.5) - bow * (x - 0.5) ** 2 + rng.random()
    pitch, fill = rng.uniform(0.28, 0.45), rng.uniform(0.25, 0.4)
    phase = height / pitch - np.floor(height / pitch)
    distance = (fill / 2 - np.abs(phase - 0.5)) * pitch
    return _step(np.asarray(distance, np.float32), rng.uniform(0.006, 0.015))


def cine_background(rng: np.random.Generator, shape: tuple[int, int]) -> Plane:
    """Background of a plain (not subtracted) angiogram, grey levels."""
    grey = np.full(shape, rng.uniform(92, 132), np.float32)
    grey += tissue(rng, shape, float(np.exp(rng.normal(0, 0.2))))
    if rng.random() < 0.85:
        grey += rng.uniform(40, 190) * lung(rng, shape)
    if rng.random() < 0.5:
        grey *= 1 - rng.uniform(0.15, 0.45) * diaphragm(rng, shape)
    if rng.random() < 0.35:
        grey *= 1 - rng.uniform(0.1, 0.3) * spine(rng, shape)
    if rng.random() < 0.5:
        grey *= 1 - rng.uniform(0.02, 0.06) * ribs(rng, shape)
    return np.minimum(grey, np.float32(rng.uniform(228, 243)))


def subtracted_background(rng: np.random.Generator, shape: tuple[int, int]) -> Plane:
    """Background of a digitally subtracted angiogram: flat, with ghosts of moved structures."""
    grey = np.full(shape, rng.uniform(130, 195), np.float32)
    grey += tissue(rng, shape, float(np.clip(rng.lognormal(-1.8, 0.9), 0.03, 1.2)))
    for ghost, chance in ((diaphragm, 0.5), (ribs, 0.3), (lung, 0.3)):
        if rng.random() < chance:
            edge = ghost(rng, shape)
            shift = max(round(0.012 * shape[0]), 1)
            moved = np.concatenate([edge[:shift], edge[:-shift]])
            grey += np.float32(rng.normal(4, 12)) * (moved - edge)
    return grey


def collimator(rng: np.random.Generator, shape: tuple[int, int]) -> Plane:
    """Transmission of the round collimator, 0 in the dark corners, 1 in the field."""
    height, width = shape
    half = 0.5 * np.hypot(height, width)
    x, y = _grid(shape)
    dx = (x - 0.5) * width / half - rng.normal(0, 0.1)
    dy = (y - 0.5) * height / half - rng.normal(0, 0.1)
    distance = rng.uniform(0.84, 1.1) - np.sqrt(dx * dx + dy * dy)
    return _step(np.asarray(distance, np.float32), 0.0008)


def quantum_noise(rng: np.random.Generator, shape: tuple[int, int], sigma: float) -> Plane:
    """Correlated noise of standard deviation `sigma`, longer along the rows than across them.

    The grain is the detector's and the video chain's: it is counted in pixels of the image,
    whatever its size.
    """
    white = rng.standard_normal(shape, dtype=np.float32)
    along, across = _decay(0.55), _decay(0.35)
    gain = float(np.sqrt((across**2).sum() * (along**2).sum()))
    along = along * np.float32(sigma / gain)
    noise = cv2.sepFilter2D(white, -1, along, across, borderType=cv2.BORDER_REFLECT)
    return np.asarray(noise + np.float32(WHITE) * white[::-1, ::-1], np.float32)


def _decay(ratio: float, reach: int = 5) -> Plane:
    """A two-sided exponential kernel: each tap is `ratio` times its inner neighbour."""
    return np.asarray(ratio ** np.abs(np.arange(-reach, reach + 1)), np.float32)
