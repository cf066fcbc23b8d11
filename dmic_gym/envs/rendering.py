"""Pictures of an episode."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from dmic_gym.envs.observations import QP_SCALE
from dmic_gym.envs.results import EncodeResult, Reference
from dmic_gym.types import RGB, Image, Mask, QPMap

PANEL_SIDE = 384
"""Side of a panel in the environments' pictures, in pixels."""

_CAPTION = 22
_GAP = 4
_MIN_SIDE = 256
_WHITE, _BLANK = 255, 235
_BOTH, _ONLY_DECODED, _ONLY_TRUTH = (80, 220, 80), (255, 80, 80), (80, 140, 255)


def draw(
    reference: Reference,
    qp_map: QPMap,
    ctu_size: int,
    result: EncodeResult | None,
    *,
    of: Reference | None = None,
    side: int | None = None,
) -> RGB:
    """Draw reference, QP map, reconstruction and mask agreement side by side.

    Agreement is against the expert mask, or the reference's mask where there is none: green where
    both see the structure, red where only the decoded image's mask does, blue where it is missed.

    Args:
        reference: the image.
        qp_map: its QPs.
        ctu_size: side of a CTU in luma samples.
        result: shown in the last two panels, which are blank without one.
        of: the image that `result` is an earlier encode of; None where it is of `reference`.
        side: of each panel, into which pictures are fitted; None keeps their size.

    Returns:
        uint8 (height, width, 3), RGB. With `side` the size does not depend on the image.
    """
    image = reference.sample.image
    panels = [
        ("reference", _rgb(image)),
        (f"QP {qp_map.min()}..{qp_map.max()}", qp_overlay(image, qp_map, ctu_size)),
        *_results(reference, result, of),
    ]
    framed = [captioned(_sized(panel, side), caption) for caption, panel in panels]
    gap = np.full((framed[0].shape[0], _GAP, 3), _WHITE, np.uint8)
    strip = [part for panel in framed for part in (gap, panel)][1:]
    return np.concatenate(strip, axis=1)


def qp_overlay(image: Image, qp_map: QPMap, ctu_size: int) -> RGB:
    """Tint each CTU by its QP, from blue (0, best quality) to red (51), over the grey image."""
    height, width = image.shape
    scaled = np.rint(qp_map * (255 / QP_SCALE)).astype(np.uint8)
    colours = cv2.applyColorMap(scaled, cv2.COLORMAP_TURBO)[:, :, ::-1]
    tiled = colours.repeat(ctu_size, axis=0).repeat(ctu_size, axis=1)[:height, :width]
    return np.asarray((0.55 * _rgb(image) + 0.45 * tiled).astype(np.uint8))


def agreement(image: Image, mask: Mask, truth: Mask) -> RGB:
    """Colour where the decoded image's mask and the true one agree and differ."""
    picture = _rgb(image // 2)
    picture[mask & truth] = _BOTH
    picture[mask & ~truth] = _ONLY_DECODED
    picture[truth & ~mask] = _ONLY_TRUTH
    return picture


def _results(
    reference: Reference, result: EncodeResult | None, of: Reference | None
) -> Iterator[tuple[str, RGB]]:
    if result is None:
        blank = np.full((*reference.sample.image.shape, 3), _BLANK, np.uint8)
        yield from (("no encode yet", blank), ("no masks yet", blank))
        return
    figures, source = result.figures, of or reference
    earlier = "" if of is None else "previous: "
    truth = source.mask if source.sample.mask is None else source.sample.mask
    masks = agreement(source.sample.image, result.mask, truth)
    yield f"{earlier}{figures.bits / 8:.0f} bytes", _rgb(result.encoded.reconstruction)
    yield f"{earlier}Dice {figures.quality:.3f}", masks


def _rgb(image: Image) -> RGB:
    return np.repeat(image[:, :, np.newaxis], 3, axis=2)


def _sized(panel: RGB, side: int | None) -> RGB:
    if side is not None:
        return _padded(_scaled(panel, side), side, side)
    enlarged = _repeated(panel, -(-_MIN_SIDE // max(panel.shape[:2])))
    return _padded(enlarged, enlarged.shape[0], max(_MIN_SIDE, enlarged.shape[1]))


def _scaled(panel: RGB, side: int) -> RGB:
    """Enlarge by a whole factor, or shrink, until the longer side fits `side`."""
    height, width = panel.shape[:2]
    longest = max(height, width)
    if longest <= side:
        return _repeated(panel, side // longest)
    small = (max(1, width * side // longest), max(1, height * side // longest))
    return np.asarray(cv2.resize(panel, small, interpolation=cv2.INTER_AREA), np.uint8)


def _repeated(panel: RGB, factor: int) -> RGB:
    return panel.repeat(factor, axis=0).repeat(factor, axis=1)


def _padded(panel: RGB, height: int, width: int) -> RGB:
    """Add white below and to the right."""
    beyond = ((0, height - panel.shape[0]), (0, width - panel.shape[1]), (0, 0))
    return np.pad(panel, beyond, constant_values=_WHITE)


def captioned(panel: RGB, text: str) -> RGB:
    """Put a line of text above a picture."""
    bar = np.full((_CAPTION, panel.shape[1], 3), _WHITE, np.uint8)
    cv2.putText(bar, text, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([bar, panel], axis=0)
