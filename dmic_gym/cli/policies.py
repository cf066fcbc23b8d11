"""``dmic pretrain`` and ``finetune``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dmic_gym.cli.clip_training import clip_training
from dmic_gym.cli.common import app
from dmic_gym.cli.help import TRAIN, shown
from dmic_gym.cli.notes import QuietOption
from dmic_gym.cli.training_options import (
    CreditOption,
    CTUOption,
    DeviceOption,
    EnvsOption,
    EpochsOption,
    HeldOutOption,
    JobsOption,
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
    TuningCreditOption,
    TuningEnvsOption,
    TuningQPsOption,
    TuningRateOption,
    WarmStartRateOption,
)
from dmic_gym.cli.training_runs import image_run, judged, reinforcement, split_off_images, watch
from dmic_gym.errors import InvalidInputError
from dmic_gym.io import portable

if TYPE_CHECKING:
    from dmic_gym.agents.training.progress import ProgressCallback


@app.command(
    **shown(
        TRAIN,
        "dmic pretrain --data 'phantoms?count=700&seed=2' --out runs/source",
        "dmic pretrain --data arcade --credit --steps 500000 --held-out 20 --out runs/credit",
        "dmic pretrain --task davis --imitate graded --mode ctu --ctu 32 --out runs/davis",
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
            help="Passes of the warm start over the QP value tables, or over what --imitate shows; "
            "0: A2C alone.",
            show_default="35; with --imitate 5; clips have none without it, but their stills",
        ),
    ] = None,
    imitate: Annotated[
        str | None,
        typer.Option(
            help="An agent whose QP maps the warm start imitates in place of QP value tables, as "
            "in --imitate roi:12:0.3; of clips graded, search:30 and others.",
        ),
    ] = None,
    qps: QPsOption = None,
    ctu: CTUOption = 64,
    envs: EnvsOption = None,
    warm_start_rate: WarmStartRateOption = 1e-3,
    rate: RateOption = None,
    credit: CreditOption = False,
    maps: MapsOption = None,
    preset: PresetOption = "medium",
    held_out: HeldOutOption = 0,
    judge_every: JudgeOption = 25,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    jobs: JobsOption = None,
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
    quiet: QuietOption = False,
) -> None:
    """Train a policy on a source domain: supervised by QP value tables, then by A2C.

    On clips by A2C with credit, after a warm start with --imitate alone; on their frames as images
    with --mode stills. Needs images (or clips) with masks.
    """
    from dmic_gym.agents.training.config import TrainingConfig
    from dmic_gym.agents.training.run import TrainingRun
    from dmic_gym.agents.training.variations import Variations
    from dmic_gym.tasks.registry import task_of

    tasks = [task_of(spec) for spec in data]
    clips = any(task.kind == "clips" for task in tasks)
    _check_kind(clips, mode, weights, variations)
    stills = clips and mode == "stills"
    usual = 5 if imitate else 0 if clips and not stills else 35
    passes = usual if epochs is None else epochs
    config = TrainingConfig(
        passes,
        warm_start_rate,
        (500_000 if clips else 0) if steps is None else steps,
        ctu_size=ctu,
        seed=seed,
        inputs=inputs,
        imitate=imitate,
        **reinforcement(
            "clips" if clips and not stills else "images",
            *(qps, envs, rate, credit or clips, maps, preset),
            from_nothing=not passes and not weights,
        ),
    )
    if clips:
        runs = TrainingRun(name, out, config, device=device, jobs=jobs, resume=resume)
        kind = mode or "levels"
        watch(clip_training(tasks, runs, segmenter, kind, turns, weights, held_out, judge_every))
        return
    images = {str(task.train): task.load_data("train") for task in tasks}
    kept_back, learned = split_off_images(images, held_out, seed)
    words = [f"{portable(spec)} ({len(own)} images)" for spec, own in learned.items()]

    def train(on_progress: ProgressCallback) -> Path:
        specs = segmenter or [str(task.training_segmenter) for task in tasks]
        run = image_run(name, out, config, images, specs, words, device, jobs, resume, on_progress)
        run = judged(run, kept_back, judge_every)
        varied = [Variations(own, max(variations, len(own)), seed)[:] for own in learned.values()]
        return run.run([sample for own in varied for sample in own])

    watch(train)


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
    variations: Annotated[int, typer.Option(help="Images made of the samples, in all.")] = 8,
    steps: StepsOption = 0,
    epochs: EpochsOption = 60,
    qps: TuningQPsOption = None,
    ctu: CTUOption = 64,
    envs: TuningEnvsOption = None,
    warm_start_rate: WarmStartRateOption = 3e-3,
    rate: TuningRateOption = None,
    credit: TuningCreditOption = True,
    maps: MapsOption = None,
    preset: PresetOption = "medium",
    held_out: HeldOutOption = 0,
    judge_every: JudgeOption = 25,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    jobs: JobsOption = None,
    name: NameOption = "finetuned",
    resume: ResumeOption = False,
    quiet: QuietOption = False,
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
        **reinforcement(
            "tuning",
            *(qps, envs, rate, credit, maps, preset),
            from_nothing=not epochs and weights == tuning.RANDOM,
        ),
    )
    task = task_of(data)
    found = task.load_data("train")
    kept_back, rest = split_off_images({str(task.train): found}, held_out, seed)
    found = rest[str(task.train)]
    chosen = [find_sample(found, image)] if image else tuning.choose_samples(found, samples, seed)
    images = {str(task.train): [*chosen, *kept_back]}
    words = [f"{portable(str(task.train))}: {', '.join(sample.name for sample in chosen)}"]

    def train(on_progress: ProgressCallback) -> Path:
        specs = segmenter or [str(task.training_segmenter)]
        run = image_run(
            name, out, config, images, specs, words, device, jobs, resume, on_progress, strict=True
        )
        run = judged(run, kept_back, judge_every)
        return tuning.finetune(chosen, run, weights=weights, tune=tune, variations=variations)

    watch(train)


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
