"""What ``dmic pretrain`` and ``finetune`` do alike: defaults, the run, and how it is shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dmic_gym.cli.common import (
    command_line,
    each,
    integers_of,
    say,
    stderr,
    stdout,
)
from dmic_gym.cli.notes import note
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

_MAPS = 5

_ENTROPY = {"whole": (0.003, 0.003), "credit": (0.01, 0.003), "learned": (0.0025, 0.001)}
"""Weight of the entropy at the first and last step of A2C: without --credit; with it; and with it
where a policy goes on whose warm start ended at that weight."""


def reinforcement(
    kind: str,
    qps: str | None,
    envs: int | None,
    rate: float | None,
    credit: bool,
    maps: int | None,
    preset: str,
    *,
    from_nothing: bool,
) -> dict[str, Any]:
    """Return the part of a configuration whose defaults hang on the kind of training.

    Raises:
        InvalidInputError: `envs` is no multiple of `maps`.
    """
    by_default, images, fast = _WITH_CREDIT[kind]
    groups = images * (maps if maps and maps > 1 else _MAPS)
    usual = (by_default, groups, fast) if credit else (_QPS, 16, 2e-4)
    episodes = usual[1] if envs is None else envs
    return {
        "base_qps": tuple(integers_of("--qps", usual[0] if qps is None else qps)),
        "envs": episodes,
        "learning_rate": usual[2] if rate is None else rate,
        "credit": credit,
        "maps": _maps_of(maps, episodes) if credit else 1,
        "entropy": _ENTROPY["whole" if not credit else "credit" if from_nothing else "learned"],
        "preset": preset,
    }


def _maps_of(maps: int | None, envs: int) -> int:
    """Return how many maps are compared: as asked for, or the most up to 5 that divide `envs`."""
    if maps is None:
        return max(size for size in range(1, _MAPS + 1) if envs % size == 0)
    if maps > 0 and envs % maps:
        nearest = max(round(envs / maps), 1) * maps
        raise InvalidInputError(
            f"--envs {envs} is no multiple of --maps {maps}. Nearest: --envs {nearest}; or leave "
            "--maps out."
        )
    return maps


def split_off_images(
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


def judged(run: TrainingRun, samples: Sequence[Sample], every: int) -> TrainingRun:
    """Return a run that is judged on `samples` while it learns."""
    from dmic_gym.agents.training.learning_log import HeldOut
    from dmic_gym.bench.held_out import held_out_judge

    if not samples:
        return run
    return replace(
        run, held_out=lambda evaluator: HeldOut(held_out_judge(evaluator, samples), every)
    )


def image_run(
    name: str,
    out: Path,
    config: TrainingConfig,
    images: Mapping[str, Sequence[Sample]],
    segmenters: Sequence[str],
    words: Sequence[str],
    device: str,
    jobs: int | None,
    resume: bool,
    on_progress: ProgressCallback,
    *,
    strict: bool = False,
) -> TrainingRun:
    """Return the run, in which no image is judged by a segmenter that was trained on it."""
    from dmic_gym.agents.training.run import CardNotes, TrainingRun
    from dmic_gym.tasks.leakage import UnseenSegmenters

    unseen = UnseenSegmenters(images, each("--segmenter", segmenters, len(images)), strict)
    for words_of_note in unseen.notes:
        note(words_of_note)
    notes = [portable(words_of_note) for words_of_note in unseen.notes]
    return TrainingRun(
        name=name,
        out=out,
        config=config,
        segmenter=unseen,
        device=device,
        jobs=jobs,
        resume=resume,
        card=CardNotes([*words, unseen.description], command_line(), notes),
        on_progress=on_progress,
    )


def watch(train: Callable[[ProgressCallback], Path | TrainedLevels]) -> None:
    """Train with progress bars, and say what came of it or how to go on after Ctrl-C."""
    from dmic_gym.cli.progress import progress_bar, stages

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
