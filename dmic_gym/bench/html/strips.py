"""Picture strips: the best, median and worst image of the featured line, coded again."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dmic_gym.bench.cells import Row
from dmic_gym.bench.per_image import extremes, featured, line_of, savings
from dmic_gym.bench.protocol import ANCHOR, METRIC
from dmic_gym.bench.replay import TOLERANCE
from dmic_gym.bench.rows import Record
from dmic_gym.bench.workbench import workbench
from dmic_gym.envs.rendering import agreement, qp_overlay
from dmic_gym.envs.results import EncodeResult
from dmic_gym.errors import DmicError
from dmic_gym.tasks.data.sample import Sample

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
    samples: Mapping[tuple[str, str], Sample],
) -> tuple[list[Strip], list[str]]:
    """Code the featured line's best, median and worst image again and draw them.

    Args:
        results: of one data set and encoder.
        records: of the store.
        samples: images by (data set, name).

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
        sample = samples.get((protocol["data"], image))
        if sample is None:
            missing.append(f"No picture of {image}: the image is not at hand.")
            continue
        try:
            strips.append(_strip(results, name, place, sample, found))
        except DmicError as error:
            missing.append(f"No picture of {image}: {error}")
    return strips, missing


def _of_encoder(records: Sequence[Record], protocol: Mapping[str, Any]) -> Records:
    wanted = tuple(protocol[key] for key in ("data", "codec", "ctu_size", "preset"))
    return {
        (cell.line, cell.image, cell.point): record
        for record in records
        for cell in [record.cell]
        if (cell.is_still and cell.data == wanted[0])
        or (cell.data, cell.codec, cell.ctu_size, cell.preset) == wanted
    }


def _strip(
    results: Mapping[str, Any], name: str, place: str, sample: Sample, found: Records
) -> Strip:
    saving = savings(results, name)[sample.name] or 0.0
    qp = _middle(results["protocol"]["qp_sets"])
    point = qp if name in results["agents"] else _nearest(results, name, qp)
    record, anchor = found[name, sample.name, point], found[ANCHOR, sample.name, qp]
    what = f"QP {qp}" if name in results["agents"] else f"quality {point}, anchor at QP {qp}"
    return Strip(place, sample.name, what, saving, list(_panels(record, anchor, sample)))


def _middle(qp_sets: Mapping[str, Sequence[int]]) -> int:
    headline = sorted(next(iter(qp_sets.values())))
    return headline[len(headline) // 2]


def _nearest(results: Mapping[str, Any], name: str, qp: int) -> int:
    """Return the still codec's quality whose mean consistency Dice is nearest to the anchor's."""
    points = {p["base_qp"]: p["consistency_dice"] for p in line_of(results, ANCHOR)["points"]}
    own = line_of(results, name)["points"]
    best = min(own, key=lambda point: abs(point["consistency_dice"] - points[qp]))
    return int(best["quality"])


def _panels(record: Record, anchor: Record, sample: Sample) -> Iterator[Panel]:
    image, cell = sample.image, record.cell
    evaluator = workbench(cell).evaluator
    truth = evaluator.reference(sample).mask if sample.mask is None else sample.mask
    row, base = _row(record), _row(anchor)
    found, plain = _coded_again(record, sample), _coded_again(anchor, sample)
    yield Panel("Reference", f"{image.shape[1]} x {image.shape[0]}", _shrunk(image))
    if not cell.is_still:
        overlay = qp_overlay(image, found.qp_map, cell.ctu_size)
        span = f"QP {found.qp_map.min()} to {found.qp_map.max()}"
        yield Panel("QP map", span, _shrunk(overlay))
    sizes = f"{row.bits // 8:,} bytes, anchor {base.bits // 8:,}"
    yield Panel("Reconstruction", sizes, _shrunk(found.encoded.reconstruction))
    yield Panel("Mask agreement", _dice(row), _shrunk(agreement(image, found.mask, truth)))
    yield Panel("Anchor's agreement", _dice(base), _shrunk(agreement(image, plain.mask, truth)))


def _coded_again(record: Record, sample: Sample) -> EncodeResult:
    """Return what a stored cell comes to.

    Raises:
        DmicError: codec or segmenter failed, or bitstream or Dice are not the stored ones.
    """
    cell, row = record.cell, _row(record)
    bench = workbench(cell)
    found = bench.result(cell, bench.evaluator.reference(sample), row.qp_map)
    if hashlib.sha256(found.encoded.bitstream).hexdigest() != row.sha256:
        raise DmicError(f"{cell} gives another bitstream here than the stored one.")
    dice = found.figures.dice
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
