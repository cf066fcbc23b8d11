"""Where the groups of a sweep are coded: here, in spawned processes, or on a Ray cluster."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import wait
from typing import Protocol

from dmic_gym.bench.groups import Group, run_group
from dmic_gym.bench.store import Record
from dmic_gym.bench.worker import Worker
from dmic_gym.errors import InvalidInputError, unknown_name


class Engine(Protocol):
    """Codes groups, in any order."""

    def run(self, groups: Sequence[Group]) -> Iterator[Record]:
        """Yield each record as soon as its cell is finished; closing the iterator ends the work."""
        ...


class SerialEngine:
    """One group after the other in this process: for debugging and tests."""

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


def _ray(jobs: int, address: str | None) -> Engine:
    from dmic_gym.bench.ray_engine import RayEngine

    return RayEngine(jobs, address)


ENGINES: dict[str, Callable[[int, str | None], Engine]] = {
    "process": lambda jobs, _: ProcessEngine(jobs),
    "ray": _ray,
    "serial": lambda *_: SerialEngine(),
}


def make_engine(name: str, jobs: int = 1, address: str | None = None) -> Engine:
    """Return an engine by name.

    Args:
        name: ``"process"``, ``"ray"`` or ``"serial"``.
        jobs: how many cells at a time, 1 or more; on a running Ray cluster its CPUs decide.
        address: of a running Ray cluster; None starts one on this machine.

    Raises:
        InvalidInputError: no such engine, no such number of jobs, or an address without Ray.
        MissingDependencyError: Ray is not installed.
    """
    if name not in ENGINES:
        raise unknown_name("engine", name, ENGINES)
    if jobs < 1:
        raise InvalidInputError(f"jobs={jobs} is too few. Nearest: 1.")
    if address is not None and name != "ray":
        raise InvalidInputError(f"--address is for Ray, not for {name!r}: add --engine ray.")
    return ENGINES[name](jobs, address)
