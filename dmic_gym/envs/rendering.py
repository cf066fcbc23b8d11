"""Pictures of an episode."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from dmic_gym.envs.evaluator import EncodeResult, Reference
from dmic_gym.envs.observations import QP_SCALE
from dmic_gym.types import Mask

Picture = npt.NDArray[np.uint8]

_CAPTION = 22
_GAP = 4
_MIN_SIDE = 256
_BOTH, _ONLY_DECODED, _ONLY_TRUTH = (80, 220, 80), (255, 80, 80), (80, 140, 255)


def draw(
    reference: Reference, qp_map: npt.NDArray[np.int16], ctu_size: int, result: EncodeResult | None
) -> Picture:
    """Draw reference, QP map, reconstruction and mask agreement side by side.

    Agreement is against the expert mask, or the reference's mask where there is none: green where
    both see the structure, red where only the decoded image's mask does, blue where it is missed.
    The last two panels are black before the episode's end.

    Returns:
        uint8 (height, width, 3), RGB.
    """
    image = reference.sample.image
    panels = [
        ("reference", _rgb(image)),
        (f"QP {qp_map.min()}..{qp_map.max()}", qp_overlay(image, qp_map, ctu_size)),
        *_results(reference, result),
    ]
    framed = [_captioned(_enlarged(panel), caption) for caption, panel in panels]
    gap = np.full((framed[0].shape[0], _GAP, 3), 255, np.uint8)
    strip = [part for panel in framed for part in (gap, panel)][1:]
    return np.concatenate(strip, axis=1)


def _results(reference: Reference, result: EncodeResult | None) -> list[tuple[str, Picture]]:
    if result is None:
        black = np.zeros((*reference.sample.image.shape, 3), np.uint8)
        return [("reconstruction", black), ("masks", black)]
    figures = result.figures
    truth = reference.mask if reference.sample.mask is None else reference.sample.mask
    return [
        (f"{figures.bits / 8:.0f} bytes", _rgb(result.encoded.reconstruction)),
        (f"Dice {figures.quality:.3f}", agreement(reference.sample.image, result.mask, truth)),
    ]


def qp_overlay(image: Picture, qp_map: npt.NDArray[np.int16], ctu_size: int) -> Picture:
    """Tint each CTU by its QP, from blue (0, best quality) to red (51), over the grey image."""
    height, width = image.shape
    scaled = np.rint(qp_map * (255 / QP_SCALE)).astype(np.uint8)
    colours = cv2.applyColorMap(scaled, cv2.COLORMAP_TURBO)[:, :, ::-1]
    tiled = colours.repeat(ctu_size, axis=0).repeat(ctu_size, axis=1)[:height, :width]
    return np.asarray((0.55 * _rgb(image) + 0.45 * tiled).astype(np.uint8))


def agreement(image: Picture, mask: Mask, truth: Mask) -> Picture:
    """Colour where the decoded image's mask and the true one agree and differ."""
    picture = _rgb(image // 2)
    picture[mask & truth] = _BOTH
    picture[mask & ~truth] = _ONLY_DECODED
    picture[truth & ~mask] = _ONLY_TRUTH
    return picture


def _rgb(image: Picture) -> Picture:
    return np.repeat(image[:, :, np.newaxis], 3, axis=2)


def _enlarged(panel: Picture) -> Picture:
    """Repeat the pixels of small pictures, and widen narrow ones with white, until captions fit."""
    factor = -(-_MIN_SIDE // max(panel.shape[:2]))
    enlarged = panel.repeat(factor, axis=0).repeat(factor, axis=1)
    missing = max(0, _MIN_SIDE - enlarged.shape[1])
    return np.pad(enlarged, ((0, 0), (0, missing), (0, 0)), constant_values=255)


def _captioned(panel: Picture, text: str) -> Picture:
    bar = np.full((_CAPTION, panel.shape[1], 3), 255, np.uint8)
    cv2.putText(bar, text, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([bar, panel], axis=0)
