"""Fit and ship the calibration of a posterior, on images that its networks have not seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.metrics import binarize, dice, expected_dice
from dmic_gym.tasks.segmenters.calibration import (
    Calibration,
    calibration_error,
    fit_calibration,
    reliability,
)
from dmic_gym.tasks.segmenters.crossval import fold_blocks
from dmic_gym.tasks.segmenters.loader import Annotated, expert_mask
from dmic_gym.tasks.segmenters.network import NetworkSegmenter, load_segmenter
from dmic_gym.tasks.segmenters.posterior import mirror_average
from dmic_gym.tasks.segmenters.train import versions
from dmic_gym.tasks.segmenters.weights import read_card, write_json
from dmic_gym.types import Images, Mask, Probability

MOST_PIXELS = 30_000_000
"""How many pixels a calibration is fitted on; neighbours tell nearly the same."""

Maps = list[Probability]
Masks = list[Mask]


def fit_posterior(
    samples: Sequence[Annotated],
    folds: Sequence[Sequence[str | Path]],
    members: Sequence[str],
    *,
    out: str | Path,
    name: str = "posterior",
    bins: int = 16,
    data: Sequence[str] = (),
    command: str = "",
) -> Path:
    """Fit an isotonic calibration on held-out predictions and write it as JSON.

    The reliability table in the file is cross-validated: each block of samples is calibrated by
    what was fitted on the other blocks. Where the samples have more than ``MOST_PIXELS`` pixels,
    every second (third, ...) row and column is used.

    Args:
        samples: the samples the folds were trained on, in the same order.
        folds: for each member of the ensemble its fold checkpoints, in order.
        members: names of the networks that the posterior is to use, in the same order.
        out: folder for ``NAME.json``.
        name: name of the file.
        bins: knots of the calibration at most.
        data: words for the file: what the samples are.
        command: the command line for the file.

    Returns:
        The path of the file.

    Raises:
        InvalidInputError: a sample has no mask, the numbers of folds differ, or the checkpoints
            held out other samples than these.
    """
    if len(folds) != len(members) or len({len(f) for f in folds}) != 1:
        raise InvalidInputError(
            "fit_posterior needs one list of fold checkpoints for each member, all equally long; "
            f"got {len(members)} members and lists of {[len(f) for f in folds]}."
        )
    blocks = fold_blocks(len(samples), len(folds[0]))
    samples = list(samples)  # read once
    raw: Maps = []
    for k, block in enumerate(blocks):
        networks = [_held_out(paths[k], samples, block) for paths in folds]
        raw += [mirror_average(networks, _image(samples[i]))[0] for i in block]
    masks = [expert_mask(sample) for sample in samples]
    calibrated = _cross_calibrated(raw, masks, blocks, bins)
    calibration = fit_calibration(_joined(raw), _joined(masks), bins)
    content = _content(calibration, raw, calibrated, masks)
    used = [load_segmenter(member, "cpu") for member in members]
    hashes = {m: s.card.sha256 for m, s in zip(members, used, strict=True) if s.card}
    head = {
        "name": name,
        "members": hashes,
        "folds": [read_card(Path(path)).sha256 for paths in folds for path in paths],
        "data": list(data),
        "command": command,
    }
    path = Path(out) / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, head | content | {"versions": versions()})
    return path


def _cross_calibrated(raw: Maps, masks: Masks, blocks: Sequence[range], bins: int) -> Maps:
    result: Maps = []
    for block in blocks:
        rest = [i for i in range(len(raw)) if i not in block]
        fitted = fit_calibration(
            _joined([raw[i] for i in rest]), _joined([masks[i] for i in rest]), bins
        )
        result += [fitted(raw[i]) for i in block]
    return result


def _content(calibration: Calibration, raw: Maps, calibrated: Maps, masks: Masks) -> dict[str, Any]:
    truth = _joined(masks)
    table = reliability(_joined(calibrated), truth)
    predictions = [binarize(p) for p in raw]
    expected = [expected_dice(m, p) for m, p in zip(predictions, calibrated, strict=True)]
    found = [dice(m, t) for m, t in zip(predictions, masks, strict=True)]
    return {
        "raw": [round(v, 6) for v in calibration.raw],
        "calibrated": [round(v, 6) for v in calibration.calibrated],
        "reliability_raw": reliability(_joined(raw), truth),
        "reliability": table,
        "calibration_error_raw": round(calibration_error(reliability(_joined(raw), truth)), 5),
        "calibration_error": round(calibration_error(table), 5),
        "expected_dice": round(float(np.mean(expected)), 4),
        "held_out_dice": round(float(np.mean(found)), 4),
        "expected_dice_correlation": round(float(np.corrcoef(expected, found)[0, 1]), 4),
        "images": len(masks),
    }


def _held_out(path: str | Path, samples: Sequence[Annotated], block: range) -> NetworkSegmenter:
    segmenter = load_segmenter(path, "cpu")
    names = [samples[i].name for i in block]
    if segmenter.card is None or list(segmenter.card.metrics.get("held_out", {})) != names:
        raise InvalidInputError(
            f"{path} did not hold out {names}. Pass the samples of the training run in its order."
        )
    return segmenter


def _image(sample: Annotated) -> Images:
    return sample.image[np.newaxis]


def _joined(arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Join the pixels of all images, of a coarser grid where they are more than memory is for."""
    step = math.ceil(math.sqrt(sum(array.size for array in arrays) / MOST_PIXELS))
    return np.concatenate([array[::step, ::step].ravel() for array in arrays])
