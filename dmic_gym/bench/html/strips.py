"""Picture strips: the best, median and worst image of the featured line, coded again."""

from __future__ import annotations

import hashlib
import math
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dmic_gym.bench.cells import Cell, Row
from dmic_gym.bench.clips import coded_groups, references_of
from dmic_gym.bench.datasets import Source
from dmic_gym.bench.per_image import extremes, featured, line_of, savings
from dmic_gym.bench.protocol import ANCHOR, METRIC
from dmic_gym.bench.replay import TOLERANCE
from dmic_gym.bench.results import Encoder
from dmic_gym.bench.rows import Record
from dmic_gym.bench.workbench import workbench
from dmic_gym.envs.rendering import agreement, qp_overlay
from dmic_gym.envs.results import EncodeResult, Reference
from dmic_gym.errors import DmicError
from dmic_gym.tasks.data.clip import Clip

Picture = npt.NDArray[np.uint8]
Records = Mapping[tuple[str, str, int], Record]
"""By line, image and operating point, of one data set and encoder."""

LARGEST = 512
"""Longer side of a picture in a report; larger ones are shrunk."""

_GAP = 8


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture of a strip.

    Attributes:
        title: what it shows.
        note: a figure to it.
        picture: uint8 (H, W, 3), RGB, or (H, W), grey.
    """

    title: str
    note: str
    picture: Picture

    @property
    def data_uri(self) -> str:
        """The picture as a PNG that stands in the page itself."""
        return "data:image/png;base64," + b64encode(_png(self.picture)).decode()


@dataclass(frozen=True, eq=False)
class Strip:
    """One image: reference, QP map, reconstruction, and where the masks agree.

    The anchor's reconstruction and mask beside are those at its base QP of the nearest size.

    Attributes:
        place: ``"best"``, ``"median"`` or ``"worst"`` saving.
        image: its name.
        point: the operating point shown, such as ``"QP 32"``.
        saving: BD-rate on Dice of the image in percent.
        panels: from left to right.
    """

    place: str
    image: str
    point: str
    saving: float
    panels: Sequence[Panel]

    @property
    def png(self) -> bytes:
        """All panels side by side as a file."""
        colour = [_rgb(panel.picture) for panel in self.panels]
        gap = np.full((colour[0].shape[0], _GAP, 3), 255, np.uint8)
        return _png(np.concatenate([part for one in colour for part in (gap, one)][1:], axis=1))


def make_strips(
    results: Mapping[str, Any],
    records: Sequence[Record],
    sources: Mapping[tuple[str, str], Source],
) -> tuple[list[Strip], list[str]]:
    """Code the featured line's best, median and worst image again and draw them.

    Args:
        results: of one data set and encoder.
        records: of the store.
        sources: images or clips by (data set, name).

    Returns:
        The strips, and why others are missing.
    """
    name = featured(results)
    if name is None:
        return [], []
    protocol, rates = results["protocol"], savings(results, name)
    found = _of_encoder(records, protocol)
    strips, missing = [], []
    for place, image in extremes(rates).items():
        source = sources.get((protocol["data"], image))
        if source is None:
            missing.append(f"No picture of {image}: the image is not at hand.")
            continue
        try:
            strips.append(_strip(results, name, place, source, found))
        except DmicError as error:
            missing.append(f"No picture of {image}: {error}")
    return strips, missing


def _of_encoder(records: Sequence[Record], protocol: Mapping[str, Any]) -> Records:
    wanted = Encoder.of_protocol(protocol)
    return {
        (cell.line, cell.image, cell.point): record
        for record in records
        for cell in [record.cell]
        if (cell.is_still and cell.data == wanted.data) or Encoder.of(cell) == wanted
    }


def _strip(
    results: Mapping[str, Any], name: str, place: str, source: Source, found: Records
) -> Strip:
    saving = savings(results, name)[source.name] or 0.0
    qp = _middle(results["protocol"]["qp_sets"])
    point = qp if name in results["agents"] else _nearest(results, name, qp)
    record = found[name, source.name, point]
    anchor = _anchor_of_like_size(found, source.name, _row(record).bits)
    what = f"QP {qp}" if name in results["agents"] else f"quality {point}"
    return Strip(place, source.name, what, saving, list(_panels(record, anchor, source)))


def _anchor_of_like_size(found: Records, image: str, bits: int) -> Record:
    """Return the anchor's record of an image whose bits are nearest by their logarithm."""
    anchors = [one for (line, name, _), one in found.items() if (line, name) == (ANCHOR, image)]
    return min(anchors, key=lambda one: abs(math.log(_row(one).bits / bits)))


