"""Working through files so that Ctrl-C is heard at once, however long one of them takes."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING

import typer

from dmic_gym.cli.common import progress_bar, stderr, stdout
from dmic_gym.errors import DmicError

if TYPE_CHECKING:
    from dmic_gym.deploy.files import Done, Job

_SOME_FAILED = 1
_INTERRUPTED = 130
_POLL_SECONDS = 0.1
_GRACE_SECONDS = 1.0
"""So long a picture may take to be finished after Ctrl-C; then it is given up."""


OnFrame = Callable[[int, int], None]
Work = Callable[["Job", OnFrame], "Done"]


def run_batch(jobs: Sequence[Job], work: Work, *, in_folder: bool) -> None:
    """Do the jobs, with a progress bar, and print a summary.

    Args:
        jobs: in the order of the work.
        work: does one of them, and tells how many of its frames are done, of how many; called in
            a thread of its own, since Python hears no signal while its main thread is inside an
            encoder.
        in_folder: report jobs that fail, go on, and exit with 1; else their error is raised.

    Raises:
        typer.Exit: some jobs failed, or the user pressed Ctrl-C (130).
        DmicError: the only job failed.
    """
    batch = _Batch(jobs, work, in_folder)
    future: Future[None] = Future()
    worker = threading.Thread(target=_fulfil, args=(future, batch.run), daemon=True)
    try:
        worker.start()
        while worker.is_alive():
            worker.join(_POLL_SECONDS)
    except KeyboardInterrupt:
        batch.stop.set()
        worker.join(_GRACE_SECONDS)
        batch.summarise()
        if worker.is_alive():
            sys.stdout.flush()
            os._exit(_INTERRUPTED)  # an orderly exit would wait for the encoder
        raise typer.Exit(_INTERRUPTED) from None
    future.result()
    batch.summarise()
    if batch.failed:
        raise typer.Exit(_SOME_FAILED)


def _fulfil(future: Future[None], run: Callable[[], None]) -> None:
    try:
        run()
        future.set_result(None)
    except BaseException as error:
        future.set_exception(error)


class _Batch:
    def __init__(self, jobs: Sequence[Job], work: Work, in_folder: bool) -> None:
        self.stop = threading.Event()
        self.failed = 0
        self._jobs = jobs
        self._work = work
        self._in_folder = in_folder
        self._done: list[Done] = []

    def run(self) -> None:
        """Do the jobs until all are done or `stop` is set."""
        with progress_bar() as progress:
            task = progress.add_task(
                "files" if self._in_folder else "frames", total=len(self._jobs)
            )

            def on_frame(done: int, of: int) -> None:
                if not self._in_folder:
                    progress.update(task, completed=done, total=of)

            for job in self._jobs:
                if self.stop.is_set():
                    return
                self._try(job, on_frame)
                if self._in_folder:
                    progress.advance(task)
                else:
                    progress.update(task, completed=progress.tasks[task].total)

    def _try(self, job: Job, on_frame: OnFrame) -> None:
        try:
            self._done.append(self._work(job, on_frame))
        except DmicError as error:
            if not self._in_folder:
                raise
            self.failed += 1
            stderr.print(f"skipped: {error}", markup=False, highlight=False, soft_wrap=True)

    def summarise(self) -> None:
        """Print counts, bytes and, where somebody asked, Dice."""
        done = list(self._done)
        raw = sum(each.raw_bytes for each in done)
        coded = sum(each.coded_bytes for each in done)
        dice = [each.dice for each in done if each.dice is not None]
        words = [f"{len(done)} of {len(self._jobs)} files"]
        words += [f"{sum(each.frames for each in done)} pictures"]
        words += [f"{self.failed} failed"] if self.failed else []
        words += [f"{raw} bytes of samples, {coded} coded, {raw / coded:.1f}:1"] if coded else []
        words += [f"base QP {each.qp}" for each in done if len(done) == 1 and each.qp is not None]
        words += [f"lowest retained Dice {min(dice):.3f}"] if dice else []
        stdout.print(", ".join(words), markup=False, highlight=False, soft_wrap=True)
