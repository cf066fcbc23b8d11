"""Where the groups of a sweep are coded: here, in spawned processes, or on a Ray cluster."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import wait

from dmic_gym.bench.plan import Engine, Group
from dmic_gym.bench.rows import Record
from dmic_gym.bench.runner import run_group
from dmic_gym.bench.worker import Worker
from dmic_gym.errors import InvalidInputError


class SerialEngine:
    """One group after the other in this process."""

    def run(self, groups: Sequence[Group]) -> Iterator[Record]:
        """Yield the records in order."""
        for group in groups:
            yield from run_group(group)


class ProcessEngine:
    """Spawned processes, a group at a time each; nothing is forked.

    A process that dies takes with it the one cell it was coding; another takes over the rest.
    They end when this process does, even if it is killed.

    Args:
        jobs: how many processes.
    """

    def __init__(self, jobs: int = 1) -> None:
        self._jobs = jobs

    def run(self, groups: Sequence[Group]) -> Iterator[Record]:
        """Yield each record as it comes.

        Raises:
            WorkerError: a process could not start.
        """
        waiting = deque(groups)
        workers = [Worker() for _ in range(min(self._jobs, len(groups)))]
        try:
            while waiting or any(worker.busy for worker in workers):
                for worker in workers:
                    if waiting and not worker.busy:
                        worker.begin(waiting.popleft())
                for worker in _heard(workers):
                    record = worker.receive()
                    if not worker.alive:
                        workers[workers.index(worker)] = Worker()
                        waiting.extendleft(worker.left_over())
                    if record is not None:
                        yield record
        finally:
            for worker in workers:
                worker.kill()


def _heard(workers: Sequence[Worker]) -> list[Worker]:
    """Wait until a worker that has work says something, or dies."""
    busy = {worker.connection: worker for worker in workers if worker.busy}
    return [busy[connection] for connection in wait(list(busy))]  # type: ignore[index]


def make_engine(jobs: int | None = None, ray: str | None = None) -> Engine:
    """Return what codes the cells.

    Args:
        jobs: processes, 1 or more; 1 codes in this process, None takes all cores. On a running
            Ray cluster its CPUs decide.
        ray: address of a running Ray cluster, or ``"local"`` for one that is started here; None
            does without Ray.

    Raises:
        InvalidInputError: no such number of jobs.
        MissingDependencyError: Ray is not installed.
    """
    count = cores() if jobs is None else jobs
    if count < 1:
        raise InvalidInputError(f"--jobs {count} is too few. Nearest: 1.")
    if ray is not None:
        from dmic_gym.bench.ray_engine import RayEngine

        return RayEngine(count, None if ray == "local" else ray)
    return SerialEngine() if count == 1 else ProcessEngine(count)


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
