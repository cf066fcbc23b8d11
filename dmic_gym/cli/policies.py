"""``dmic pretrain`` and ``finetune``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dmic_gym.cli.common import (
    app,
    command_line,
    each,
    integers_of,
    progress_bar,
    stages,
    stderr,
    stdout,
)
from dmic_gym.io import portable

if TYPE_CHECKING:
    from dmic_gym.agents.training.config import TrainingConfig
    from dmic_gym.agents.training.progress import ProgressCallback
    from dmic_gym.agents.training.run import TrainingRun
    from dmic_gym.tasks.data import Sample

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
        "one for all data, or one each. Default: the task's, or the shipped network."
    ),
]
QPsOption = Annotated[
    str | None,
    typer.Option(
        help="Base QPs to learn at, as in 22,27,32 or 26..47. Default: 22,27,32,37,42,47; with "
        "--credit 26..47."
    ),
]
CTUOption = Annotated[int, typer.Option(help="CTU size: 64, 32 or 16.")]
EnvsOption = Annotated[
    int | None,
    typer.Option(help="Episodes at once. Default: 16; with --credit 30, or 6 for each of --maps."),
]
WarmStartRateOption = Annotated[float, typer.Option(help="Learning rate of the warm start.")]
RateOption = Annotated[
    float | None,
    typer.Option(help="Learning rate of A2C. Default: 2e-4; with --credit 3e-4."),
]
CreditOption = Annotated[
    bool, typer.Option("--credit", help="Pay each CTU for what it did; see --maps.")
]
MapsOption = Annotated[
    int,
    typer.Option(
        help="With --credit: maps of one image at one base QP that are compared with each other; "
        "1: the critic is the baseline instead."
    ),
]
PresetOption = Annotated[str, typer.Option(help="x265's, such as medium or ultrafast.")]
HeldOutOption = Annotated[
    int, typer.Option(help="Images kept back and coded now and then: BD-rates in learning.jsonl.")
]
JudgeOption = Annotated[int, typer.Option(help="Updates of A2C between these.")]
SeedOption = Annotated[
    int, typer.Option(help="Of weights, order, exploration, samples and their variations.")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda.")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")]

_QPS = "22,27,32,37,42,47"
_ENTROPY = {False: (0.003, 0.003), True: (0.01, 0.003)}
"""Weight of the entropy at the first and last step, without and with --credit."""


@app.command()
def pretrain(
    data: Annotated[
        list[str],
        typer.Option(
            "--data",
            "--task",
            help="Source domain: a task, a data set or a folder, with options as in "
            '"phantoms?count=800&select=100::" or "DAVIS?size=240"; repeatable.',
        ),
    ],
    out: OutOption,
    segmenter: SegmentersOption = None,
    variations: Annotated[
        int, typer.Option(help="Data of fewer images is brought to so many by variations of them.")
    ] = 0,
    steps: StepsOption = 0,
    epochs: EpochsOption = 35,
    qps: QPsOption = None,
    ctu: CTUOption = 64,
    envs: EnvsOption = None,
    warm_start_rate: WarmStartRateOption = 1e-3,
    rate: RateOption = None,
    credit: CreditOption = False,
    maps: MapsOption = 5,
    preset: PresetOption = "medium",
    held_out: HeldOutOption = 0,
    judge_every: JudgeOption = 25,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    policy: Annotated[
        str, typer.Option(help="DMICPolicy, which sees, or HRLVSCPolicy, by numbers alone.")
    ] = "HRLVSCPolicy",
    inputs: Annotated[
        str, typer.Option(help="What DMICPolicy looks at: pixels, numbers or both.")
    ] = "both",
    name: NameOption = "pretrained",
    resume: ResumeOption = False,
) -> None:
    """Train a policy on a source domain: supervised by QP value tables, then by A2C."""
    from dmic_gym.agents.training.config import TrainingConfig
    from dmic_gym.agents.training.variations import Variations
    from dmic_gym.tasks.registry import task_of

    config = TrainingConfig(
        epochs,
        warm_start_rate,
        steps,
        ctu_size=ctu,
        seed=seed,
        policy=policy,
        inputs=inputs,
        **_reinforcement(qps, envs, rate, credit, maps, preset),
    )
    tasks = [task_of(spec) for spec in data]
    images = {str(task.train): task.load_data("train") for task in tasks}
    kept_back, learned = _kept_back(images, held_out, seed)
    words = [f"{portable(spec)} ({len(own)} images)" for spec, own in learned.items()]

    def train(on_progress: ProgressCallback) -> Path:
        specs = segmenter or [str(task.training_segmenter) for task in tasks]
        run = _run(name, out, config, images, specs, words, device, resume, on_progress)
        run = _judged(run, kept_back, judge_every)
        varied = [Variations(own, max(variations, len(own)), seed)[:] for own in learned.values()]
        return run.run([sample for own in varied for sample in own])

    _watch(train)


@app.command()
def finetune(
    data: Annotated[
        str,
        typer.Option(
            "--data", "--task", help="A task, a data set or a folder of annotated images."
        ),
    ],
    out: OutOption,
    segmenter: SegmentersOption = None,
    samples: Annotated[int, typer.Option(help="How many of the images, drawn at random.")] = 1,
    image: Annotated[str | None, typer.Option(help="Or one image by name.")] = None,
    weights: Annotated[str, typer.Option(help="Where to start: name or path.")] = "mlp-phantoms",
    tune: Annotated[str, typer.Option(help="head, all or scratch.")] = "head",
    variations: Annotated[int, typer.Option(help="Images made of the samples, in all.")] = 24,
    steps: StepsOption = 20_000,
    epochs: EpochsOption = 30,
    qps: QPsOption = None,
    ctu: CTUOption = 64,
    envs: EnvsOption = None,
    warm_start_rate: WarmStartRateOption = 5e-4,
    rate: RateOption = None,
    credit: CreditOption = False,
    maps: MapsOption = 5,
    preset: PresetOption = "medium",
    held_out: HeldOutOption = 0,
    judge_every: JudgeOption = 25,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    name: NameOption = "finetuned",
    resume: ResumeOption = False,
) -> None:
    """Carry a policy over to another kind of image by tuning its head on a few of them."""
    from dmic_gym.agents.training import finetune as tuning
    from dmic_gym.agents.training.config import TrainingConfig
    from dmic_gym.envs.settings import find_sample
    from dmic_gym.tasks.registry import task_of

    config = TrainingConfig(
        epochs,
        warm_start_rate,
        steps,
        ctu_size=ctu,
        seed=seed,
        **_reinforcement(qps, envs, rate, credit, maps, preset),
    )
    task = task_of(data)
    found = task.load_data("train")
    kept_back, rest = _kept_back({str(task.train): found}, held_out, seed)
    found = rest[str(task.train)]
    chosen = [find_sample(found, image)] if image else tuning.choose_samples(found, samples, seed)
    images = {str(task.train): [*chosen, *kept_back]}
    words = [f"{portable(str(task.train))}: {', '.join(sample.name for sample in chosen)}"]

    def train(on_progress: ProgressCallback) -> Path:
        specs = segmenter or [str(task.training_segmenter)]
        run = _run(
            name, out, config, images, specs, words, device, resume, on_progress, strict=True
        )
        run = _judged(run, kept_back, judge_every)
        return tuning.finetune(chosen, run, weights=weights, tune=tune, variations=variations)

    _watch(train)


def _reinforcement(
    qps: str | None, envs: int | None, rate: float | None, credit: bool, maps: int, preset: str
) -> dict[str, Any]:
    """Return the part of a configuration whose defaults hang on --credit."""
    usual = ("26..47", 30 if maps == 1 else 6 * maps, 3e-4) if credit else (_QPS, 16, 2e-4)
    given = zip((qps, envs, rate), usual, strict=True)
    chosen = [default if value is None else value for value, default in given]
    return {
        "base_qps": tuple(integers_of("--qps", str(chosen[0]))),
        "envs": chosen[1],
        "learning_rate": chosen[2],
        "credit": credit,
        "maps": maps if credit else 1,
        "entropy": _ENTROPY[credit],
        "preset": preset,
    }


def _kept_back(
    images: Mapping[str, Sequence[Sample]], count: int, seed: int
) -> tuple[list[Sample], dict[str, Sequence[Sample]]]:
    """Draw images of all data sets that are not learned from; return them and the others."""
    import numpy as np

    places = [(spec, n) for spec, own in images.items() for n in range(len(own))]
    drawn = np.random.default_rng(seed).permutation(len(places))[:count].tolist()
    chosen = {places[n] for n in drawn}
    rest = {
        spec: [own[n] for n in range(len(own)) if (spec, n) not in chosen] if count else own
        for spec, own in images.items()
    }
    return [images[spec][n] for spec, n in sorted(chosen)], rest


def _judged(run: TrainingRun, samples: Sequence[Sample], every: int) -> TrainingRun:
    """Return a run that is judged on `samples` while it learns."""
    from dmic_gym.agents.training.learning_log import HeldOut
    from dmic_gym.bench.held_out import held_out_judge

    if not samples:
        return run
    return replace(
        run, held_out=lambda evaluator: HeldOut(held_out_judge(evaluator, samples), every)
    )


def _run(
    name: str,
    out: Path,
    config: TrainingConfig,
    images: Mapping[str, Sequence[Sample]],
    segmenters: Sequence[str],
    words: Sequence[str],
    device: str,
    resume: bool,
    on_progress: ProgressCallback,
    *,
    strict: bool = False,
) -> TrainingRun:
    """Return the run, in which no image is judged by a segmenter that was trained on it."""
    from dmic_gym.agents.training.run import CardNotes, TrainingRun
    from dmic_gym.tasks.leakage import UnseenSegmenters

    unseen = UnseenSegmenters(images, each("--segmenter", segmenters, len(images)), strict)
    for note in unseen.notes:
        stderr.print(f"[yellow]Note:[/] {note}", highlight=False, soft_wrap=True)
    notes = [portable(note) for note in unseen.notes]
    return TrainingRun(
        name=name,
        out=out,
        config=config,
        segmenter=unseen,
        device=device,
        resume=resume,
        card=CardNotes([*words, unseen.description], command_line(), notes),
        on_progress=on_progress,
    )


def _watch(train: Callable[[ProgressCallback], Path]) -> None:
    """Train with progress bars, and say what came of it or how to go on after Ctrl-C."""
    try:
        with progress_bar() as progress:
            path = train(stages(progress))
    except KeyboardInterrupt:
        stderr.print("Stopped. The same command with --resume goes on.")
        raise typer.Exit(130) from None
    from dmic_gym.agents.training.telemetry import Telemetry
    from dmic_gym.tasks.segmenters.weights import read_card

    metrics = read_card(path).metrics
    stdout.print(f"wrote {path}", highlight=False, markup=False, soft_wrap=True)
    stdout.print(
        f"{metrics['a2c_steps']} A2C steps, {metrics['trainable_share']:.1%} of the parameters "
        f"trained, {Telemetry(**metrics['gpu'])}",
        highlight=False,
        markup=False,
    )
