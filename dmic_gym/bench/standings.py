"""How a run stands while it goes on."""

from __future__ import annotations

from collections.abc import Iterable

from dmic_gym.bench.bdrate import bd_rate
from dmic_gym.bench.lines import Line, lines_of
from dmic_gym.bench.protocol import ANCHOR, UNUSABLE
from dmic_gym.bench.results import by_encoder
from dmic_gym.bench.rows import Record


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
        for records in by_encoder(self._records).values():
            lines = lines_of(records)
            for name in lines.keys() - {ANCHOR, UNUSABLE}:
                percent = self._percent(lines[ANCHOR], lines[name]) if ANCHOR in lines else None
                found += [] if percent is None else [(percent, name)]
        return min(found)[::-1] if found else None

    def _percent(self, anchor: Line, line: Line) -> float | None:
        images = anchor.complete & line.complete
        kept = [part.only(images) for part in (anchor, line)]
        if not images or any(len(part.points) < len(self._qps) for part in kept):
            return None
        if any(row.dice is None for part in kept for row in part.rows.values()):
            return None
        return bd_rate(*(part.curve() for part in kept)).percent
