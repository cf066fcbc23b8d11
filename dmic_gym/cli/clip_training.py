"""``dmic pretrain`` on clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dmic_gym.cli.common import command_line, stderr
from dmic_gym.errors import InvalidInputError
from dmic_gym.io import portable

if TYPE_CHECKING:
    from dmic_gym.agents.training.progress import ProgressCallback
    from dmic_gym.agents.training.run import TrainingRun
    from dmic_gym.agents.training.video import TrainedLevels
    from dmic_gym.tasks.registry import Task


def clip_training(
    tasks: Sequence[Task],
    run: TrainingRun,
    segmenters: Sequence[str] | None,
    mode: str,
    turns: int,
) -> Callable[[ProgressCallback], TrainedLevels]:
    """Return what trains on the clips of a task.

    Args:
        tasks: one of clips.
        run: name, folder and configuration.
        segmenters: one that judges the frames, or None for the task's.
        mode: what is trained, see `train_on_clips`.
        turns: how often.

    Raises:
        InvalidInputError: there are several tasks or segmenters.
    """
    from dmic_gym.agents.training.run import CardNotes
    from dmic_gym.agents.training.video import train_on_clips
    from dmic_gym.tasks.data.sequence import names_of
    from dmic_gym.tasks.leakage import notes_on
    from dmic_gym.tasks.segmenters.find import describe_segmenter, find_segmenter

    if len(tasks) != 1 or len(segmenters or ()) > 1:
        raise InvalidInputError("Of clips, pass --data once, and --segmenter once at most.")
    (task,) = tasks
    clips, spec = task.load_clips("train"), (segmenters or [str(task.training_segmenter)])[0]
    judge, data = find_segmenter(spec), str(task.train)
    notes = notes_on(spec, data, names_of(clips))
    for note in notes:
        stderr.print(f"[yellow]Note:[/] {note}", highlight=False, soft_wrap=True)
    words = [
        f"{portable(data)} ({len(clips)} clips)",
        f"segmenter {portable(describe_segmenter(judge)['name'])}",
    ]
    card = CardNotes(words, command_line(), [portable(note) for note in notes])

    def train(on_progress: ProgressCallback) -> TrainedLevels:
        chosen = replace(run, segmenter=judge, card=card, on_progress=on_progress)
        return train_on_clips(clips, chosen, mode, turns)

    return train
