"""The `dmic` command: thin, one function a subcommand."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dmic_gym.errors import DmicError, InvalidInputError

if TYPE_CHECKING:
    from dmic_gym.diagnosis.segmenter import Segmenter

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Diagnosis-oriented bit allocation inside a real HEVC encoder.",
)
_out = Console()
_err = Console(stderr=True)

_QUICK_IMAGES = 6

DataOption = Annotated[str, typer.Option(help='"phantoms" or a folder of images with masks.')]
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
    qps: Annotated[str, typer.Option(help="Base QPs.")] = "22,27,32,37",
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
    from dmic_gym.envs.coding_env import CodingEnv

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
            base_qps=_integers("--qps", qps),
            images=images,
            data=data,
            command=_command_line(),
            on_start=lambda cells: progress.update(task, total=cells),
            on_cell=lambda name: progress.update(task, advance=1, description=name),
        )
    env.close()
    for table in report.tables(results):
        _out.print(table)
    for note in report.notes(results):
        _out.print(f"  {note}", highlight=False)
    for path in report.save(results, out):
        _out.print(f"wrote {path}", highlight=False)


def main() -> None:
    """Run the command; errors of ours are one line, not a traceback."""
    try:
        app()
    except DmicError as error:
        _err.print(f"[bold red]Error:[/] {error}", highlight=False)
        sys.exit(2)


def _load_segmenter(spec: str | None) -> Segmenter | None:
    if spec is None:
        return None
    from dmic_gym.loading import load_object

    found = load_object(spec)
    segmenter: Segmenter = found() if isinstance(found, type) else found
    return segmenter


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
    return shlex.join(["dmic", *sys.argv[1:]])


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description:>12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=_err,
    )
