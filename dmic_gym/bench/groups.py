"""What one worker is given at a time, and what it makes of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from dmic_gym.bench.cells import Cell
from dmic_gym.bench.store import Record
from dmic_gym.tasks.data.sample import Sample


@dataclass(frozen=True)
class Job:
    """A cell to be coded.

    Attributes:
        id: its identity, where it was planned.
        cell: its settings.
        provenance: what the identity was made of.
    """

    id: str
    cell: Cell
    provenance: dict[str, Any]

    def failed(self, error: str) -> Record:
        """Return the record of a failure."""
        return Record(self.id, self.cell, self.provenance, row=None, error=error)


@dataclass(frozen=True)
class Group:
    """Cells of one image and encoder, which share importance map, tables and anchors.

    Attributes:
        sample: the image, as it was when it was hashed.
        jobs: in the order in which they are coded.
    """

    sample: Sample
    jobs: tuple[Job, ...]

    def without_first(self, count: int) -> Group:
        """Return what is left when `count` jobs are done."""
        return replace(self, jobs=self.jobs[count:])


def run_group(group: Group) -> Iterator[Record]:
    """Code the cells of a group, each yielded as soon as it is finished."""
    for job in group.jobs:
        yield run_job(job, group.sample)


def run_job(job: Job, sample: Sample) -> Record:
    """Code one cell: a function of its arguments and of the packages and weights installed.

    Torch computes with one thread, so that results do not depend on the number of processors.
    Whatever goes wrong becomes the record's error, so that one bad cell ends no sweep. So does an
    installation that is not the one the cell was planned for, as on a stale cluster node.
    """
    from dmic_gym.bench.provenance import identity, provenance
    from dmic_gym.bench.workbench import workbench

    try:
        bench = workbench(job.cell)
        here = provenance(job.cell, sample, bench)
        if identity(here) != job.id:
            return job.failed(_differences(job.provenance, here))
        with single_thread():
            row, reward = bench.code(job.cell, sample)
    except Exception as error:
        return job.failed(f"{type(error).__name__}: {error}")
    return Record(job.id, job.cell, job.provenance, row, reward)


def _differences(planned: dict[str, Any], here: dict[str, Any]) -> str:
    parts = [
        f"{key} is {here[key]}, planned was {planned[key]}"
        for key in here
        if here[key] != planned.get(key)
    ]
    return f"The worker's installation differs: {'; '.join(parts)}. Install the same everywhere."


@contextmanager
def single_thread() -> Iterator[None]:
    """Let torch, if it is loaded, compute with one thread."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
