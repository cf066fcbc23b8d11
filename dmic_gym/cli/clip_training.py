"""``dmic pretrain`` on clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmic_gym.cli.common import command_line
from dmic_gym.cli.notes import note
from dmic_gym.errors import InvalidInputError
from dmic_gym.io import portable

if TYPE_CHECKING:
    from dmic_gym.agents.baselines import Agent
    from dmic_gym.agents.training.progress import ProgressCallback
    from dmic_gym.agents.training.run import TrainingRun
    from dmic_gym.agents.training.video import MakeJudge, TrainedLevels
    from dmic_gym.envs.video_settings import Mode
    from dmic_gym.tasks.data.clip import Clip
    from dmic_gym.tasks.registry import Task


def clip_training(
    tasks: Sequence[Task],
    run: TrainingRun,
    segmenters: Sequence[str] | None,
    mode: str,
    turns: int,
    weights: Path | None,
    held_out: int,
    every: int,
) -> Callable[[ProgressCallback], TrainedLevels]:
    """Return what trains on the clips of a task.

    Args:
        tasks: one of clips.
        run: name, folder and configuration.
        segmenters: one that judges the frames, or None for the task's.
        mode: what is trained, see `train_on_clips`.
        turns: how often.
        weights: where to begin.
        held_out: clips kept back, on which the policies are judged.
        every: updates between two judgements.

    Raises:
        InvalidInputError: there are several tasks or segmenters, or turns of one level.
    """
    from dmic_gym.agents.training.run import CardNotes
    from dmic_gym.agents.training.video import train_on_clips
    from dmic_gym.tasks.data.sequence import names_of
    from dmic_gym.tasks.leakage import notes_on
    from dmic_gym.tasks.segmenters.find import describe_segmenter, find_segmenter
    from dmic_gym.tasks.segmenters.stills import segmenter_of_stills

    if len(tasks) != 1 or len(segmenters or ()) > 1:
        raise InvalidInputError("Of clips, pass --data once, and --segmenter once at most.")
    if turns != 1 and mode != "levels":
        raise InvalidInputError(f"--turns is of --mode levels: leave it out with --mode {mode}.")
    (task,) = tasks
    clips, spec = task.load_clips("train"), (segmenters or [str(task.training_segmenter)])[0]
    kept_back, learned = split_off(clips, held_out, run.config.seed)
    judge, data = find_segmenter(spec), str(task.train)
    if mode == "stills":
        judge = segmenter_of_stills(judge, clips)
    notes = notes_on(spec, data, names_of(clips))
    for each in notes:
        note(each)
    words = [
        f"{portable(data)} ({'frames of ' if mode == 'stills' else ''}{len(learned)} clips)",
        f"segmenter {portable(describe_segmenter(judge)['name'])}",
    ]
    card = CardNotes(words, command_line(), [portable(each) for each in notes])

    def train(on_progress: ProgressCallback) -> TrainedLevels:
        chosen = replace(run, segmenter=judge, card=card, on_progress=on_progress)
        make_judge = _judge(kept_back, every)
        return train_on_clips(learned, chosen, mode, turns, weights, make_judge)

    return train


def split_off(
    clips: Sequence[Clip], count: int, seed: int
) -> tuple[Sequence[Clip], Sequence[Clip]]:
    """Draw clips that are not learned from; return them and the others.

    Raises:
        InvalidInputError: none would be left.
    """
    import numpy as np

    if not count:
        return [], clips
    if not 0 < count < len(clips):
        raise InvalidInputError(
            f"--held-out {count} of {len(clips)} clips: keep back between 0 and {len(clips) - 1}."
        )
    drawn = set(np.random.default_rng(seed).permutation(len(clips))[:count].tolist())
    both: tuple[list[Clip], list[Clip]] = ([], [])
    for place in range(len(clips)):
        both[place not in drawn].append(clips[place])
    return both


def _judge(clips: Sequence[Clip], every: int) -> MakeJudge | None:
    from dmic_gym.agents.training.learning_log import HeldOut
    from dmic_gym.bench.held_out import held_out_clips_judge, held_out_judge
    from dmic_gym.tasks.data.clips.stills import Stills

    if not clips:
        return None

    def make_judge(evaluator: Any, mode: Mode | None, other: Agent | None) -> HeldOut:
        if mode is None:
            return HeldOut(held_out_judge(evaluator, Stills(clips)), every)
        return HeldOut(held_out_clips_judge(evaluator, clips, mode, other), every)

    return make_judge
