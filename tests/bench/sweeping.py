"""What the tests of sweeps share: a small sweep, agents that do harm, rows to compare."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from itertools import count
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

from dmic_gym.bench.definition import Definition
from dmic_gym.bench.engines import SerialEngine
from dmic_gym.bench.plan import Engine, SweepPlan
from dmic_gym.bench.rows import Record
from dmic_gym.bench.runner import run_sweep
from dmic_gym.bench.store import Store
from tests.bench.records import stored

SMALL: dict[str, Any] = {
    "data": ["phantoms?count=2&size=96"],
    "agents": ["anchor", "roi"],
    "base_qps": [27, 32, 37],
    "presets": ["ultrafast"],
    "segmenter": "tests.support:vesselness",
    "second": "",
}
"""Two images, three QPs, two agents: twelve cells without weights."""


def small(**changes: Any) -> Definition:
    """The small sweep, with other values for some of its keys."""
    return Definition.of({**SMALL, **changes})


def toml(folder: Path, **changes: Any) -> Path:
    """Write the small sweep as a file."""
    path = folder / "small.toml"
    values = {**SMALL, **changes}
    path.write_text("".join(f"{key} = {value!r}\n" for key, value in values.items()))
    return path


def run_into(
    folder: Path, definition: Definition, engine: Engine | None = None, **options: Any
) -> SweepPlan:
    """Run a sweep into the store of a folder."""
    with Store.create(folder) as store:
        return run_sweep(definition, store, engine or SerialEngine(), **options)


def swept(folder: Path, **changes: Any) -> list[Record]:
    """Run the small sweep here; return its records."""
    run_into(folder, small(**changes))
    return stored(folder)


def comparable(records: list[Record]) -> dict[str, tuple[Any, ...]]:
    """All of the records but times and runs, by id."""
    return {
        r.id: (r.cell, r.provenance, r.row and replace(r.row, seconds=0.0), r.error)
        for r in records
    }


class Harmful:
    """An agent that takes one action, and that does harm when its turn has come.

    ``HARM`` in the environment names a folder in which it counts its episodes; without it, it
    does nothing but act.
    """

    turns: tuple[int, ...] = ()

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[int, bool]:
        folder = os.environ.get("HARM")
        turn = state is None and folder is not None and self.counts()
        if turn and claimed(Path(str(folder))) in self.turns:
            self.harm()
        return 4, True

    def counts(self) -> bool:
        """Whether this episode takes a turn."""
        return True

    def harm(self) -> None:
        raise NotImplementedError


def claimed(folder: Path) -> int:
    """The lowest number that no process has claimed in `folder`, which is claimed now."""
    for number in count():
        try:
            Path(folder, str(number)).touch(exist_ok=False)
        except FileExistsError:
            continue
        return number
    raise AssertionError


def sweeping_process() -> int:
    """The process that runs the sweep: this one, or the one that started this worker."""
    return os.getpid() if parent_process() is None else os.getppid()


class KillsTheSweep(Harmful):
    """Kills the process that runs the sweep, twice in the course of it."""

    turns = (2, 5)

    def counts(self) -> bool:
        """Not in a worker of a sweep that is being killed: it would waste the turn."""
        return not self._mark().exists()

    def harm(self) -> None:
        self._mark().touch()
        os.kill(sweeping_process(), signal.SIGKILL)

    def _mark(self) -> Path:
        """Says that the sweep of this process is killed, whether or not it is dead yet."""
        parent = parent_process()
        sweep = os.getpid() if parent is None else parent.pid
        return Path(os.environ["HARM"], f"killed-{sweep}")


class InterruptsTheSweep(Harmful):
    """Does what Ctrl-C does, but to the process that runs the sweep alone."""

    turns = (2,)

    def harm(self) -> None:
        os.kill(sweeping_process(), signal.SIGINT)


class KillsItsWorker(Harmful):
    """Dies as a process that the system kills for its memory."""

    turns = (2,)

    def harm(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Fails(Harmful):
    """Has a bug."""

    turns = (1,)

    def harm(self) -> None:
        raise ZeroDivisionError("a bug of the user's")
