"""Vessels on a pixel grid: how much they attenuate, and the mask an expert would draw."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from dmic_gym.tasks.data.phantoms.vessels import FRAME, Vessel
from dmic_gym.types import Floats, Mask, Plane

MIN_MARKED_RADIUS = 1.55
_CLASS_RATIO = 1.3


def frame_scale(shape: tuple[int, int]) -> float:
    """Pixels per reference unit of width: the harmonic mean over both axes of a grid.

    With it the vessels' share of the area on oblong grids is about that on square ones.
    """
    return 2.0 / (FRAME / shape[0] + FRAME / shape[1])


def project(vessels: Sequence[Vessel], shape: tuple[int, int]) -> Plane:
    """Attenuating path length through all vessels at each pixel of a grid.

    A tube of radius r that crosses the image plane is seen with thickness 2 sqrt(r^2 - d^2) at
    distance d from its centreline. That is exactly what a disc of radius r leaves behind when it
    is swept along the centreline, so points are splatted and convolved with discs, one
    convolution per class of radii (linear mixing between neighbouring classes).

    Returns:
        float32 (H, W), in reference units (a full tube of radius 4 gives 8 in its middle).
    """
    points, radius, weight = _samples(vessels, shape)
    out = np.zeros(shape, np.float32)
    if len(points) == 0:
        return out
    level = np.log(radius) / np.log(_CLASS_RATIO)
    lowest = int(np.floor(level.min()))
    lower = np.floor(level).astype(int)
    part = level - lower
    scale = frame_scale(shape)
    for k in range(lowest, int(lower.max()) + 2):
        share = np.where(lower == k, 1 - part, 0) + np.where(lower == k - 1, part, 0)
        used = share > 0
        if used.any():
            splat = _splat(points[used], (share * weight)[used], shape)
            out += cv2.filter2D(splat, -1, _disc(_CLASS_RATIO**k), borderType=cv2.BORDER_CONSTANT)
    return np.asarray(np.maximum(out, 0) / scale, np.float32)


def _samples(vessels: Sequence[Vessel], shape: tuple[int, int]) -> tuple[Floats, Floats, Floats]:
    stretch = np.array([shape[1], shape[0]]) / FRAME
    scale = frame_scale(shape)
    points, radii, weights = [], [], []
    for v in vessels:
        xy = v.points * stretch
        lengths = np.hypot(*np.diff(xy, axis=0).T)
        along = np.concatenate([[0.0], np.cumsum(lengths)])
        count = max(int(along[-1] / 0.5), 2)
        t = (np.arange(count) + 0.5) * along[-1] / count
        points.append(np.stack([np.interp(t, along, xy[:, 0]), np.interp(t, along, xy[:, 1])], 1))
        radii.append(np.interp(t, along, v.radius) * scale)
        weights.append(np.interp(t, along, v.density) * along[-1] / count)
    if not points:
        empty = np.zeros(0)
        return empty.reshape(0, 2), empty, empty
    return np.concatenate(points), np.concatenate(radii), np.concatenate(weights)


def _splat(points: Floats, weight: Floats, shape: tuple[int, int]) -> Plane:
    """Spread each weight bilinearly over the four pixels around its point."""
    height, width = shape
    xy = points - 0.5
    corner = np.floor(xy).astype(np.int64)
    frac = xy - corner
    total = np.zeros((height + 1) * (width + 1))
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        x, y = corner[:, 0] + dx, corner[:, 1] + dy
        wx = frac[:, 0] if dx else 1 - frac[:, 0]
        wy = frac[:, 1] if dy else 1 - frac[:, 1]
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        index = np.where(inside, y * (width + 1) + x, len(total) - 1)
        total += np.bincount(index, np.where(inside, weight * wx * wy, 0), len(total))
    return np.ascontiguousarray(total.reshape(height + 1, width + 1)[:-1, :-1], np.float32)


def _disc(radius: float) -> Plane:
    """A disc with soft pixel edges whose sum is its area."""
    reach = int(np.ceil(radius + 0.5))
    offset = np.arange(-reach, reach + 1)
    distance = np.hypot(offset[:, None], offset[None, :])
    disc = np.clip(radius + 0.5 - distance, 0, 1)
    return np.asarray(disc * (np.pi * radius**2 / disc.sum()), np.float32)


def draw_mask(vessels: Sequence[Vessel], shape: tuple[int, int]) -> Mask:
    """The marked vessels as an expert would outline them, bool (H, W).

    Thin vessels are drawn a little wider than they are, as experts do. On grids too coarse to
    resolve a vessel the pixels it covers most are kept, so that the area fraction stays.
    """
    over = max(int(np.ceil(4 * FRAME / np.sqrt(shape[0] * shape[1]))), 1)
    canvas = np.zeros((shape[0] * over, shape[1] * over), np.uint8)
    stretch = np.array([canvas.shape[1], canvas.shape[0]]) / FRAME
    unit = over * frame_scale(shape)
    for v in vessels:
        if v.marked:
            xy = np.round(v.points * stretch * 8).astype(int)
            wide = np.round(2 * np.maximum(v.radius, MIN_MARKED_RADIUS) * unit).astype(int)
            for a, b, w in zip(xy[:-1].tolist(), xy[1:].tolist(), wide.tolist(), strict=False):
                cv2.line(canvas, a, b, 255, max(w, 1), cv2.LINE_8, 3)
    cover = cv2.resize(canvas, shape[::-1], interpolation=cv2.INTER_AREA)
    threshold = min(127.0, float(np.quantile(cover, 1 - canvas.mean(dtype=np.float64) / 255)))
    return np.asarray(cover > threshold, dtype=np.bool_)
