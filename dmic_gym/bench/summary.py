"""From lines to BD-rates, bits at a quality, and what two agents differ in, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from dmic_gym.bench.bdrate import RDCurve, bd_quality, bd_rate
from dmic_gym.bench.bootstrap import Draws, Interval, bd_rates, bits_at
from dmic_gym.bench.lines import Line
from dmic_gym.bench.protocol import LEVELS
from dmic_gym.types import Floats

Measures: TypeAlias = Mapping[str, tuple[str, str]]

MEASURES: Measures = {
    "consistency": ("consistency_dice", "bits"),
    "second": ("second_dice", "bits"),
    "second_consistency": ("second_consistency_dice", "bits"),
    "slices": ("dice", "slice_bits"),
    "psnr": ("psnr", "bits"),
}
"""BD-rates given beside the one on Dice and total bits: quality and rate of each."""

CLIP_MEASURES: Measures = {"iou": ("iou", "bits"), **MEASURES}
"""The same of clips: DAVIS' region similarity J, the IoU, is among them."""

LEVEL_QUALITIES = ("dice", "second_dice", "consistency_dice")
"""Qualities of which the bits at a level are given."""


@dataclass(frozen=True, eq=False)
class Found:
    """A statistic.

    Attributes:
        part: what ``results.json`` holds of it.
        value: its estimate in percent of the anchor's bits; None where undefined.
        resampled: float array (resamples,), NaN where undefined.
    """

    part: dict[str, Any]
    value: float | None
    resampled: Floats


class Comparer:
    """Compares lines with the anchor, all on the same resamples of the images.

    Args:
        anchor: the anchor's line; all images complete.
        seed: of the bootstrap.
    """

    def __init__(self, anchor: Line, seed: int = 0) -> None:
        self._anchor = anchor
        self._draws = Draws(len(anchor.images), seed=seed)

    def bd_rate(
        self, line: Line, qps: Sequence[int] | None, quality: str = "dice", rate: str = "bits"
    ) -> Found:
        """Return the BD-rate of a line.

        Args:
            line: on the anchor's images.
            qps: base QPs to compare at; None takes all points of both.
            quality: figure of the rows.
            rate: figure of the rows.
        """
        if why := _why_not(line, quality):
            return Found(_bd_part(None, f"undefined: {why}"), None, np.array([]))
        grids = [part.grid(key, qps) for part in (self._anchor, line) for key in (rate, quality)]
        means = [grid.mean(axis=0) for grid in grids]
        anchor, test = RDCurve(*means[:2]), RDCurve(*means[2:])
        found = bd_rate(anchor, test)
        resampled = bd_rates(*(self._draws.means(grid) for grid in grids))
        interval = self._interval(found.percent, resampled, "BD-rate")
        note = _joined(found.note, interval.note)
        delta = bd_quality(anchor, test).delta
        part = _bd_part(found.percent, note, _bounds(interval), delta, found.span)
        return Found(part, found.percent, resampled)

    def bits_at(self, line: Line, share: int, quality: str = "dice") -> Found:
        """Return the bits at a share of the anchor's best quality, over all points of the run.

        Args:
            line: on the anchor's images.
            share: percent of the anchor's best mean quality.
            quality: figure of the rows.
        """
        if why := _why_not(line, quality):
            return Found(_bits_part(None, None, None, f"undefined: {why}"), None, np.array([]))
        grids = [part.grid(key) for part in (self._anchor, line) for key in ("bits", quality)]
        mean = [grid.mean(axis=0, keepdims=True) for grid in grids]
        (anchor_bits,), (bits,) = _bits_at(mean, share)
        level = share / 100 * float(mean[1].max())
        percent = _finite(100 * (bits / anchor_bits - 1))
        anchors, tests = _bits_at([self._draws.means(grid) for grid in grids], share)
        resampled = 100 * (tests / anchors - 1)
        interval = self._interval(percent, resampled, "bits at this quality")
        note = "" if percent is not None else _not_reached(mean, level)
        part = _bits_part(
            level, _finite(bits), percent, _joined(note, interval.note), _bounds(interval)
        )
        return Found(part, percent, resampled)

    def differences(self, found: Found, rivals: Mapping[str, Found]) -> dict[str, dict[str, Any]]:
        """Return by how many percentage points a statistic lies above that of each rival.

        Both are resampled together, so that the interval is that of the difference.
        """
        return {name: self._difference(found, rival) for name, rival in rivals.items()}

    def _difference(self, found: Found, rival: Found) -> dict[str, Any]:
        if found.value is None or rival.value is None:
            return {"points": None, "ci95": None, "note": ""}
        interval = self._draws.interval(found.resampled - rival.resampled, "difference")
        points = found.value - rival.value
        return {"points": points, "ci95": _bounds(interval), "note": interval.note}

    def _interval(self, value: float | None, resampled: Floats, what: str) -> Interval:
        return Interval(None, "") if value is None else self._draws.interval(resampled, what)


