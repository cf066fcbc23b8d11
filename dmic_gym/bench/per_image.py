"""What a run says of single images: savings, their spread, and intervals of means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dmic_gym.bench.bdrate import RDCurve, bd_rate
from dmic_gym.bench.bootstrap import Draws
from dmic_gym.bench.protocol import ANCHOR, UNUSABLE

Rows = Sequence[Mapping[str, Any]]


def featured(results: Mapping[str, Any]) -> str | None:
    """Return the agent with the lowest headline BD-rate that could be used in practice.

    Without agents that have one, the still codec; None where there is neither.
    """
    usable: dict[str, Any] = {
        name: part
        for name, part in results["agents"].items()
        if name != ANCHOR and not name.startswith(UNUSABLE)
    }
    for lines in (usable, results["stills"]):
        rates = {name: part["bd_rate_percent"] for name, part in lines.items()}
        defined = {name: rate for name, rate in rates.items() if rate is not None}
        if defined:
            return min(defined, key=lambda name: defined[name])
    return next(iter(usable), None)


def line_of(results: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return an agent's or still codec's part of the results."""
    found: Mapping[str, Any] = (results["agents"] | results["stills"])[name]
    return found


def savings(results: Mapping[str, Any], name: str) -> dict[str, float | None]:
    """Return each image's BD-rate on Dice against the anchor, over all points, in percent.

    None where an image's curves have none: on one image Dice is often not monotone in the rate.
    """
    anchor, rows = (_by_image(line_of(results, key)["images"]) for key in (ANCHOR, name))
    return {image: _saving(anchor[image], part) for image, part in rows.items()}


def extremes(rates: Mapping[str, float | None]) -> dict[str, str]:
    """Return the names of the best, median and worst image among those with a BD-rate.

    Fewer than three images with one give fewer entries.
    """
    order = sorted((rate, name) for name, rate in rates.items() if rate is not None)
    if not order:
        return {}
    places = {"best": 0, "median": (len(order) - 1) // 2, "worst": len(order) - 1}
    found: dict[str, str] = {}
    for place, index in places.items():
        if order[index][1] not in found.values():
            found[place] = order[index][1]
    return found


def mean_intervals(rows: Rows, key: str) -> list[tuple[float, float] | None]:
    """Return the 95 % bootstrap interval of the mean at each point, in ascending order.

    None where an image has no value, or there is one image only.
    """
    return [
        _interval([row[key] for row in rows if point_of(row) == point])
        for point in sorted({point_of(row) for row in rows})
    ]


def point_of(found: Mapping[str, Any]) -> int:
    """Return the operating point of a row or of a mean: base QP, or quality of a still codec."""
    return int(found["base_qp"] if "base_qp" in found else found["quality"])


def _interval(values: Sequence[float | None]) -> tuple[float, float] | None:
    if None in values:
        return None
    draws = Draws(len(values))
    return draws.interval(draws.means(np.array(values, np.float64)[:, None])[:, 0]).bounds


def _by_image(rows: Rows) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["name"], []).append(row)
    return found


def _saving(anchor: Rows, rows: Rows) -> float | None:
    if any(row["dice"] is None for row in (*anchor, *rows)):
        return None
    return bd_rate(_curve(anchor), _curve(rows)).percent


def _curve(rows: Rows) -> RDCurve:
    return RDCurve(*(np.array([row[key] for row in rows], float) for key in ("bits", "dice")))
