"""`dmic replay` as functions: stored QP maps coded and scored again."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from dmic_gym.bench.cells import Cell
from dmic_gym.bench.datasets import Source, load_again
from dmic_gym.bench.provenance import surroundings
from dmic_gym.bench.rows import Record
from dmic_gym.bench.workbench import workbench
from dmic_gym.errors import DataError, DmicError, InvalidInputError
from dmic_gym.tasks.threads import one_torch_thread

TOLERANCE = 1e-3
"""Largest difference of a Dice, and of a PSNR in dB, that counts as equal."""

_CHUNK = 12
"""Cells that a process takes at once: often of one image, whose importance map they share."""

_EXACT = ("bits", "slice_bits", "sha256")
_CLOSE = (
    "dice",
    "consistency_dice",
    "second_dice",
    "second_consistency_dice",
    "psnr",
)


@dataclass(frozen=True)
class Verdict:
    """What came of replaying a cell.

    Attributes:
        record: as stored.
        differences: what is not as stored, in words; empty where all is.
    """

    record: Record
    differences: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether bits and bitstream are equal and every quality is within `TOLERANCE`."""
        return not self.differences


def sampled(records: Sequence[Record], count: int | None, seed: int = 0) -> list[Record]:
    """Return `count` of the records, drawn without replacement and in order; None returns all.

    Raises:
        InvalidInputError: `count` is below 1, or there are no records.
    """
    if not records:
        raise InvalidInputError("The store has no finished cell to replay.")
    if count is None or count >= len(records):
        return list(records)
    if count < 1:
        raise InvalidInputError(f"--sample {count} is too few. Nearest: 1.")
    drawn = random.Random(seed).sample(range(len(records)), count)
    return [records[index] for index in sorted(drawn)]


def replay(records: Sequence[Record], base: Path | None = None, jobs: int = 1) -> Iterator[Verdict]:
    """Code each record's stored QP map again (a still's quality) and compare; no agent is asked.

    One torch thread a process, as in a sweep. A cell that cannot be replayed is a difference.

    Args:
        records: of a store.
        base: folder in which relative paths of data begin, see `Store.base`.
        jobs: processes, which are spawned; 1 replays in this one, as do a dozen records.

    Yields:
        The verdicts, in the order of the records.
    """
    _by_name.cache_clear()
    judge = partial(_verdict, base=base)
    workers = min(jobs, -(-len(records) // _CHUNK))
    if workers <= 1:
        yield from map(judge, records)
        return
    with get_context("spawn").Pool(workers, _begin) as pool:
        yield from pool.imap(judge, records, _CHUNK)


def _begin() -> None:
    """Leave Ctrl-C to the parent, and the other cores to the other processes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["OMP_NUM_THREADS"] = "1"


def _verdict(record: Record, base: Path | None) -> Verdict:
    try:
        source = _found(_by_name(record.cell.data, base), record.cell)
        return Verdict(record, tuple(_differences(record, source)))
    except DmicError as error:
        return Verdict(record, (str(error),))


def _differences(record: Record, source: Source) -> Iterator[str]:
    cell, stored = record.cell, record.row
    if stored is None:
        yield "the cell failed, there is nothing to compare with"
        return
    bench = workbench(cell)
    with one_torch_thread():
        found = bench.replay(cell, source, stored.qp_map)
    unequal = [name for name in _EXACT if getattr(found, name) != getattr(stored, name)]
    close = _CLOSE if stored.iou is None else (*_CLOSE, "iou")  # older rows do not have it
    unequal += [name for name in close if not _close(getattr(found, name), getattr(stored, name))]
    for name in unequal:
        yield f"{name} {_short(getattr(found, name))}, stored {_short(getattr(stored, name))}"
    here = surroundings(cell, source, bench) if unequal else {}
    for key, value in here.items():
        if value != record.provenance.get(key):
            yield f"{key} is another now: {value}, stored {record.provenance.get(key)}"


def _close(found: float | None, stored: float | None) -> bool:
    if found is None or stored is None:
        return found is stored
    return abs(found - stored) <= TOLERANCE


def _short(value: Any) -> str:
    return f"{value[:12]}..." if isinstance(value, str) else str(value)


@lru_cache(2)
def _by_name(data: str, base: Path | None) -> Mapping[str, Source]:
    return {source.name: source for source in load_again(data, base)}


def _found(sources: Mapping[str, Source], cell: Cell) -> Source:
    if cell.image not in sources:
        raise DataError(f"{cell.data} has no image {cell.image!r} any more.")
    return sources[cell.image]
