"""Random but seeded variations of an image and its mask for training.

Geometry: mirroring left to right, rotation, scale, shear, elastic warps; images stay upright, as
scanners give them. Photometry: gamma, contrast, brightness, smooth shading, blur, noise. Nothing
imitates a codec: a segmenter tuned to coding artefacts would flatter every allocation of bits.
"""

from __future__ import annotations

import cv2
import numpy as np

from dmic_gym.types import Floats, Image, Mask, Plane


def augment(image: Image, mask: Mask, rng: np.random.Generator, size: int) -> tuple[Plane, Plane]:
    """Draw one variation.

    Args:
        image: uint8 array (H, W).
        mask: bool array (H, W).
        rng: source of all randomness.
        size: height and width of the result; smaller images are mirrored at their edges.

    Returns:
        Image and mask as float32 arrays (size, size) in 0..1; the mask holds 0 and 1 only.
    """
    grid = _grid(image.shape, rng, size)
    flip = bool(rng.integers(2))
    maps = (image.astype(np.float32) / 255.0, mask.astype(np.float32))
    picture, target = (_mirrored(_sample(m, grid), flip) for m in maps)
    return _photometry(picture, rng), (target > 0.5).astype(np.float32)


def _grid(shape: tuple[int, ...], rng: np.random.Generator, size: int) -> Plane:
    """Return source coordinates (size, size, 2) as x, y."""
    axis = np.arange(size, dtype=np.float32) - (size - 1) / 2
    grid = np.stack(np.meshgrid(axis, axis), axis=-1)
    if rng.random() < 0.8:
        grid = grid @ _linear_map(rng).T + _elastic(rng, size)
        centre = [_centre(n, size, rng) for n in shape[::-1]]
    else:
        centre = [np.round(_centre(n, size, rng) - (size - 1) / 2) + (size - 1) / 2 for n in shape]
        centre = centre[::-1]
    return np.asarray(grid + np.asarray(centre), dtype=np.float32)


def _centre(length: int, size: int, rng: np.random.Generator) -> float:
    room = max(length - size, 0) / 2 + size / 16
    return float((length - 1) / 2 + rng.uniform(-room, room))


def _linear_map(rng: np.random.Generator) -> Floats:
    angle, shear = rng.uniform(-np.pi / 8, np.pi / 8), rng.uniform(-0.1, 0.1)
    scale = np.exp(rng.uniform(-0.3, 0.3, 2) * (1.0, 0.3))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    stretch = np.array([[scale[1], shear], [0.0, 1.0 / scale[1]]])
    return np.asarray(scale[0] * turn @ stretch)


def _elastic(rng: np.random.Generator, size: int) -> Plane:
    strength = rng.uniform(0.0, 0.025) * size
    coarse = rng.normal(0.0, strength, (6, 6, 2)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)


def _sample(picture: Plane, grid: Plane) -> Plane:
    border = cv2.BORDER_REFLECT_101 if min(picture.shape) > 1 else cv2.BORDER_REPLICATE
    warped = cv2.remap(picture, grid[..., 0], grid[..., 1], cv2.INTER_LINEAR, borderMode=border)
    return np.asarray(warped, np.float32)


def _mirrored(picture: Plane, flip: bool) -> Plane:
    return picture[:, ::-1] if flip else picture


def _photometry(picture: Plane, rng: np.random.Generator) -> Plane:
    shape = picture.shape[::-1]
    if rng.random() < 0.2:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.4, 1.0)), np.float32)
    picture = np.power(picture, np.float32(np.exp(rng.uniform(-0.4, 0.4))))
    if rng.random() < 0.5:
        coarse = rng.normal(0.0, rng.uniform(0.0, 0.12), (4, 4)).astype(np.float32)
        shading = cv2.resize(coarse, shape, interpolation=cv2.INTER_CUBIC)
        picture = np.asarray(picture + shading, np.float32)
    middle = float(picture.mean())
    contrast, brightness = rng.uniform(0.65, 1.4), rng.uniform(-0.15, 0.15)
    noise = rng.normal(0.0, rng.uniform(0.0, 0.025) * rng.integers(2), picture.shape)
    picture = np.asarray((picture - middle) * contrast + middle + brightness + noise, np.float32)
    return np.clip(picture, 0.0, 1.0)
