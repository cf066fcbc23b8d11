"""``dmic pretrain`` and ``finetune``."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dmic_gym.cli.common import (
    app,
    command_line,
    integers_of,
    portable,
    progress_bar,
    select,
    stages,
    stderr,
    stdout,
    trained_segmenter,
)
from dmic_gym.errors import InvalidInputError

if TYPE_CHECKING:
    from dmic_gym.agents.episodes import Notice
    from dmic_gym.agents.training import Training
    from dmic_gym.data import Sample
    from dmic_gym.diagnosis.segmenter import Segmenter

MakeTraining = Callable[..., "Training"]

SeedOption = Annotated[
    int, typer.Option(help="Of weights, order, exploration, samples and their variations.")
]


def _options(
    out: Annotated[Path, typer.Option(help="Folder for weights, checkpoints and log.")],
    steps: Annotated[int, typer.Option(help="A2C steps (CTUs); 0: lessons alone.")],
    epochs: Annotated[int, typer.Option(help="Passes over the lessons; 0: A2C alone.")],
    name: Annotated[str, typer.Option(help="Name of the weights.")],
    segmenter: Annotated[
        str,
        typer.Option(
            help="Weights by name or path, module:object, or a folder of train-segmenter --folds."
        ),
    ] = "unet",
    qps: Annotated[str, typer.Option(help="Base QPs to learn at.")] = "22,27,32,37,42,47",
    ctu: Annotated[int, typer.Option(help="CTU size: 64, 32 or 16.")] = 64,
    envs: Annotated[int, typer.Option(help="Episodes at once.")] = 16,
    rate: Annotated[float, typer.Option(help="Learning rate of A2C.")] = 2e-4,
    seed: SeedOption = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda.")] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
) -> MakeTraining:
    """Take the options that both commands have; what is returned takes the images."""

    def training(
        data: str, images: Sequence[Sample], words: str, notice: Notice, strict: bool
    ) -> Training:
        from dmic_gym.agents.course import Course
        from dmic_gym.agents.training import Record, Training

        judge, described, notes = _judge(segmenter, data, images, strict)
        return Training(
            name=name,
            out=out,
            course=Course(epochs=epochs, steps=steps, learning_rate=rate, seed=seed),
            segmenter=judge,
            ctu_size=ctu,
            base_qps=integers_of("--qps", qps),
            envs=envs,
            device=device,
            resume=resume,
            record=Record([words, described], command_line(), notes),
            notice=notice,
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
                    training = functools.partial(make, notice=stages(progress))
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
@_trains(steps=80_000, epochs=40, name="hrlvsc")
def pretrain(
    training: Any,
    data: Annotated[
        str, typer.Option(help='Source domain: "phantoms", a DAVIS folder, or any with masks.')
    ],
    phantoms: Annotated[int, typer.Option(help='How many images "phantoms" is.')] = 1100,
    size: Annotated[
        int | None, typer.Option(help="Height DAVIS frames are scaled to, or side of phantoms.")
    ] = None,
    take: Annotated[
        str, typer.Option("--select", help="Which images, as a slice START:STOP:STEP.")
    ] = "::",
) -> Path:
    """Train a policy on a source domain: by lessons of what QPs are worth, then A2C."""
    from dmic_gym.agents.pretrain import pretrain as run

    count = {"count": phantoms} if data == "phantoms" else {}
    images = select(data, take, **count, **({} if size is None else {"size": size}))
    scaled = "" if size is None else f", {size} high"
    words = f"{portable(data)} ({len(images)} images, {take}{scaled})"
    return run(images, training(data, images, words, strict=False))


@app.command()
@_trains(steps=20_000, epochs=40, name="dmic", rate=1e-3)
def finetune(
    training: Any,
    data: Annotated[str, typer.Option(help="Folder of annotated images.")],
    samples: Annotated[int, typer.Option(help="How many of the images, drawn at random.")] = 1,
    image: Annotated[str | None, typer.Option(help="Or one image by name.")] = None,
    weights: Annotated[str, typer.Option(help="Where to start: name or path.")] = "hrlvsc",
    tune: Annotated[str, typer.Option(help="head, all or scratch.")] = "head",
    variations: Annotated[int, typer.Option(help="Images made of the samples, in all.")] = 6,
    seed: SeedOption = 0,
) -> Path:
    """Carry a policy over to another kind of image by tuning its head on a few of them."""
    from dmic_gym.agents.finetune import choose_samples
    from dmic_gym.agents.finetune import finetune as run
    from dmic_gym.envs.settings import find_sample

    images = select(data, "::")
    chosen = [find_sample(images, image)] if image else choose_samples(images, samples, seed)
    words = f"{portable(data)}: {', '.join(sample.name for sample in chosen)}"
    how = training(data, chosen, words, strict=True)
    return run(chosen, how, weights=weights, tune=tune, variations=variations)


def _judge(
    spec: str, data: str, images: Sequence[Sample], strict: bool
) -> tuple[Segmenter, str, list[str]]:
    """Return the segmenter, words and notes for the card; look at what the segmenter has seen.

    Raises:
        InvalidInputError: no such segmenter; or it has seen an image, and `strict`.
    """
    from dmic_gym.diagnosis.unseen import fold_without, seen_names

    if Path(spec).is_dir():
        spec = str(fold_without(Path(spec), [image.name for image in images]))
    segmenter = trained_segmenter(spec)
    words = f"segmenter {portable(spec)}"
    card = getattr(segmenter, "card", None)
    seen = [] if card is None else seen_names(card, data, (image.name for image in images))
    if not seen:
        return segmenter, words, []
    what = f"The segmenter {spec} was trained on {_few(seen)} of {data}: its Dice there flatters"
    if strict:
        raise InvalidInputError(
            f"{what}. Train folds with dmic train-segmenter --data {data} --folds 5 --out FOLDS, "
            "and pass --segmenter FOLDS to have the fold that has not seen them."
        )
    stderr.print(f"[yellow]Note:[/] {what}.", highlight=False, soft_wrap=True)
    return segmenter, words, [f"{portable(what)}."]


def _few(names: Sequence[str]) -> str:
    if len(names) > 3:
        return f"{len(names)} images"
    return f"image{'s' * (len(names) > 1)} {', '.join(names)}"


def _tell(path: Path) -> None:
    from dmic_gym.agents.telemetry import Telemetry
    from dmic_gym.diagnosis.weights import read_card

    metrics = read_card(path).metrics
    stdout.print(f"wrote {path}", highlight=False, markup=False, soft_wrap=True)
    stdout.print(
        f"{metrics['a2c_steps']} A2C steps, {metrics['trainable_share']:.1%} of the parameters "
        f"trained, {Telemetry(**metrics['gpu'])}",
        highlight=False,
        markup=False,
    )
