"""What is known of each CTU before coding, in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import cv2
import numpy as np

from dmic_gym.envs.complexity import complexities, ctu_max, ctu_sums
from dmic_gym.types import CTUTable, Image, Plane

FIXED_FEATURES = (
    "ctu_size",
    "row",
    "column",
    "coverage",
    "mean",
    "std",
    "gradient",
    "detail",
    "rate_22",
    "rate_32",
    "rate_42",
    "importance_mean",
    "importance_max",
    "importance_around",
    "importance_share",
    "importance_total",
    "uncertainty",
    "uncertainty_around",
    "low_confidence",
    "low_confidence_around",
    "important_mean",
    "important_contrast",
    "important_detail",
    "uncertain_contrast",
)
"""Names of the features, in order; see `CodingEnv`."""

RATE_QPS = (22, 32, 42)

_MAX_CTU = 64
_DETAIL_SIDE, _CONTRAST_SIDE = 5, 13
_LOW_CONFIDENCE = (0.05, 0.5)


def fixed_features(image: Image, importance: Plane, ctu_size: int) -> Plane:
    """Return the features of each CTU, float32 (rows * cols, len(FIXED_FEATURES)) in 0..1.

    Args:
        image: uint8 (H, W).
        importance: float32 (H, W), the segmenter's probability on the reference.
        ctu_size: side of a CTU in luma samples.
    """
    area = ctu_sums(np.ones_like(importance), ctu_size)
    pixels = image.astype(np.float32) / 255.0
    detail = _difference(pixels, _DETAIL_SIDE)
    columns = {
        **_of_place(area, ctu_size),
        **_of_texture(image, pixels, detail, area, ctu_size),
        **_of_importance(pixels, detail, importance, area, ctu_size),
    }
    stacked = np.stack([columns[name] for name in FIXED_FEATURES], axis=-1)
    clipped = np.clip(stacked.reshape(area.size, len(FIXED_FEATURES)), 0.0, 1.0)
    return np.asarray(clipped, np.float32)


def _of_place(area: CTUTable, ctu_size: int) -> Mapping[str, CTUTable]:
    rows, cols = area.shape
    row, col = np.mgrid[0:rows, 0:cols].astype(np.float64)
    return {
        "ctu_size": np.full_like(area, ctu_size / _MAX_CTU),
        "row": (row + 0.5) / rows,
        "column": (col + 0.5) / cols,
        "coverage": area / ctu_size**2,
    }


def _of_texture(
    image: Image, pixels: Plane, detail: Plane, area: CTUTable, ctu_size: int
) -> Mapping[str, CTUTable]:
    mean = ctu_sums(image / 255.0, ctu_size) / area
    variance = ctu_sums((image / 255.0) ** 2, ctu_size) / area - mean**2
    rates = np.log2(1.0 + 255.0 * complexities(image, ctu_size, RATE_QPS) / area) / 8.0
    return {
        "mean": mean,
        "std": 2.0 * np.sqrt(np.maximum(variance, 0.0)),
        "gradient": 3.0 * np.sqrt(ctu_sums(_gradient(pixels), ctu_size) / area),
        "detail": 3.0 * np.sqrt(ctu_sums(detail, ctu_size) / area),
        **{f"rate_{qp}": rate for qp, rate in zip(RATE_QPS, rates, strict=True)},
    }


def _of_importance(
    pixels: Plane, detail: Plane, importance: Plane, area: CTUTable, ctu_size: int
) -> Mapping[str, CTUTable]:
    uncertainty = 4.0 * importance * (1.0 - importance)
    low_confidence = ((importance > _LOW_CONFIDENCE[0]) & (importance < _LOW_CONFIDENCE[1])).astype(
        np.float32
    )
    contrast = _difference(pixels, _CONTRAST_SIDE)
    structure, uncertain, unsure = (
        ctu_sums(plane, ctu_size) for plane in (importance, uncertainty, low_confidence)
    )

    def where(weight: Plane, plane: Plane) -> CTUTable:
        total = ctu_sums(weight, ctu_size)
        return np.asarray(ctu_sums(weight * plane, ctu_size) / np.maximum(total, 1.0))

    return {
        "importance_mean": np.sqrt(structure / area),
        "importance_max": ctu_max(importance, ctu_size),
        "importance_around": np.sqrt(_around(structure, area)),
        "importance_share": np.sqrt(structure / max(float(structure.sum()), 1e-9)),
        "importance_total": np.full_like(area, 2.0 * np.sqrt(structure.sum() / area.sum())),
        "uncertainty": 2.0 * np.sqrt(uncertain / area),
        "uncertainty_around": 2.0 * np.sqrt(_around(uncertain, area)),
        "low_confidence": 2.0 * np.sqrt(unsure / area),
        "low_confidence_around": 2.0 * np.sqrt(_around(unsure, area)),
        "important_mean": where(importance, pixels),
        "important_contrast": 3.0 * np.sqrt(where(importance, contrast)),
        "important_detail": 3.0 * np.sqrt(where(importance, detail)),
        "uncertain_contrast": 3.0 * np.sqrt(where(uncertainty, contrast)),
    }


def _gradient(pixels: Plane) -> Plane:
    """Mean absolute difference to the left and upper neighbour, 0..1."""
    across = np.abs(np.diff(pixels, axis=1, prepend=pixels[:, :1]))
    down = np.abs(np.diff(pixels, axis=0, prepend=pixels[:1]))
    return np.asarray((across + down) / 2.0, dtype=np.float32)


def _difference(pixels: Plane, side: int) -> Plane:
    """Absolute difference to the mean of the square around each pixel, 0..1."""
    smooth = cv2.blur(pixels, (side, side), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(np.abs(pixels - smooth), dtype=np.float32)


def _around(total: CTUTable, area: CTUTable) -> CTUTable:
    """Mean of the eight neighbours of each CTU; 0 where there is none."""

    def neighbours(grid: CTUTable) -> CTUTable:
        framed = np.pad(grid, 1)
        rows, cols = grid.shape
        shifted = [framed[y : y + rows, x : x + cols] for y, x in product(range(3), repeat=2)]
        return np.asarray(np.sum(shifted, axis=0) - grid)

    return np.asarray(neighbours(total) / np.maximum(neighbours(area), 1.0))
