"""The `dmic` command: thin, one function a subcommand."""

from __future__ import annotations

import sys
import warnings
from typing import Annotated, Any

import typer
from rich.markup import escape

from dmic_gym import __version__
from dmic_gym.cli import deploy, measure, policies, reports, segmenters, sweeps
from dmic_gym.cli.common import app, stderr, stdout
from dmic_gym.errors import DmicError

__all__ = ["app", "deploy", "main", "measure", "policies", "reports", "segmenters", "sweeps"]


def _print_version(asked: bool) -> None:
    if asked:
        stdout.print(f"dmic_gym {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version."),
    ] = False,
) -> None:
    """Diagnosis-oriented bit allocation inside a real HEVC encoder."""


def main() -> None:
    """Run the command; errors of ours are one line, not a traceback, and warnings too."""
    warnings.showwarning = _warn  # type: ignore[assignment]
    try:
        app()
    except DmicError as error:
        stderr.print(f"[bold red]Error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(2)


def _warn(message: Warning | str, *_: Any) -> None:
    stderr.print(f"[yellow]Warning:[/] {escape(str(message))}", highlight=False, soft_wrap=True)
