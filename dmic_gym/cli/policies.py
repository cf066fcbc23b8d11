"""``dmic pretrain`` and ``finetune``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress, TaskID

from dmic_gym.cli.common import (
    app,
    command_line,
    integers_of,
    portable,
    progress_bar,
    select,
    stdout,
    trained_segmenter,
)

if TYPE_CHECKING:
    from dmic_gym.agents.course import Notice

_QPS = "22,27,32,37,42,47"

OutOption = Annotated[Path, typer.Option(help="Folder for weights, checkpoints and log.")]
SearchOption = Annotated[int, typer.Option(help="Encodes of each imitated search; 0: none.")]
EpochsOption = Annotated[int, typer.Option(help="Passes over the searches' results.")]
QPOption = Annotated[str, typer.Option("--qps", help="Base QPs to learn at.")]
CTUOption = Annotated[int, typer.Option("--ctu", help="CTU size: 64, 32 or 16.")]
EnvsOption = Annotated[int, typer.Option(help="Episodes at once.")]
RateOption = Annotated[float, typer.Option("--rate", help="Learning rate of A2C.")]
NetworkOption = Annotated[
    str, typer.Option("--segmenter", help="Weights by name or path, or module:object.")
]
SelectOption = Annotated[
    str, typer.Option("--select", help="Which images, as a slice START:STOP:STEP.")
]
SeedOption = Annotated[int, typer.Option(help="Of weights, order, exploration, variations.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda.")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")]


@app.command()
def pretrain(
    data: Annotated[str, typer.Option(help="Source domain: a DAVIS folder, or any with masks.")],
    out: OutOption,
    steps: Annotated[int, typer.Option(help="A2C steps (CTUs); 0: imitation alone.")] = 200_000,
    search: SearchOption = 60,
    epochs: EpochsOption = 60,
    size: Annotated[int | None, typer.Option(help="Height DAVIS frames are scaled to.")] = None,
    take: SelectOption = "::",
    segmenter: NetworkOption = "unet",
    name: Annotated[str, typer.Option(help="Name of the weights.")] = "hrlvsc",
    ctu: CTUOption = 64,
    qps: QPOption = _QPS,
    envs: EnvsOption = 16,
    rate: RateOption = 2e-4,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    resume: ResumeOption = False,
) -> None:
    """Train a policy on a source domain: imitation of the search, then A2C."""
    from dmic_gym.agents.course import Course
    from dmic_gym.agents.pretrain import Record
    from dmic_gym.agents.pretrain import pretrain as run

    options = {} if size is None else {"size": size}
    samples = select(data, take, **options)
    course = Course(search=search, epochs=epochs, steps=steps, learning_rate=rate, seed=seed)
    words = [f"{portable(data)} ({len(samples)} images)", f"segmenter {portable(segmenter)}"]
    with progress_bar() as progress:
        path = run(
            samples,
            out=out,
            course=course,
            segmenter=trained_segmenter(segmenter),
            name=name,
            ctu_size=ctu,
            base_qps=integers_of("--qps", qps),
            envs=envs,
            device=device,
            resume=resume,
            record=Record(words, command_line()),
            notice=_notices(progress),
        )
    _wrote(path)


@app.command()
def finetune(
    data: Annotated[str, typer.Option(help="Folder of annotated images.")],
    out: OutOption,
    samples: Annotated[int, typer.Option(help="How many of the images, drawn at random.")] = 1,
    image: Annotated[str | None, typer.Option(help="Or one image by name.")] = None,
    weights: Annotated[str, typer.Option(help="Where to start: name or path.")] = "hrlvsc",
    tune: Annotated[str, typer.Option(help="head, all or scratch.")] = "head",
    steps: Annotated[int, typer.Option(help="A2C steps (CTUs); 0: imitation alone.")] = 20_000,
    search: SearchOption = 60,
    epochs: EpochsOption = 40,
    variations: Annotated[int, typer.Option(help="Images made of the samples, in all.")] = 12,
    segmenter: NetworkOption = "unet",
    name: Annotated[str, typer.Option(help="Name of the weights.")] = "dmic",
    ctu: CTUOption = 64,
    qps: QPOption = _QPS,
    envs: EnvsOption = 16,
    rate: RateOption = 2e-4,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    resume: ResumeOption = False,
) -> None:
    """Carry a policy over to another kind of image by tuning its head on a few of them."""
    from dmic_gym.agents.course import Course
    from dmic_gym.agents.finetune import choose_samples
    from dmic_gym.agents.finetune import finetune as run
    from dmic_gym.agents.pretrain import Record
    from dmic_gym.envs.settings import find_sample

    begin = time.perf_counter()
    dataset = select(data, "::")
    chosen = (
        choose_samples(dataset, samples, seed) if image is None else [find_sample(dataset, image)]
    )
    course = Course(search=search, epochs=epochs, steps=steps, learning_rate=rate, seed=seed)
    words = [f"{portable(data)}: {', '.join(sample.name for sample in chosen)}"]
    with progress_bar() as progress:
        path = run(
            chosen,
            out=out,
            course=course,
            weights=weights,
            tune=tune,
            variations=variations,
            segmenter=trained_segmenter(segmenter),
            name=name,
            ctu_size=ctu,
            base_qps=integers_of("--qps", qps),
            envs=envs,
            device=device,
            resume=resume,
            record=Record([*words, f"segmenter {portable(segmenter)}"], command_line()),
            notice=_notices(progress),
        )
    _wrote(path)
    stdout.print(f"in {time.perf_counter() - begin:.0f} s", highlight=False)


def _notices(progress: Progress) -> Notice:
    bars: dict[str, TaskID] = {}

    def notice(stage: str, done: int, total: int, word: str) -> None:
        if stage not in bars:
            bars[stage] = progress.add_task(stage, total=total)
        progress.update(bars[stage], completed=done, description=f"{stage} {word}")

    return notice


def _wrote(path: Path) -> None:
    stdout.print(f"wrote {path}", highlight=False, markup=False, soft_wrap=True)
