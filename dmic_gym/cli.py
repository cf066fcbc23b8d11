"""The `dmic` command: thin, one function a subcommand."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from dmic_gym.errors import DmicError, InvalidInputError

if TYPE_CHECKING:
    from dmic_gym.diagnosis.segmenter import Segmenter

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Diagnosis-oriented bit allocation inside a real HEVC encoder.",
)
_out = Console(emoji=False)
_err = Console(stderr=True, emoji=False)

_QUICK_IMAGES = 6

DataOption = Annotated[
    str, typer.Option(help='"phantoms", "dca1", "dca1-test", or a folder of images with masks.')
]
SegmenterOption = Annotated[
    str | None, typer.Option(help="module:object in place of the shipped network.")
]


@app.command()
def info() -> None:
    """Show versions, the encoder's self-test and the GPU."""
    from dmic_gym.agents.gpu import gpu_name
    from dmic_gym.bench.protocol import versions
    from dmic_gym.codec import X265Codec
    from dmic_gym.codec.selftest import require_working_offsets

    for package, found in versions().items():
        _out.print(f"{package:16} {found}", highlight=False)
    with X265Codec() as codec:
        require_working_offsets(codec)
    _out.print(f"{'x265 self-test':16} passed: QP offsets reach the encoder", highlight=False)
    _out.print(f"{'GPU':16} {gpu_name() or 'none'}", highlight=False)


@app.command()
def bench(
    data: DataOption = "phantoms",
    agents: Annotated[str, typer.Option(help="Names or module:object.")] = "anchor,random,roi",
    qps: Annotated[
        str, typer.Option(help="Base QPs, or standard (22,27,32,37), low (32,37,42,47), both.")
    ] = "standard",
    ctu: Annotated[int, typer.Option(help="CTU size: 64, 32 or 16.")] = 64,
    preset: Annotated[str, typer.Option(help="x265 preset.")] = "medium",
    images: Annotated[int | None, typer.Option(help="Only the first N images.")] = None,
    segmenter: SegmenterOption = None,
    out: Annotated[Path, typer.Option(help="Folder for results.json and the picture.")] = Path(
        "dmic-bench"
    ),
    quick: Annotated[bool, typer.Option("--quick", help="Only a few images.")] = False,
) -> None:
    """Compare agents with the anchor: BD-rate table, results.json, rate-distortion curves."""
    from dmic_gym.bench import report
    from dmic_gym.bench.bench import bench as run_bench
    from dmic_gym.bench.files import check_folder, save
    from dmic_gym.envs.coding_env import CodingEnv

    check_folder(out)
    env = CodingEnv(
        dataset=data,
        segmenter=_load_segmenter(segmenter),
        ctu_size=ctu,
        preset=preset,
        reward="linear",
    )
    if quick and images is None:
        images = _QUICK_IMAGES
    with _progress() as progress:
        task = progress.add_task("coding", total=None)
        results = run_bench(
            env,
            agents=_names(agents),
            qp_sets=_qp_sets(qps),
            second=_second() if segmenter is None else None,
            images=images,
            data=_portable(data),
            command=_command_line(),
            on_start=lambda cells: progress.update(task, total=cells),
            on_cell=lambda name: progress.update(task, advance=1, description=name),
        )
    env.close()
    for table in report.tables(results):
        _out.print(table)
    for note in report.notes(results):
        _out.print(f"  {note}", highlight=False, markup=False, soft_wrap=True)
    for path in save(results, out):
        _out.print(f"wrote {path}", highlight=False, markup=False, soft_wrap=True)


@app.command("train-segmenter")
def train_segmenter(
    out: Annotated[Path, typer.Option(help="Folder for the weights and their card.")],
    data: Annotated[list[str], typer.Option(help='Folders with masks, or "phantoms"; repeatable.')],
    epochs: Annotated[int, typer.Option(help="Passes over the images.")] = 120,
    seed: Annotated[int, typer.Option(help="Of weights, order and augmentation.")] = 0,
    folds: Annotated[int, typer.Option(help="K >= 2 trains K networks, cross-validated.")] = 0,
    name: Annotated[str, typer.Option(help="Name of the files written.")] = "unet",
    architecture: Annotated[str, typer.Option(help="unet or dilated.")] = "unet",
    init: Annotated[str | None, typer.Option(help="Weights to start from.")] = None,
    phantoms: Annotated[int, typer.Option(help='How many images "phantoms" is.')] = 400,
) -> None:
    """Train a segmentation network and write it with a card that says how."""
    from dmic_gym.data import load_dataset
    from dmic_gym.diagnosis.fit import Epoch
    from dmic_gym.diagnosis.train import Network, train

    samples = [
        sample
        for spec in data
        for sample in load_dataset(spec, **({"count": phantoms} if spec == "phantoms" else {}))
    ]
    network = Network(
        name,
        architecture,
        init=init,
        data=[_portable(spec) for spec in data],
        command=_command_line(),
    )
    with _progress() as progress:
        bars: dict[str, TaskID] = {}

        def advance(epoch: Epoch) -> None:
            if epoch.network not in bars:
                bars[epoch.network] = progress.add_task(epoch.network, total=epoch.total)
            label = f"{epoch.network} loss {epoch.loss:.3f}"
            progress.update(bars[epoch.network], completed=epoch.number, description=label)

        paths = train(
            samples,
            out=out,
            epochs=epochs,
            seed=seed,
            folds=folds,
            network=network,
            progress=advance,
        )
    for path in paths:
        _out.print(f"wrote {path}", highlight=False)


