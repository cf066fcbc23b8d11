"""``dmic train-segmenter``, ``train-clip-segmenter`` and ``fit-posterior``."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from dmic_gym.cli.common import (
    app,
    command_line,
    say,
    stderr,
)
from dmic_gym.cli.help import TRAIN, shown
from dmic_gym.cli.notes import QuietOption, tell
from dmic_gym.errors import InvalidInputError
from dmic_gym.io import portable


@app.command(
    "train-segmenter",
    **shown(
        TRAIN,
        "dmic train-segmenter --data my-images --out weights --name mine",
        "dmic train-segmenter --data my-images --folds 5 --out folds --name mine",
    ),
)
def train_segmenter(
    out: Annotated[Path, typer.Option(help="Folder for the weights and their card.")],
    data: Annotated[
        list[str],
        typer.Option(
            help="A task, a data set or a folder with masks, with options as in "
            '"phantoms?count=400"; repeatable.'
        ),
    ],
    epochs: Annotated[int, typer.Option(help="Passes over the images.")] = 120,
    seed: Annotated[int, typer.Option(help="Of weights, order and augmentation.")] = 0,
    folds: Annotated[int, typer.Option(help="K >= 2 trains K networks, cross-validated.")] = 0,
    name: Annotated[str, typer.Option(help="Name of the files written.")] = "unet",
    architecture: Annotated[str, typer.Option(help="unet or dilated.")] = "unet",
    argument: Annotated[
        list[str] | None, typer.Option(help="NAME=JSON of the architecture, shrink=2; repeatable.")
    ] = None,
    init: Annotated[str | None, typer.Option(help="Weights to start from.")] = None,
    crop: Annotated[int, typer.Option(help="Side of the square training crops, pixels.")] = 256,
    rate: Annotated[float, typer.Option(help="Peak of the learning rate.")] = 2e-3,
    test: Annotated[
        str | None, typer.Option(help="Unseen images to measure it on, once; in the card.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    resume: Annotated[bool, typer.Option(help="Go on where the same command was cut off.")] = False,
    minutes: Annotated[
        float | None, typer.Option(help="Stop after the epoch that passes this; --resume goes on.")
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Train a segmentation network and write it with a card that says how."""
    from dmic_gym.cli.progress import progress_bar, stages
    from dmic_gym.tasks.registry import task_of
    from dmic_gym.tasks.segmenters.fit import Epoch, Recipe
    from dmic_gym.tasks.segmenters.train import Network, train

    tasks = [task_of(spec) for spec in data]
    samples = [sample for task in tasks for sample in task.load_data("train")]
    network = Network(
        name,
        architecture,
        _arguments(argument or []),
        init=init,
        data=[portable(str(task.train)) for task in tasks],
        command=command_line(),
    )
    end = None if minutes is None else time.monotonic() + 60.0 * minutes
    with progress_bar() as progress:
        show = stages(progress)

        def advance(epoch: Epoch) -> None:
            show(epoch.network, epoch.number, epoch.total, f"loss {epoch.loss:.3f}")
            if end is not None and time.monotonic() > end:
                say(f"stopped after epoch {epoch.number}; --resume goes on from there", stderr)
                raise typer.Exit(3)

        paths = train(
            samples,
            out=out,
            epochs=epochs,
            seed=seed,
            folds=folds,
            network=network,
            recipe=Recipe(size=crop, learning_rate=rate),
            progress=advance,
            device=device,
            resume=resume,
        )
    for path in paths:
        say(f"wrote {path}")
        if test is not None:
            _measure(path, test)


def _measure(path: Path, test: str) -> None:
    from dmic_gym.tasks.registry import task_of
    from dmic_gym.tasks.segmenters.evaluate import record_test

    task = task_of(test)
    look = f"{date.today().isoformat()}: by the command that trained it, after training."
    metrics = record_test(path, task.load_data(), look, [portable(str(task.test))]).metrics
    low, high = metrics["test_interval"]
    say(f"Dice {metrics['test_dice']:.4f} ({low:.4f} .. {high:.4f})")


def _arguments(texts: Sequence[str]) -> dict[str, Any]:
    pairs = [text.partition("=") for text in texts]
    try:
        return {name: json.loads(value) for name, _, value in pairs}
    except ValueError as error:
        raise InvalidInputError(
            f"--argument takes NAME=JSON such as shrink=2 or channels=[8,16]; got {texts}."
        ) from error


@app.command(
    "train-clip-segmenter",
    **shown(TRAIN, "dmic train-clip-segmenter --data davis --folds 4 --out heads"),
)
def train_clip_segmenter(
    out: Annotated[Path, typer.Option(help="Folder for the weights and their cards.")],
    data: Annotated[str, typer.Option(help="A task of clips, or clips with masks.")] = "davis",
    folds: Annotated[int, typer.Option(help="K >= 2 trains K more, cross-validated.")] = 0,
    name: Annotated[str, typer.Option(help="Name of the files written.")] = "davis-net",
    test: Annotated[
        str | None, typer.Option(help="Unseen clips to measure it on, once; in the card.")
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Train the heads that a clip's first mask tunes, and write them with their cards."""
    from dmic_gym.tasks.registry import task_of
    from dmic_gym.tasks.segmenters.train_clips import Heads, record_clip_test, train_heads

    task = task_of(data)
    heads = Heads(name, data=[portable(str(task.train))], command=command_line())
    paths = train_heads(
        task.load_clips("train"),
        out=out,
        folds=folds,
        heads=heads,
        progress=lambda trained: tell(f"trained {trained}"),
    )
    for path in paths:
        say(f"wrote {path}")
    if test is not None:
        unseen = task_of(test)
        look = f"{date.today().isoformat()}: by the command that trained it, after training."
        data_words = [portable(str(unseen.test))]
        metrics = record_clip_test(paths[0], unseen.load_clips(), look, data_words).metrics
        say(f"Dice {metrics['test_dice']:.4f}, IoU {metrics['test_iou']:.4f}")


@app.command(
    "fit-posterior",
    **shown(
        TRAIN,
        "dmic fit-posterior --data pics --folds folds --member mine.safetensors --out .",
    ),
)
def fit_posterior(
    out: Annotated[Path, typer.Option(help="Folder for NAME.json.")],
    data: Annotated[str, typer.Option(help="The folder that the folds were trained on.")],
    folds: Annotated[Path, typer.Option(help="Folder of train-segmenter --folds.")],
    member: Annotated[str, typer.Option(help="The network that the posterior uses.")] = "unet",
    name: Annotated[str, typer.Option(help="Name of the file written.")] = "posterior",
) -> None:
    """Calibrate a network's probabilities on images that its folds have not seen.

    Beside the network's weights it is found by itself: write it into their folder.
    """
    from dmic_gym.tasks.registry import task_of
    from dmic_gym.tasks.segmenters.fit_posterior import fit_posterior as fit

    task = task_of(data)
    checkpoints = sorted(folds.glob(f"{Path(member).stem}-fold*.safetensors"))
    if not checkpoints:
        raise InvalidInputError(
            f"{folds} holds no {Path(member).stem}-fold*.safetensors: run dmic train-segmenter "
            "--folds 5 first."
        )
    path = fit(
        task.load_data("train"),
        [checkpoints],
        [member],
        out=out,
        name=name,
        data=[portable(str(task.train))],
        command=command_line(),
    )
    say(f"wrote {path}")
