"""A spawned process that codes groups and dies with its parent."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import threading
import warnings
from contextlib import suppress
from multiprocessing.connection import Connection

from dmic_gym.bench.plan import Group
from dmic_gym.bench.rows import Record
from dmic_gym.bench.runner import run_group
from dmic_gym.errors import WorkerError

_READY = "ready"


class Worker:
    """One process as its parent sees it.

    Attributes:
        connection: readable when there is something to `receive`.
        alive: whether it was when last heard of.
    """

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, far_end = context.Pipe()
        self._group: Group | None = None
        self.alive = True
        self._ready = False
        self._process = context.Process(target=_serve, args=(far_end,), daemon=True)
        self._process.start()
        far_end.close()

    @property
    def busy(self) -> bool:
        """Whether a group is unfinished."""
        return bool(self.left_over())

    def begin(self, group: Group) -> None:
        """Hand over a group; not while `busy`."""
        self._group = group
        with suppress(OSError):  # it has died: `receive` will find out
            self.connection.send(group)

    def left_over(self) -> list[Group]:
        """Return what is left of the group that it was given, if anything."""
        return [self._group] if self._group is not None and self._group.cells else []

    def receive(self) -> Record | None:
        """Return the next record, a failure if the process has died; None for a mere greeting.

        Raises:
            WorkerError: it died before it was ready.
        """
        assert self._group is not None
        try:
            said = self.connection.recv()
        except (EOFError, OSError):
            said = self._last_words()
        if said == _READY:
            self._ready = True
            return None
        self._group = self._group.without_first()
        record: Record = said
        return record

    def kill(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.join()
        self.connection.close()

    def _last_words(self) -> Record:
        assert self._group is not None
        self.alive = False
        self.kill()
        code = self._process.exitcode
        if not self._ready:
            raise WorkerError(
                f"A worker process could not start (exit code {code}); its own words are above. "
                'In a script of your own, start the sweep below if __name__ == "__main__":.'
            )
        return self._group.cells[0].failed(f"The worker process died (exit code {code}).")


def _serve(connection: Connection) -> None:
    """Code groups until the parent hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    os.environ["OMP_NUM_THREADS"] = "1"  # for networks that load torch later than we look
    threading.Thread(target=_die_with_parent, daemon=True).start()
    for module in ("provenance", "workbench"):  # heavy imports before "ready"
        importlib.import_module(f"dmic_gym.bench.{module}")
    warnings.filterwarnings("ignore", "The policy .* was trained for")  # the parent has said so
    connection.send(_READY)
    while True:
        try:
            group: Group = connection.recv()
        except EOFError:
            return
        for record in run_group(group):
            connection.send(record)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
