"""How a sweep stands while it goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from dmic_gym.bench.bdrate import RDCurve, bd_rate
from dmic_gym.bench.protocol import ANCHOR
from dmic_gym.bench.runner import Row
from dmic_gym.bench.store import Record
from dmic_gym.bench.summary import points
from dmic_gym.bench.sweep_results import rows_by_encoder

_UNFAIR = "oracle"
"""The agent that no comparison of usable ones counts: it knows the expert mask."""


class Standings:
    """The best BD-rate so far.

    Args:
        qps: base QPs of the headline set.
    """

    def __init__(self, qps: Iterable[int]) -> None:
        self._qps = frozenset(qps)
        self._records: list[Record] = []

    def add(self, record: Record) -> None:
        """Take in a finished cell."""
        if record.row is not None and record.cell.base_qp in self._qps:
            self._records.append(record)

    def best(self) -> tuple[str, float] | None:
        """Return the agent and its BD-rate on Dice in percent, or None while there is none.

        Over the images that the agent and its anchor have been coded with at every base QP.
        """
        found: list[tuple[float, str]] = []
        for agents in rows_by_encoder(self._records).values():
            for name in agents.keys() - {ANCHOR, _UNFAIR}:
                percent = self._bd_rate(agents.get(ANCHOR, []), agents[name])
                found += [] if percent is None else [(percent, name)]
        return min(found)[::-1] if found else None

    def _bd_rate(self, anchor: Sequence[Row], rows: Sequence[Row]) -> float | None:
        images = self._complete(anchor) & self._complete(rows)
        kept = [[row for row in part if row.name in images] for part in (anchor, rows)]
        if not images or any(row.dice is None for row in kept[1]):
            return None
        return bd_rate(*(_curve(part) for part in kept)).percent

    def _complete(self, rows: Sequence[Row]) -> set[str]:
        count = Counter(row.name for row in rows)
        return {name for name in count if count[name] == len(self._qps)}


def _curve(rows: Sequence[Row]) -> RDCurve:
    means = points(rows)
    return RDCurve(*(np.array([p[key] for p in means], float) for key in ("bits", "dice")))
