"""From rows to points, BD-rates and intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dmic_gym.bench.bdrate import RDCurve, bd_quality, bd_rate, bootstrap_bd_rate
from dmic_gym.bench.runner import Row, Run
from dmic_gym.errors import InvalidInputError

Rate = Literal["bits", "slice_bits"]
Quality = Literal["dice", "consistency_dice", "second_dice", "second_consistency_dice"]
Floats = npt.NDArray[np.float64]

COMPARISONS: Mapping[str, tuple[Quality, Rate]] = {
    "consistency": ("consistency_dice", "bits"),
    "second": ("second_dice", "bits"),
    "second_consistency": ("second_consistency_dice", "bits"),
    "slices": ("dice", "slice_bits"),
}
"""BD-rates given beside the one on Dice and total bits."""

_MEANS = (
    "bits",
    "slice_bits",
    "dice",
    "consistency_dice",
    "second_dice",
    "second_consistency_dice",
    "psnr",
    "encodes",
    "seconds",
)


def summarize(
    run: Run, anchor: str, qp_sets: Mapping[str, Sequence[int]], *, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Return each agent's part of ``results.json``.

    Args:
        run: the rows; every agent has the same images and base QPs.
        anchor: the agent that the others are compared with.
        qp_sets: base QPs by name; the first set is the headline.
        seed: of the bootstrap.

    Returns:
        By agent, for the headline set: ``bd_rate_percent`` on Dice (None where undefined),
        ``bd_rate_note``, ``ci95`` (bootstrap over images), ``bd_dice``, and the same for each of
        `COMPARISONS` under its name; under the name of each further set the same again. Then
        ``points`` (means over images at each base QP) and ``images`` (the rows).

    Raises:
        InvalidInputError: no image was coded.
    """
    if not run.rows[anchor]:
        raise InvalidInputError(f"No image is left to compare. Failed: {dict(run.failed)}.")
    headline, *others = qp_sets
    return {
        name: {
            **_compare_set(run.rows[anchor], rows, qp_sets[headline], seed),
            **{key: _compare_set(run.rows[anchor], rows, qp_sets[key], seed) for key in others},
            "points": points(rows),
            "images": [row.as_dict() for row in rows],
        }
        for name, rows in run.rows.items()
    }


def points(rows: Sequence[Row]) -> list[dict[str, float | None]]:
    """Return the means over images at each base QP, ascending; None where an image has no value."""
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


def _compare_set(
    anchor: Sequence[Row], rows: Sequence[Row], qps: Sequence[int], seed: int
) -> dict[str, Any]:
    return compare_all(
        [row for row in anchor if row.base_qp in qps],
        [row for row in rows if row.base_qp in qps],
        seed,
    )


def compare_all(anchor: Sequence[Row], rows: Sequence[Row], seed: int = 0) -> dict[str, Any]:
    """Return the BD-rates of `rows` against `anchor`, the same images in both.

    The points of either need not be base QPs: a still codec's are its qualities.

    Returns:
        As `summarize` has them for one QP set, without points and images.
    """
    return {
        **_compare(anchor, rows, "dice", "bits", seed),
        **{
            name: _compare(anchor, rows, quality, rate, seed)
            for name, (quality, rate) in COMPARISONS.items()
        },
    }


@dataclass(frozen=True)
class _Grid:
    """Bits and quality, each (images, base QPs)."""

    bits: Floats
    quality: Floats

    @classmethod
    def of(cls, rows: Sequence[Row], quality: Quality, rate: Rate) -> _Grid:
        return cls(_grid(rows, rate), _grid(rows, quality))

    def mean_curve(self) -> RDCurve:
        return RDCurve(self.bits.mean(axis=0), self.quality.mean(axis=0))


def _compare(
    anchor_rows: Sequence[Row], rows: Sequence[Row], quality: Quality, rate: Rate, seed: int
) -> dict[str, Any]:
    if why := _why_not(rows, quality):
        return {
            "bd_rate_percent": None,
            "bd_rate_note": f"undefined: {why}",
            "ci95": None,
            "bd_dice": None,
        }
    anchor, test = _Grid.of(anchor_rows, quality, rate), _Grid.of(rows, quality, rate)
    result = bd_rate(anchor.mean_curve(), test.mean_curve())
    interval = bootstrap_bd_rate(anchor.bits, anchor.quality, test.bits, test.quality, seed=seed)
    return {
        "bd_rate_percent": result.percent,
        "bd_rate_note": "; ".join(note for note in (result.note, interval.note) if note),
        "ci95": None if interval.bounds is None else list(interval.bounds),
        "bd_dice": bd_quality(anchor.mean_curve(), test.mean_curve()).delta,
    }


def _why_not(rows: Sequence[Row], quality: Quality) -> str:
    """Return why there is no comparison, or nothing."""
    if not rows:
        return "no image has all base QPs"
    if all(getattr(row, quality) is not None for row in rows):
        return ""
    return "no second segmenter" if quality.startswith("second") else "images without mask"


def _grid(rows: Sequence[Row], name: str) -> Floats:
    qps = sorted({row.base_qp for row in rows})
    names = list(dict.fromkeys(row.name for row in rows))
    grid = np.full((len(names), len(qps)), np.nan)
    for row in rows:
        grid[names.index(row.name), qps.index(row.base_qp)] = getattr(row, name)
    return grid
