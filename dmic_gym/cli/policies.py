"""``dmic pretrain`` and ``finetune``."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
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
    from dmic_gym.agents.training.progress import ProgressCallback
    from dmic_gym.agents.training.run import Training
    from dmic_gym.tasks.data import Sample
    from dmic_gym.tasks.registry import Task

MakeTraining = Callable[..., "Training"]

SeedOption = Annotated[
    int, typer.Option(help="Of weights, order, exploration, samples and their variations.")
]


def _options(
    out: Annotated[Path, typer.Option(help="Folder for weights, checkpoints and log.")],
    steps: Annotated[int, typer.Option(help="A2C steps (CTUs); 0: value_tables alone.")],
    epochs: Annotated[int, typer.Option(help="Passes over the value_tables; 0: A2C alone.")],
    name: Annotated[str, typer.Option(help="Name of the weights.")],
    segmenter: Annotated[
        list[str],
        typer.Option(
            help="Weights by name or path, module:object, or a folder of train-segmenter --folds; "
            "one for all data, or one each. Default: the task's, or the shipped network."
        ),
    ] = [],  # noqa: B006
    qps: Annotated[str, typer.Option(help="Base QPs to learn at.")] = "22,27,32,37,42,47",
    ctu: Annotated[int, typer.Option(help="CTU size: 64, 32 or 16.")] = 64,
    envs: Annotated[int, typer.Option(help="Episodes at once.")] = 16,
    warm_start_rate: Annotated[
        float, typer.Option(help="Learning rate of the value_tables.")
    ] = 1e-3,
    rate: Annotated[float, typer.Option(help="Learning rate of A2C.")] = 2e-4,
    seed: SeedOption = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda.")] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
) -> MakeTraining:
    """Take the options that both commands have; what is returned takes the images."""

    def training(
        tasks: Sequence[Task],
        images: Mapping[str, Sequence[Sample]],
        words: Sequence[str],
        on_progress: ProgressCallback,
        strict: bool,
    ) -> Training:
        from dmic_gym.agents.training.learn import TrainingConfig
        from dmic_gym.agents.training.run import Record, Training
        from dmic_gym.tasks.leakage import UnseenSegmenters

        specs = segmenter or [str(task.training_segmenter) for task in tasks]
        unseen = UnseenSegmenters(images, each("--segmenter", specs, len(images)), strict)
        for note in unseen.notes:
            stderr.print(f"[yellow]Note:[/] {note}", highlight=False, soft_wrap=True)
        return Training(
            name=name,
            out=out,
            config=TrainingConfig(
                epochs=epochs,
                warm_start_rate=warm_start_rate,
                steps=steps,
                learning_rate=rate,
                seed=seed,
            ),
            segmenter=unseen,
            ctu_size=ctu,
            base_qps=integers_of("--qps", qps),
            envs=envs,
            device=device,
            resume=resume,
            record=Record(
                [*words, unseen.description],
                command_line(),
                [portable(note) for note in unseen.notes],
            ),
            on_progress=on_progress,
        )

    return training


def _trains(**defaults: Any) -> Callable[[Callable[..., Path]], Callable[..., None]]:
    """Make a command of a function: its own options and those of `_options`, with defaults."""

    def decorate(command: Callable[..., Path]) -> Callable[..., None]:
        own, shared = _parameters(command), _parameters(_options)
        del own["training"]
        for name, default in defaults.items():
            shared[name] = shared[name].replace(default=default)

        @functools.wraps(command)
        def run(**given: Any) -> None:
            make = _options(**{name: given[name] for name in shared})
            try:
                with progress_bar() as progress:
                    training = functools.partial(make, on_progress=stages(progress))
                    path = command(training, **{name: given[name] for name in own})
            except KeyboardInterrupt:
                stderr.print("Stopped. The same command with --resume goes on.")
                raise typer.Exit(130) from None
            _tell(path)

        both = (own | shared).values()
        run.__signature__ = inspect.Signature(list(both))  # type: ignore[attr-defined]
        run.__annotations__ = {}
        return run

    return decorate


def _parameters(command: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    found = inspect.signature(command, eval_str=True).parameters
    return {name: p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for name, p in found.items()}


@app.command()
@_trains(steps=0, epochs=35, name="pretrained")
def pretrain(
    training: Any,
    data: Annotated[
        list[str],
        typer.Option(
            help="Source domain: a task, a data set or a folder, with options as in "
            '"phantoms?count=800&select=100::" or "DAVIS?size=240"; repeatable.'
        ),
    ],
    variations: Annotated[
        int, typer.Option(help="Data of fewer images is brought to so many by variations of them.")
    ] = 0,
    seed: SeedOption = 0,
) -> Path:
    """Train a policy on a source domain: by value_tables of what QPs are worth, then A2C."""
    from dmic_gym.agents.training.pretrain import pretrain as run
    from dmic_gym.agents.training.variations import Variations
    from dmic_gym.tasks.registry import task_of

    tasks = [task_of(spec) for spec in data]
    images = {str(task.train): task.load_data("train") for task in tasks}
    words = [f"{portable(spec)} ({len(own)} images)" for spec, own in images.items()]
    how = training(tasks, images, words, strict=False)
    varied = [Variations(own, max(variations, len(own)), seed)[:] for own in images.values()]
    return run([sample for own in varied for sample in own], how)


@app.command()
@_trains(steps=20_000, epochs=30, name="finetuned", warm_start_rate=5e-4)
def finetune(
    training: Any,
    data: Annotated[str, typer.Option(help="Folder of annotated images.")],
    samples: Annotated[int, typer.Option(help="How many of the images, drawn at random.")] = 1,
    image: Annotated[str | None, typer.Option(help="Or one image by name.")] = None,
    weights: Annotated[str, typer.Option(help="Where to start: name or path.")] = "hrlvsc",
    tune: Annotated[str, typer.Option(help="head, all or scratch.")] = "head",
    variations: Annotated[int, typer.Option(help="Images made of the samples, in all.")] = 24,
    seed: SeedOption = 0,
) -> Path:
    """Carry a policy over to another kind of image by tuning its head on a few of them."""
    from dmic_gym.agents.training.finetune import choose_samples
    from dmic_gym.agents.training.finetune import finetune as run
    from dmic_gym.envs.settings import find_sample
    from dmic_gym.tasks.registry import task_of

    task = task_of(data)
    images = task.load_data("train")
    chosen = [find_sample(images, image)] if image else choose_samples(images, samples, seed)
    words = f"{portable(str(task.train))}: {', '.join(sample.name for sample in chosen)}"
    how = training([task], {str(task.train): chosen}, [words], strict=True)
    return run(chosen, how, weights=weights, tune=tune, variations=variations)


def _tell(path: Path) -> None:
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
