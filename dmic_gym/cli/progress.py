"""Progress on stderr: bars on a terminal, plain lines in a log, nothing with --quiet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from dmic_gym.cli.common import stderr
from dmic_gym.cli.notes import is_quiet

_SECONDS_BETWEEN_LINES = 30.0


class ProgressLines(Progress):
    """Progress on stderr; where that is no terminal, a line a task and half minute, without bar."""

    def __init__(self, *columns: ProgressColumn) -> None:
        shown = [c for c in columns if stderr.is_terminal or not isinstance(c, BarColumn)]
        super().__init__(*shown, console=stderr, disable=is_quiet())
        self._said = self.get_time()

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """Set a task's numbers and words."""
        super().update(task_id, **changes)
        self._log()

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """Do so many steps of a task."""
        super().advance(task_id, advance)
        self._log()

    def _log(self) -> None:
        now = self.get_time()
        if stderr.is_terminal or self.disable or now - self._said < _SECONDS_BETWEEN_LINES:
            return
        self._said = now
        for task in self.tasks:
            if not task.finished:
                shown = [c(task) for c in self.columns if isinstance(c, ProgressColumn)]
                words = [word for word in shown if isinstance(word, Text) and word.plain]
                stderr.print(Text(" ").join(words), soft_wrap=True)


def progress_bar() -> ProgressLines:
    """Return a progress bar on stderr."""
    return ProgressLines(
        TextColumn("{task.description:>12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )


def stages(progress: Progress) -> Callable[[str, int, int, str], None]:
    """Return what shows stage, how much of it is done and of how much, and a word on it."""
    bars: dict[str, TaskID] = {}

    def show(stage: str, done: int, total: int, word: str) -> None:
        if stage not in bars:
            bars[stage] = progress.add_task(stage, total=total)
        progress.update(bars[stage], completed=done, description=f"{stage} {word}")

    return show
