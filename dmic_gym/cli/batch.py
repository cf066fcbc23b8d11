"""Working through files so that Ctrl-C is heard at once, however long one of them takes."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dmic_gym.cli.common import print_json, say, stderr, stdout
from dmic_gym.cli.notes import tell
from dmic_gym.envs.parallel import start_pool
from dmic_gym.errors import DmicError

if TYPE_CHECKING:
    from dmic_gym.deploy.files import Done
    from dmic_gym.deploy.jobs import Job, Jobs

_SOME_FAILED = 1
_INTERRUPTED = 130
_POLL_SECONDS = 0.1
_GRACE_SECONDS = 1.0
"""So long a picture may take to be finished after Ctrl-C; then it is given up."""


OnFrame = Callable[[int, int], None]
Work = Callable[["Job", OnFrame], "Done"]


def run_batch(jobs: Jobs, work: Work, workers: int = 1, *, as_json: bool = False) -> None:
    """Do the jobs, with a progress bar, and print a summary.

    Of a folder, jobs that fail are reported, the others go on, and the exit code is 1; a single
    job's error is raised.

    Args:
        jobs: in the order of the work.
        work: does one of them, and tells how many of its frames are done, of how many; called in
            threads of their own, since Python hears no signal while its main thread is inside an
            encoder.
        workers: how many threads, with one torch thread each.
        as_json: print a JSON object of all files in place of the summary.

    Raises:
        typer.Exit: some jobs failed, or the user pressed Ctrl-C (130).
        DmicError: the only job failed.
    """
    batch = _Batch(jobs, work, workers, as_json)
    future: Future[None] = Future()
    ended = threading.Event()
    with _interrupts(batch.stop):
        threading.Thread(target=_fulfil, args=(future, batch.run, ended), daemon=True).start()
        while not (ended.wait(_POLL_SECONDS) or batch.stop.is_set()):
            pass
        if batch.stop.is_set():
            finished = ended.wait(_GRACE_SECONDS)
            batch.summarise()
            if not finished:
                batch.abandon()
            raise typer.Exit(_INTERRUPTED)
    future.result()
    batch.summarise()
    if batch.failed:
        raise typer.Exit(_SOME_FAILED)


@contextmanager
def _interrupts(stop: threading.Event) -> Iterator[None]:
    """Let Ctrl-C, however often, set the event instead of raising wherever Python happens to be."""
    before = signal.signal(signal.SIGINT, lambda *_: stop.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _fulfil(future: Future[None], run: Callable[[], None], ended: threading.Event) -> None:
    try:
        run()
        future.set_result(None)
    except BaseException as error:
        future.set_exception(error)
    finally:
        ended.set()


class _Batch:
    def __init__(self, jobs: Jobs, work: Work, workers: int, as_json: bool) -> None:
        self.stop = threading.Event()
        self.failed: dict[Path, DmicError] = {}
        self._jobs = jobs
        self._work = work
        self._workers = workers
        self._as_json = as_json
        self._done: dict[Path, tuple[Path, Done]] = {}

    def run(self) -> None:
        """Do the jobs until all are done or `stop` is set."""
        from dmic_gym.cli.progress import progress_bar

        in_folder = self._jobs.in_folder
        with progress_bar() as progress:
            task = progress.add_task("files" if in_folder else "frames", total=self._count)

            def on_frame(done: int, of: int) -> None:
                if not in_folder:
                    progress.update(task, completed=done, total=of)

            def do(job: Job) -> None:
                if self.stop.is_set():
                    return
                self._try(job, on_frame)
                if in_folder:
                    progress.advance(task)
                else:
                    progress.update(task, completed=progress.tasks[task].total)

            pool = start_pool(self._workers)
            try:
                list(pool.map(do, self._jobs.jobs))
            finally:
                pool.shutdown(cancel_futures=True)

    @property
    def _count(self) -> int:
        return len(self._jobs.jobs)

    def _try(self, job: Job, on_frame: OnFrame) -> None:
        try:
            done = self._work(job, on_frame)
        except DmicError as error:
            if not self._jobs.in_folder:
                raise
            self.failed[job.source] = error
            say(f"skipped: {error}", stderr)
            return
        self._done[job.source] = (job.target, done)
        if done.word:
            tell(f"note: {str(job.source)!r} was {done.word}.")

    def abandon(self) -> None:
        """Leave at once and nothing half-written: an orderly exit would wait for the encoder."""
        for folder in {job.target.parent for job in self._jobs.jobs}:
            for partial in folder.glob(f".*.{os.getpid()}.partial"):
                partial.unlink(missing_ok=True)
        stderr.show_cursor(True)
        sys.stdout.flush()
        os._exit(_INTERRUPTED)

    def summarise(self) -> None:
        """Print counts, bytes and, where somebody asked, Dice; or JSON."""
        if self._as_json:
            print_json(self._content())
            return
        done = [done for _, done in self._done.values()]
        raw = sum(each.raw_bytes for each in done)
        coded = sum(each.coded_bytes for each in done)
        dice = [each.dice for each in done if each.dice is not None]
        words = [f"{len(done)} of {self._count} files"]
        words += [f"{sum(each.frames for each in done)} pictures"]
        words += [f"{len(self.failed)} failed"] if self.failed else []
        words += [f"{raw} bytes of samples, {coded} coded, {raw / coded:.1f}:1"] if coded else []
        words += [f"base QP {each.qp}" for each in done if len(done) == 1 and each.qp is not None]
        words += [f"lowest retained Dice {min(dice):.3f}"] if dice else []
        words += [f"left out: {_listed(self._jobs.left_out)}"] if self._jobs.left_out else []
        stdout.print(", ".join(words), markup=False, highlight=False, soft_wrap=True)

    def _content(self) -> dict[str, Any]:
        return {
            "files": [
                {"source": str(source), "target": str(target), **asdict(done)}
                for source, (target, done) in self._done.items()
            ],
            "failed": [
                {"source": str(source), "error": str(error)}
                for source, error in self.failed.items()
            ],
            "left_out": dict(self._jobs.left_out),
        }


def _listed(kinds: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
