"""A run and its progress: cells done, rate, time left, best BD-rate so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Self

import typer
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from dmic_gym.bench.definition import Definition
from dmic_gym.bench.plan import Engine, SweepPlan
from dmic_gym.bench.rows import Record
from dmic_gym.bench.runner import run_sweep
from dmic_gym.bench.standings import Standings
from dmic_gym.bench.store import Store
from dmic_gym.cli.common import command_line, say, stderr
from dmic_gym.cli.progress import ProgressLines

_INTERRUPTED = 130
"""Exit status after Ctrl-C."""

_SECONDS_BETWEEN_STANDINGS = 2.0
_AGENT = 24
"""Most letters of an agent's spec."""


class _Rate(ProgressColumn):
    """Cells a second, or a minute where they are slow."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if speed is None:
            return Text("")
        return Text(f"{speed:.1f}/s" if speed >= 1 else f"{60 * speed:.1f}/min")


class RunProgress:
    """A line on stderr that follows a run; a context manager."""

    def __init__(self, definition: Definition) -> None:
        headline = next(iter(definition.base_qps.values()))
        self._standings = Standings(headline)
        self._looked = 0.0
        self._failed = 0
        self._progress = ProgressLines(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self._task = self._progress.add_task("planning", total=None, note="")

    def start(self, plan: SweepPlan, done: Sequence[Record]) -> None:
        """Show how many cells there are, and how many were done before."""
        for record in done:
            self._standings.add(record)
        total = len(plan.cells)
        before = total - len(plan.without({record.id for record in done}).cells)
        self._progress.update(self._task, description="coding", total=total, completed=before)
        self._show_note()

    def add(self, record: Record) -> None:
        """Show one more cell done."""
        self._standings.add(record)
        self._failed += record.row is None
        self._progress.update(self._task, advance=1)
        if time.monotonic() - self._looked > _SECONDS_BETWEEN_STANDINGS:
            self._show_note()

    def stop(self) -> None:
        """Leave the line as it is."""
        self._show_note()
        self._progress.stop()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _show_note(self) -> None:
        best = self._standings.best()
        parts = [] if best is None else [f"best {best[1]:+.1f} % {escape(_end_of(best[0]))}"]
        parts += [f"[red]{self._failed} failed[/]"] if self._failed else []
        self._progress.update(self._task, note=", ".join(parts))
        self._looked = time.monotonic()


def _end_of(agent: str) -> str:
    """Return an agent's spec, of a long one the end: there is one line for all of the progress."""
    return agent if len(agent) <= _AGENT else f"...{agent[3 - _AGENT :]}"


def run_shown(
    definition: Definition,
    store: Store,
    engine: Engine,
    *,
    before: Callable[[], None] = lambda: None,
    **options: Any,
) -> SweepPlan:
    """Do what `run_sweep` does and show it.

    Args:
        definition: the grid.
        store: what it is coded into.
        engine: what codes.
        before: called when the plan is made, before anything is coded.
        options: of `run_sweep`.

    Raises:
        typer.Exit: the user pressed Ctrl-C (130).
        DmicError: as `run_sweep`.
    """
    with RunProgress(definition) as progress:

        def start(plan: SweepPlan, done: Sequence[Record]) -> None:
            before()
            progress.start(plan, done)

        shown: dict[str, Any] = {"on_start": start, "on_record": progress.add}
        try:
            return run_sweep(definition, store, engine, command=command_line(), **shown, **options)
        except KeyboardInterrupt:
            progress.stop()
            kept = f"{_on_disk(store)} finished cells are in {store.path.parent}"
            say(f"Interrupted: {kept}. Go on with --resume.", stderr)
            raise typer.Exit(_INTERRUPTED) from None


def _on_disk(store: Store) -> int:
    """Count finished cells in the file: Ctrl-C may come between a write and its note in memory."""
    return len(Store.open(store.path).done()) if store.path.exists() else 0
