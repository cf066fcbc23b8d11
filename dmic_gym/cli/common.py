"""What the subcommands share: the app, consoles, options, and the words of a command line."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from dmic_gym.errors import InvalidInputError

if TYPE_CHECKING:
    from dmic_gym.tasks.data import Sample
    from dmic_gym.tasks.segmenters.protocol import Segmenter

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Diagnosis-oriented bit allocation inside a real HEVC encoder.",
)
stdout = Console(emoji=False)
stderr = Console(stderr=True, emoji=False)

DataOption = Annotated[
    str, typer.Option(help='"phantoms", "dca1", "dca1-test", or a folder of images with masks.')
]
SegmenterOption = Annotated[
    str | None, typer.Option(help="module:object in place of the shipped network.")
]


def segmenter_of(spec: str | None) -> Segmenter | None:
    """Return the segmenter of `module:object`, or None for the shipped one."""
    if spec is None:
        return None
    from dmic_gym.io import load_instance

    segmenter: Segmenter = load_instance(spec)
    return segmenter


def trained_segmenter(spec: str) -> Segmenter:
    """Return the network of a name, of a weights file, or of `module:object`."""
    from dmic_gym.envs.settings import named_segmenter

    return named_segmenter(spec)


def select(data: str, take: str, **options: Any) -> Sequence[Sample]:
    """Return the images of a data set that a slice START:STOP:STEP takes.

    Raises:
        InvalidInputError: no data set, or no slice.
        DataError: the folder holds no readable images.
    """
    from dmic_gym.tasks.data import load_dataset

    samples = load_dataset(data, **options)
    try:
        bounds = slice(*(int(part) if part else None for part in take.split(":")))
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"--select {take!r} must be START:STOP:STEP, as in --select 0::4 for every fourth."
        ) from error
    if bounds.step == 0 or not (chosen := samples if take.strip(":") == "" else samples[bounds]):
        raise InvalidInputError(
            f"--select {take!r} takes none of the {len(samples)} images of {data}. All: --select ::"
        )
    return chosen


def select_training(data: str, take: str, phantoms: int, size: int | None) -> Sequence[Sample]:
    """Return what `select` does, of so many phantoms, or of DAVIS frames scaled to `size`."""
    if data == "phantoms":
        return select(data, take, count=phantoms)
    return select(data, take, **({} if size is None else {"size": size}))


def each(option: str, values: Sequence[str], count: int) -> list[str]:
    """Return one value for each of `count` data sets; raise InvalidInputError if there is none."""
    if len(values) not in (1, count):
        raise InvalidInputError(
            f"{option} is given {len(values)} times for {count} data sets: give it once, or once "
            "for each."
        )
    return list(values) * (count // len(values))


def second_segmenter() -> Segmenter:
    """Return the shipped network that only scores."""
    from dmic_gym.tasks.segmenters.network import load_segmenter

    return load_segmenter("second")


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
    """Return the integers of a list with commas; raise InvalidInputError for others."""
    try:
        return [int(word) for word in names_of(text)]
    except ValueError as error:
        raise InvalidInputError(
            f"{option} {text!r} must be integers with commas between, as in {option} 22,27,32,37."
        ) from error


def command_line() -> str:
    """Return this process's command line for records."""
    return portable(shlex.join(["dmic", *sys.argv[1:]]))


def portable(text: str) -> str:
    """Write the data folder as its variable, so that a record holds on other machines."""
    folder = os.environ.get("DMIC_DATA", "").rstrip("/")
    return text.replace(folder, "$DMIC_DATA") if folder else text


def progress_bar() -> Progress:
    """Return a progress bar on stderr."""
    return Progress(
        TextColumn("{task.description:>12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=stderr,
    )


def stages(progress: Progress) -> Callable[[str, int, int, str], None]:
    """Return what shows stage, how much of it is done and of how much, and a word on it."""
    bars: dict[str, TaskID] = {}

    def show(stage: str, done: int, total: int, word: str) -> None:
        if stage not in bars:
            bars[stage] = progress.add_task(stage, total=total)
        progress.update(bars[stage], completed=done, description=f"{stage} {word}")

    return show