@app.command("fit-posterior")
def fit_posterior(
    out: Annotated[Path, typer.Option(help="Folder for posterior.json.")],
    data: Annotated[str, typer.Option(help="The folder that the folds were trained on.")],
    folds: Annotated[Path, typer.Option(help="Folder of train-segmenter --folds.")],
    member: Annotated[str, typer.Option(help="The network that the posterior uses.")] = "unet",
) -> None:
    """Calibrate a network's probabilities on images that its folds have not seen."""
    from dmic_gym.data import load_dataset
    from dmic_gym.diagnosis.fit_posterior import fit_posterior as fit

    checkpoints = sorted(folds.glob(f"{Path(member).stem}-fold*.safetensors"))
    if not checkpoints:
        raise InvalidInputError(
            f"{folds} holds no {Path(member).stem}-fold*.safetensors: run dmic train-segmenter "
            "--folds 5 first."
        )
    path = fit(
        load_dataset(data),
        [checkpoints],
        [member],
        out=out,
        data=[_portable(data)],
        command=_command_line(),
    )
    _out.print(f"wrote {path}", highlight=False, markup=False)


@app.command("list")
def list_names() -> None:
    """Name the agents, the shipped weights and the data sets."""
    from dmic_gym.agents.registry import DESCRIPTIONS
    from dmic_gym.data.registry import DATASETS
    from dmic_gym.diagnosis.weights import find_weights, read_card, shipped_names

    _out.print("[bold]agents[/]")
    for name, meaning in DESCRIPTIONS.items():
        _out.print(f"  {name:16} {meaning}", highlight=False)
    _out.print("[bold]weights[/]")
    for name in shipped_names():
        _out.print(f"  {name:16} {read_card(find_weights(name)).architecture}", highlight=False)
    _out.print("[bold]data[/]")
    for name in DATASETS:
        _out.print(f"  {name}", highlight=False)
    _out.print("  a folder of images with masks", highlight=False)


def main() -> None:
    """Run the command; errors of ours are one line, not a traceback."""
    try:
        app()
    except DmicError as error:
        _err.print(f"[bold red]Error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(2)


def _load_segmenter(spec: str | None) -> Segmenter | None:
    if spec is None:
        return None
    from dmic_gym.loading import load_object

    found = load_object(spec)
    segmenter: Segmenter = found() if isinstance(found, type) else found
    return segmenter


def _second() -> Segmenter:
    from dmic_gym.diagnosis.network import load_segmenter

    return load_segmenter("second")


def _qp_sets(text: str) -> dict[str, Sequence[int]]:
    from dmic_gym.bench.bench import LOW_RATE_QPS, STANDARD_QPS

    sets: dict[str, dict[str, Sequence[int]]] = {
        "standard": {"standard": STANDARD_QPS},
        "low": {"low_rate": LOW_RATE_QPS},
        "both": {"standard": STANDARD_QPS, "low_rate": LOW_RATE_QPS},
    }
    return sets.get(text) or {"custom": _integers("--qps", text)}


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _integers(option: str, text: str) -> list[int]:
    try:
        return [int(word) for word in _names(text)]
    except ValueError as error:
        raise InvalidInputError(
            f"{option} {text!r} must be integers with commas between, as in {option} 22,27,32,37."
        ) from error


def _command_line() -> str:
    return _portable(shlex.join(["dmic", *sys.argv[1:]]))


def _portable(text: str) -> str:
    """Write the data folder as its variable, so that a record holds on other machines."""
    folder = os.environ.get("DMIC_DATA", "").rstrip("/")
    return text.replace(folder, "$DMIC_DATA") if folder else text


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description:>12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=_err,
    )
