"""The options that ``dmic pretrain`` and ``finetune`` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

OutOption = Annotated[Path, typer.Option(help="Folder for weights, checkpoints and log.")]
StepsOption = Annotated[int, typer.Option(help="A2C steps (CTUs); 0: warm start alone.")]
EpochsOption = Annotated[
    int, typer.Option(help="Passes of the warm start over the QP value tables; 0: A2C alone.")
]
NameOption = Annotated[str, typer.Option(help="Name of the weights.")]
SegmentersOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Weights by name or path, module:object, or a folder of train-segmenter --folds; "
        "one for all data, or one each.",
        show_default="the task's, else unet",
    ),
]


def _qps(usual: str) -> Any:
    return typer.Option(help="Base QPs to learn at, as in 22,27,32 or 26..47.", show_default=usual)


def _envs(usual: str) -> Any:
    return typer.Option(help="Episodes at once.", show_default=usual)


def _rate(usual: str) -> Any:
    return typer.Option(help="Learning rate of A2C.", show_default=usual)


def _credit(*names: str) -> Any:
    return typer.Option(*names, help="Reward each CTU for what it did itself; see --maps.")


QPsOption = Annotated[
    str | None, _qps("22,27,32,37,42,47; with --credit or of stills 26..47, of clips 22..47")
]
TuningQPsOption = Annotated[str | None, _qps("26..47; with --no-credit 22,27,32,37,42,47")]
CTUOption = Annotated[int, typer.Option(help="CTU size: 64, 32 or 16.")]
EnvsOption = Annotated[
    int | None, _envs("16; with --credit or of stills 6, of clips 2 for each of --maps")
]
TuningEnvsOption = Annotated[int | None, _envs("2 for each of --maps; with --no-credit 16")]
WarmStartRateOption = Annotated[float, typer.Option(help="Learning rate of the warm start.")]
RateOption = Annotated[float | None, _rate("2e-4; with --credit or of stills 3e-4, of clips 1e-3")]
TuningRateOption = Annotated[float | None, _rate("1e-3; with --no-credit 2e-4")]
CreditOption = Annotated[bool, _credit("--credit")]
TuningCreditOption = Annotated[bool, _credit("--credit/--no-credit")]
MapsOption = Annotated[
    int | None,
    typer.Option(
        help="With --credit: QP maps of one image at one base QP whose mean return is the "
        "baseline; 1: the critic is the baseline instead.",
        show_default="5, or the most below that divide --envs",
    ),
]
PresetOption = Annotated[str, typer.Option(help="x265's, such as medium or ultrafast.")]
HeldOutOption = Annotated[
    int,
    typer.Option(
        help="Images or clips kept back and coded now and then: BD-rates in learning.jsonl."
    ),
]
JudgeOption = Annotated[int, typer.Option(help="Updates of A2C between these.")]
SeedOption = Annotated[
    int, typer.Option(help="Of weights, order, exploration, samples and their variations.")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda.")]
JobsOption = Annotated[
    int | None,
    typer.Option(
        help="Threads that encode and segment; changes no result.", show_default="all cores"
    ),
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")]
