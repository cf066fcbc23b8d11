"""What `dmic --help` shows beside the options: groups of commands, their order, examples."""

from __future__ import annotations

from typing import Any

from typer import Context
from typer.core import TyperGroup

USE, MEASURE, TRAIN = "Use", "Measure", "Train"

_ORDER = [
    *("encode", "decode", "list", "info"),
    *("bench", "sweep", "report", "replay"),
    *("pretrain", "finetune", "train-segmenter", "train-clip-segmenter", "fit-posterior"),
]


class Grouped(TyperGroup):
    """The commands in the order in which somebody new needs them."""

    def list_commands(self, ctx: Context) -> list[str]:  # type: ignore[override]
        """Return the names of the commands; those that nobody has placed come last."""
        names = super().list_commands(ctx)
        return sorted(names, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))


def shown(panel: str, *examples: str) -> dict[str, Any]:
    """Return the arguments of ``app.command`` that name a command's group and show examples."""
    return {"rich_help_panel": panel, "epilog": epilog(*examples)}


def epilog(*examples: str) -> str:
    """Return command lines as they stand below the options of a help text."""
    return "\n\n".join(("[bold]Examples[/]", *examples))
