"""``dmic pretrain`` and ``finetune``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dmic_gym.cli.clip_training import clip_training
from dmic_gym.cli.common import (
    app,
    command_line,
    each,
    integers_of,
    progress_bar,
    say,
    stages,
    stderr,
    stdout,
)
from dmic_gym.cli.help import TRAIN, shown
from dmic_gym.cli.training_options import (
    CreditOption,
    CTUOption,
    DeviceOption,
    EnvsOption,
    EpochsOption,
    HeldOutOption,
    JudgeOption,
    MapsOption,
    NameOption,
    OutOption,
    PresetOption,
    QPsOption,
    RateOption,
    ResumeOption,
    SeedOption,
    SegmentersOption,
    StepsOption,
    WarmStartRateOption,
)
from dmic_gym.errors import InvalidInputError
from dmic_gym.io import portable

if TYPE_CHECKING:
    from dmic_gym.agents.training.config import TrainingConfig
    from dmic_gym.agents.training.progress import ProgressCallback
    from dmic_gym.agents.training.run import TrainingRun
    from dmic_gym.agents.training.video import TrainedLevels
    from dmic_gym.tasks.data import Sample

_QPS = "22,27,32,37,42,47"
_WITH_CREDIT = {
    "images": ("26..47", 6, 3e-4),
    "clips": ("22..47", 2, 1e-3),
    "tuning": ("26..47", 2, 1e-3),
}
"""Base QPs, images at once and rate of A2C with credit, by kind of training."""

_ENTROPY = {False: (0.003, 0.003), True: (0.01, 0.003)}
"""Weight of the entropy at the first and last step, without and with --credit."""


@app.command(
    **shown(
        TRAIN,
        "dmic pretrain --data 'phantoms?count=700&seed=2' --out runs/source",
        "dmic pretrain --data arcade --credit --steps 500000 --held-out 20 --out runs/credit",
        "dmic pretrain --task davis --out runs/davis",
    )
)
def pretrain(
    data: Annotated[
        list[str],
        typer.Option(
            "--data",
            "--task",
            help="Source domain: a task, a data set or a folder, with options as in "
            '"phantoms?count=800" or "DAVIS?size=240"; repeatable.',
        ),
    ],
    out: OutOption,
    segmenter: SegmentersOption = None,
    variations: Annotated[
        int, typer.Option(help="Data of fewer images is brought to so many by variations of them.")
    ] = 0,
    steps: Annotated[
        int | None,
        typer.Option(
            help="A2C steps (CTUs); 0: warm start alone.",
            show_default="0; of clips 500,000 for each level",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Passes of the warm start over the QP value tables; 0: A2C alone.",
            show_default="35; clips have none, but their stills",
        ),
    ] = None,
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
    inputs: Annotated[
        str, typer.Option(help="What the policy looks at: pixels, numbers or both.")
    ] = "both",
    mode: Annotated[
        str | None,
        typer.Option(
            help="Of clips: levels trains a policy for CTUs and then one for frames, hierarchical "
            "one for both, ctu or frame one of the two, stills one for CTUs on single frames, "
            "which serves as --weights of the others.",
            show_default="levels",
        ),
    ] = None,
    turns: Annotated[int, typer.Option(help="Of clips: how often each level is trained.")] = 1,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Of clips: a DMICPolicy that the CTU level, or --mode stills, begins with; with "
            "--mode frame it is the CTU level and stays as it is."
        ),
    ] = None,
    name: NameOption = "pretrained",
    resume: ResumeOption = False,
) -> None:
    """Train a policy on a source domain: supervised by QP value tables, then by A2C.

    On clips by A2C alone, with credit; on their frames as images with --mode stills. Needs images
    (or clips) with masks.
    """
    from dmic_gym.agents.training.config import TrainingConfig
    from dmic_gym.agents.training.run import TrainingRun
    from dmic_gym.agents.training.variations import Variations
    from dmic_gym.tasks.registry import task_of

    tasks = [task_of(spec) for spec in data]
    clips = any(task.kind == "clips" for task in tasks)
    _check_kind(clips, mode, weights, variations)
    stills = clips and mode == "stills"
    config = TrainingConfig(
        (0 if clips and not stills else 35) if epochs is None else epochs,
        warm_start_rate,
        (500_000 if clips else 0) if steps is None else steps,
        ctu_size=ctu,
        seed=seed,
        inputs=inputs,
        **_reinforcement(
            "clips" if clips and not stills else "images",
            *(qps, envs, rate, credit or clips, maps, preset),
        ),
    )
    if clips:
        runs = TrainingRun(name, out, config, device=device, resume=resume)
        kind = mode or "levels"
        _watch(clip_training(tasks, runs, segmenter, kind, turns, weights, held_out, judge_every))
        return
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


@app.command(
    **shown(
        TRAIN,
        "dmic finetune --data my-images --samples 1 --out runs/tuned",
        "dmic finetune --data my-images --segmenter folds --out runs/tuned",
    )
)
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
    weights: Annotated[str, typer.Option(help="Where to start: name, path or random.")] = "hrlvsc",
    tune: Annotated[str, typer.Option(help="head or all.")] = "head",
    variations: Annotated[int, typer.Option(help="Images made of the samples, in all.")] = 4,
    steps: StepsOption = 12_800,
    epochs: EpochsOption = 20,
    qps: Annotated[
        str | None,
        typer.Option(
            help="Base QPs to learn at, as in 22,27,32 or 26..47.",
            show_default="26..47; with --no-credit 22,27,32,37,42,47",
        ),
    ] = None,
    ctu: CTUOption = 64,
    envs: Annotated[
        int | None,
        typer.Option(
            help="Episodes at once.", show_default="2 for each of --maps; with --no-credit 16"
        ),
    ] = None,
    warm_start_rate: WarmStartRateOption = 2e-4,
    rate: Annotated[
        float | None,
        typer.Option(help="Learning rate of A2C.", show_default="1e-3; with --no-credit 2e-4"),
    ] = None,
    credit: Annotated[
        bool,
        typer.Option(
            "--credit/--no-credit", help="Reward each CTU for what it did itself; see --maps."
        ),
    ] = True,
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
        **_reinforcement("tuning", qps, envs, rate, credit, maps, preset),
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


def _check_kind(clips: bool, mode: str | None, weights: Path | None, variations: int) -> None:
    """Raise InvalidInputError where options of clips are given for images, or the reverse."""
    if clips and variations:
        raise InvalidInputError("--variations is of images: leave it out with clips.")
    given = {"--mode": mode, "--weights": weights}
    if not clips and (stray := [option for option, value in given.items() if value is not None]):
        raise InvalidInputError(
            f"{stray[0]} is of clips, as in --data davis or --data phantom-clips: leave it out "
            "with images."
        )


def _reinforcement(
    kind: str,
    qps: str | None,
    envs: int | None,
    rate: float | None,
    credit: bool,
    maps: int,
    preset: str,
) -> dict[str, Any]:
    """Return the part of a configuration whose defaults hang on the kind of training."""
    by_default, images, fast = _WITH_CREDIT[kind]
    usual = (by_default, images * (5 if maps == 1 else maps), fast) if credit else (_QPS, 16, 2e-4)
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


def _watch(train: Callable[[ProgressCallback], Path | TrainedLevels]) -> None:
    """Train with progress bars, and say what came of it or how to go on after Ctrl-C."""
    try:
        with progress_bar() as progress:
            trained = train(stages(progress))
    except KeyboardInterrupt:
        stderr.print("Stopped. The same command with --resume goes on.")
        raise typer.Exit(130) from None
    for path in [trained] if isinstance(trained, Path) else trained.written:
        _report(path)
    if not isinstance(trained, Path):
        say(f"the agent of dmic bench --agents: {trained.agent}")


def _report(path: Path) -> None:
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