def summarize(
    lines: Mapping[str, Line],
    anchor: str,
    qp_sets: Mapping[str, Sequence[int]],
    *,
    rivals: Sequence[str] = (),
    measures: Measures = MEASURES,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Return each agent's part of ``results.json``.

    Args:
        lines: by agent; all have the same images and base QPs.
        anchor: the agent that the others are compared with.
        qp_sets: base QPs by name; the first set is the headline.
        rivals: agents with which each other one is compared too.
        measures: `MEASURES` or `CLIP_MEASURES`.
        seed: of the bootstrap.

    Returns:
        By agent, for the headline set: ``bd_rate_percent`` on Dice (None where undefined),
        ``bd_rate_note``, ``ci95`` (bootstrap over images), ``bd_quality``, ``quality_range`` (that
        the BD-rate averages over), ``against`` (by rival: ``points``, the difference of the two
        BD-rates in percentage points, with ``ci95``), and the same for each of `measures` under
        its name, ``against`` included; under the name of each further set the same again. Then
        ``bits_at`` (by quality and level, see `Comparer.bits_at`), ``points`` (means over images at
        each base QP) and ``images`` (the rows).
    """
    comparer = Comparer(lines[anchor], seed)
    headline, *others = qp_sets
    sets = {key: _of_set(comparer, lines, qp_sets[key], rivals, measures) for key in qp_sets}
    levels = {quality: _levels(comparer, lines, quality, rivals) for quality in LEVEL_QUALITIES}
    return {
        name: {
            **sets[headline][name],
            **{key: sets[key][name] for key in others},
            "bits_at": {quality: levels[quality][name] for quality in LEVEL_QUALITIES},
            "points": line.means(),
            "images": line.as_dicts(),
        }
        for name, line in lines.items()
    }


def summarize_still(anchor: Line, line: Line) -> dict[str, Any]:
    """Return a still codec's part of ``results.json``, over all points of both.

    Returns:
        As `summarize` has it for an agent, without sets and rivals.
    """
    comparer = Comparer(anchor)
    return {
        **comparer.bd_rate(line, None).part,
        **{key: comparer.bd_rate(line, None, *what).part for key, what in MEASURES.items()},
        "bits_at": {
            quality: {str(share): comparer.bits_at(line, share, quality).part for share in LEVELS}
            for quality in LEVEL_QUALITIES
        },
        "points": line.means(),
        "images": line.as_dicts(),
    }


def _bd_part(
    percent: float | None,
    note: str,
    bounds: list[float] | None = None,
    delta: float | None = None,
    span: tuple[float, float] | None = None,
) -> dict[str, Any]:
    return {
        "bd_rate_percent": percent,
        "bd_rate_note": note,
        "ci95": bounds,
        "bd_quality": delta,
        "quality_range": None if span is None else list(span),
    }


def _bits_part(
    level: float | None,
    bits: float | None,
    percent: float | None,
    note: str,
    bounds: list[float] | None = None,
) -> dict[str, Any]:
    return {"level": level, "bits": bits, "percent": percent, "ci95": bounds, "note": note}


def _of_set(
    comparer: Comparer,
    lines: Mapping[str, Line],
    qps: Sequence[int],
    rivals: Sequence[str],
    measures: Measures,
) -> dict[str, dict[str, Any]]:
    parts = _parts(comparer, lines, qps, rivals)
    others = {key: _parts(comparer, lines, qps, rivals, *what) for key, what in measures.items()}
    return {
        name: {**part, **{key: other[name] for key, other in others.items()}}
        for name, part in parts.items()
    }


def _parts(
    comparer: Comparer,
    lines: Mapping[str, Line],
    qps: Sequence[int],
    rivals: Sequence[str],
    *what: str,
) -> dict[str, dict[str, Any]]:
    """Return a BD-rate by line, and what it differs by from those of the rivals."""
    found = {name: comparer.bd_rate(line, qps, *what) for name, line in lines.items()}
    return {
        name: {**one.part, "against": comparer.differences(one, _others(found, name, rivals))}
        for name, one in found.items()
    }


def _levels(
    comparer: Comparer, lines: Mapping[str, Line], quality: str, rivals: Sequence[str]
) -> dict[str, dict[str, Any]]:
    parts: dict[str, dict[str, Any]] = {name: {} for name in lines}
    for share in LEVELS:
        found = {name: comparer.bits_at(line, share, quality) for name, line in lines.items()}
        for name, one in found.items():
            against = comparer.differences(one, _others(found, name, rivals))
            parts[name][str(share)] = {**one.part, "against": against}
    return parts


def _others(found: Mapping[str, Found], name: str, rivals: Sequence[str]) -> dict[str, Found]:
    return {rival: found[rival] for rival in rivals if rival in found and rival != name}


def _bits_at(means: Sequence[Floats], share: int) -> tuple[Floats, Floats]:
    """Return the bits of anchor and test, each (curves,), of four arrays (curves, points)."""
    anchor_bits, anchor_quality, bits, quality = means
    level = share / 100 * anchor_quality.max(axis=1)
    return bits_at(anchor_bits, anchor_quality, level), bits_at(bits, quality, level)


def _not_reached(means: Sequence[Floats], level: float) -> str:
    """Return why a level cannot be read off the curves of anchor or test, each (1, points)."""
    anchor_bits, anchor_quality, test_bits, test_quality = means
    curves = {"the": (test_bits, test_quality), "the anchor's": (anchor_bits, anchor_quality)}
    for whose, (bits, quality) in curves.items():
        first, best = float(quality[0, bits.argmin()]), float(quality.max())
        if best < level:
            return f"undefined: {whose} curve ends at {best:.3f}, the level is {level:.3f}"
        if first > level:
            return f"undefined: {whose} curve begins at {first:.3f}, the level is {level:.3f}"
    return "undefined"


def _why_not(line: Line, quality: str) -> str:
    """Return why there is no comparison, or nothing."""
    if not np.isnan(line.grid(quality)).any():
        return ""
    return "no second segmenter" if quality.startswith("second") else "images without mask"


def _finite(value: float | np.floating[Any]) -> float | None:
    return float(value) if np.isfinite(value) else None


def _bounds(interval: Interval) -> list[float] | None:
    return None if interval.bounds is None else list(interval.bounds)


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
