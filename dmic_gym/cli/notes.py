"""What is said on stderr beside errors and warnings, and nothing of it with --quiet."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Annotated

import typer

from dmic_gym.cli.common import say, stderr

_quiet = False


def _be_quiet(quiet: bool) -> None:
    global _quiet
    _quiet = quiet


QuietOption = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", callback=_be_quiet, help="No progress and no notes, only results."
    ),
]


def is_quiet() -> bool:
    """Whether the command was called with --quiet."""
    return _quiet


def note(words: str) -> None:
    """Say on stderr what a user should know, unless with --quiet."""
    if not _quiet:
        stderr.print("[yellow]Note:[/] ", end="")
        say(words, stderr)


def tell(words: str) -> None:
    """Say on stderr what has been done so far, unless with --quiet."""
    if not _quiet:
        say(words, stderr)


def working(words: str) -> AbstractContextManager[object]:
    """Show words on stderr while something takes its time."""
    return nullcontext() if _quiet else stderr.status(words)
