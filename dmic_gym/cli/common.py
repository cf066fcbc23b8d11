"""What the subcommands share: the app, consoles, options, and the words of a command line."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console

from dmic_gym.cli.help import Grouped, epilog
from dmic_gym.errors import InvalidInputError
from dmic_gym.io import portable

app = typer.Typer(
    cls=Grouped,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Diagnosis-oriented bit allocation inside a real HEVC encoder.",
    epilog=epilog(
        "dmic bench --quick              compare three agents on six images",
        "dmic encode image.png out.hevc  code an image",
        "dmic COMMAND --help             options and examples of a command",
    ),
)
stdout = Console(emoji=False)
stderr = Console(stderr=True, emoji=False)

DataOption = Annotated[
    str,
    typer.Option(
        "--data",
        "--task",
        help="A task or data set (see dmic list), or a folder of images with masks; options as in "
        '"phantoms?count=6&size=128" or "FOLDER?select=::4".',
    ),
]
SegmenterOption = Annotated[
    str | None,
    typer.Option(
        help="Weights by name or path, module:object, or a folder of train-segmenter --folds.",
        show_default="the task's, else unet",
    ),
]

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON for programs, in place of tables and lines.")
]


def say(line: str, console: Console = stdout) -> None:
    """Print a line as it is; signs that the terminal lacks become question marks."""
    text = line.encode(console.encoding, "replace").decode(console.encoding)
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def print_json(content: object) -> None:
    """Print JSON and nothing else, for programs."""
    sys.stdout.write(json.dumps(content, indent=1, allow_nan=False) + "\n")


def each(option: str, values: Sequence[str], count: int) -> list[str]:
    """Return one value for each of `count` data sets; raise InvalidInputError if there is none."""
    if len(values) not in (1, count):
        raise InvalidInputError(
            f"{option} is given {len(values)} times for {count} data sets: give it once, or once "
            "for each."
        )
    return list(values) * (count // len(values))


def qp_sets_of(text: str) -> dict[str, Sequence[int]]:
    """Return the base QPs that `--qps` means, by name of the set."""
    from dmic_gym.bench.protocol import LOW_RATE_QPS, STANDARD_QPS

    sets: dict[str, dict[str, Sequence[int]]] = {
        "standard": {"standard": STANDARD_QPS},
        "low": {"low_rate": LOW_RATE_QPS},
        "both": {"standard": STANDARD_QPS, "low_rate": LOW_RATE_QPS},
    }
    return sets.get(text) or {"custom": integers_of("--qps", text)}


def names_of(text: str) -> list[str]:
    """Split a list with commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def integers_of(option: str, text: str) -> list[int]:
    """Return the integers of a list with commas, in which 26..47 stands for all from 26 to 47.

    Raises:
        InvalidInputError: it holds something else.
    """
    try:
        return [number for word in names_of(text) for number in _integers(word)]
    except ValueError as error:
        raise InvalidInputError(
            f"{option} {text!r} must be integers with commas between, as in {option} 22,27,32,37, "
            f"or a range, as in {option} 26..47."
        ) from error


def _integers(word: str) -> Sequence[int]:
    first, _, last = word.partition("..")
    return range(int(first), int(last or first) + 1)


def command_line() -> str:
    """Return this process's command line for records."""
    return portable(shlex.join(["dmic", *sys.argv[1:]]))
