"""The help texts: every command in a group, with examples that the command itself accepts."""

from __future__ import annotations

import shlex

import pytest
import typer.main
from rich.text import Text
from typer.core import TyperCommand, TyperGroup

from dmic_gym.cli import app
from dmic_gym.cli.help import MEASURE, TRAIN, USE


def _commands() -> TyperGroup:
    found = typer.main.get_command(app)
    assert isinstance(found, TyperGroup)
    return found


COMMANDS = _commands()


def _examples(name: str) -> list[list[str]]:
    """The command lines below the options of a command's help."""
    epilog = COMMANDS.commands[name].epilog
    assert epilog
    title, *lines = Text.from_markup(epilog).plain.split("\n\n")
    assert title == "Examples"
    return [shlex.split(line) for line in lines]


@pytest.mark.parametrize("name", COMMANDS.commands)
def test_every_command_stands_in_a_group_and_shows_examples_it_accepts(name: str) -> None:
    command = COMMANDS.commands[name]
    assert isinstance(command, TyperCommand)
    assert command.rich_help_panel in (USE, MEASURE, TRAIN)
    for program, called, *arguments in _examples(name):
        assert (program, called) == ("dmic", name)
        command.make_context(name, arguments)  # raises where an option does not exist


def test_the_commands_are_in_the_order_of_their_groups() -> None:
    with COMMANDS.make_context("dmic", ["list"]) as context:
        names = COMMANDS.list_commands(context)
    panels = [COMMANDS.commands[name].rich_help_panel for name in names]  # type: ignore[attr-defined]
    assert panels == sorted(panels, key=(USE, MEASURE, TRAIN).index)