def _middle(qp_sets: Mapping[str, Sequence[int]]) -> int:
    headline = sorted(next(iter(qp_sets.values())))
    return headline[len(headline) // 2]


def _nearest(results: Mapping[str, Any], name: str, qp: int) -> int:
    """Return the still codec's quality whose mean consistency Dice is nearest to the anchor's."""
    points = {p["base_qp"]: p["consistency_dice"] for p in line_of(results, ANCHOR)["points"]}
    own = line_of(results, name)["points"]
    best = min(own, key=lambda point: abs(point["consistency_dice"] - points[qp]))
    return int(best["quality"])


def _panels(record: Record, anchor: Record, source: Source) -> Iterator[Panel]:
    cell, row, base = record.cell, _row(record), _row(anchor)
    shown = _shown(cell, source)
    image = shown.sample.image
    truth = shown.mask if shown.sample.mask is None else shown.sample.mask
    found, plain = _coded_again(record, source), _coded_again(anchor, source)
    yield Panel("Reference", f"{image.shape[1]} x {image.shape[0]}{_place(source)}", _shrunk(image))
    if not cell.is_still:
        overlay = qp_overlay(image, found.qp_map, cell.ctu_size)
        span = f"QP {found.qp_map.min()} to {found.qp_map.max()}"
        yield Panel("QP map", span, _shrunk(overlay))
    yield Panel("Reconstruction", f"{row.bits // 8:,} bytes", _shrunk(found.encoded.reconstruction))
    size = f"QP {anchor.cell.point}, {base.bits // 8:,} bytes"
    yield Panel("Anchor's reconstruction", size, _shrunk(plain.encoded.reconstruction))
    yield Panel("Mask agreement", _dice(row), _shrunk(agreement(image, found.mask, truth)))
    yield Panel("Anchor's agreement", _dice(base), _shrunk(agreement(image, plain.mask, truth)))


def _place(source: Source) -> str:
    return f", frame {len(source) // 2} of {len(source)}" if isinstance(source, Clip) else ""


def _shown(cell: Cell, source: Source) -> Reference:
    """Return the image, or the middle frame of a clip."""
    bench = workbench(cell)
    if not isinstance(source, Clip):
        return bench.evaluator.reference(source)
    references = references_of(bench.video, source, cell)
    frames = [one.frame(index) for one in references for index in range(len(one.gop))]
    return frames[len(frames) // 2]


def _coded_again(record: Record, source: Source) -> EncodeResult:
    """Return what a stored cell comes to; of a clip, its middle frame.

    Raises:
        DmicError: codec or segmenter failed, or bitstream or Dice are not the stored ones.
    """
    cell, row = record.cell, _row(record)
    bench = workbench(cell)
    if isinstance(source, Clip):
        references = references_of(bench.video, source, cell)
        groups = list(coded_groups(bench.video, references, cell.point, row.qp_map))
        frames = [frame for group in groups for frame in group.frames]
        found: EncodeResult = frames[len(frames) // 2]
        bitstream, dice = b"".join(group.bitstream for group in groups), None
    else:
        found = bench.result(cell, bench.evaluator.reference(source), row.qp_map)
        bitstream, dice = found.encoded.bitstream, found.figures.dice
    if hashlib.sha256(bitstream).hexdigest() != row.sha256:
        raise DmicError(f"{cell} gives another bitstream here than the stored one.")
    if dice is not None and row.dice is not None and abs(dice - row.dice) > TOLERANCE:
        raise DmicError(f"{cell} is segmented otherwise here than for the stored Dice.")
    return found


def _row(record: Record) -> Row:
    if record.row is None:
        raise DmicError(f"{record.cell} has no result.")
    return record.row


def _dice(row: Row) -> str:
    if row.dice is None:
        return f"consistency {METRIC} {row.consistency_dice:.3f}"
    return f"{METRIC} {row.dice:.3f}"


def _shrunk(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    factor = LARGEST / max(height, width)
    if factor >= 1:
        return picture
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _rgb(picture: Picture) -> Picture:
    return picture if picture.ndim == 3 else np.repeat(picture[:, :, np.newaxis], 3, axis=2)


def _png(picture: Picture) -> bytes:
    bgr = picture if picture.ndim == 2 else picture[:, :, ::-1]
    data = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1]
    return bytes(data)
