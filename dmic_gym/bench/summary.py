"""From rows to points, BD-rates and intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dmic_gym.bench.bdrate import RDCurve, bd_rate, bootstrap_bd_rate
from dmic_gym.bench.runner import Row, Run
from dmic_gym.errors import InvalidInputError

Quality = Literal["dice", "consistency_dice"]
Floats = npt.NDArray[np.float64]

_MEANS = ("bits", "slice_bits", "dice", "consistency_dice", "psnr", "encodes", "seconds")


def summarize(run: Run, anchor: str, *, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Return each agent's part of ``results.json``.

    Args:
        run: the rows; every agent has the same images and base QPs.
        anchor: the agent that the others are compared with.
        seed: of the bootstrap.

    Returns:
        By agent: ``bd_rate_percent`` on Dice (None where undefined), ``bd_rate_note``, ``ci95``
        (bootstrap over images), the same on consistency Dice, ``points`` (means over images at
        each base QP) and ``images`` (the rows).

    Raises:
        InvalidInputError: no image was coded.
    """
    if not run.rows[anchor]:
        raise InvalidInputError(f"No image is left to compare. Failed: {dict(run.failed)}.")
    return {
        name: {
            **_compare(run.rows[anchor], rows, "dice", seed),
            "consistency": _compare(run.rows[anchor], rows, "consistency_dice", seed),
            "points": points(rows),
            "images": [row.as_dict() for row in rows],
        }
        for name, rows in run.rows.items()
    }


def points(rows: Sequence[Row]) -> list[dict[str, float | None]]:
    """Return the means over images at each base QP, ascending; see `counted` for Dice."""
    return [
        {"base_qp": qp, **_means([row for row in rows if row.base_qp == qp])}
        for qp in sorted({row.base_qp for row in rows})
    ]


def _means(rows: Sequence[Row]) -> Mapping[str, float | None]:
    means: dict[str, float | None] = {}
    for name in _MEANS:
        values = [getattr(row, name) for row in rows]
        means[name] = None if None in values else float(np.mean(values))
    return means


def _compare(
    anchor: Sequence[Row], rows: Sequence[Row], quality: Quality, seed: int
) -> dict[str, Any]:
    if any(getattr(row, quality) is None for row in rows):
        note = "undefined: images without expert mask; see the consistency Dice"
        return {"bd_rate_percent": None, "bd_rate_note": note, "ci95": None}
    bits, values = _grid(rows, "bits"), _grid(rows, quality)
    anchor_bits, anchor_values = _grid(anchor, "bits"), _grid(anchor, quality)
    result = bd_rate(_mean_curve(anchor_bits, anchor_values), _mean_curve(bits, values))
    interval = bootstrap_bd_rate(anchor_bits, anchor_values, bits, values, seed=seed)
    return {
        "bd_rate_percent": result.percent,
        "bd_rate_note": "; ".join(note for note in (result.note, interval.note) if note),
        "ci95": None if interval.bounds is None else list(interval.bounds),
    }


def _mean_curve(bits: Floats, quality: Floats) -> RDCurve:
    return RDCurve(bits.mean(axis=0), quality.mean(axis=0))


def _grid(rows: Sequence[Row], name: str) -> Floats:
    """Return the values as (images, base QPs)."""
    qps = sorted({row.base_qp for row in rows})
    names = list(dict.fromkeys(row.name for row in rows))
    grid = np.full((len(names), len(qps)), np.nan)
    for row in rows:
        grid[names.index(row.name), qps.index(row.base_qp)] = getattr(row, name)
    return grid
