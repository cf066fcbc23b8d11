"""Training on video: HRLVSC's two levels in turns, one policy for both, or frames as stills.

Each level is a `TrainingRun` in a folder of its own. The lower one, which sets the QPs of CTUs, is
trained first, then the upper one, which sets the QPs of frames, with the lower one fixed (Xie et
al., arXiv 2208.11529).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from dmic_gym.agents.baselines import Agent
from dmic_gym.agents.policy.loading import load_agent, load_policy
from dmic_gym.agents.training.config import TrainingConfig
from dmic_gym.agents.training.environments import TrainingEnv
from dmic_gym.agents.training.finetune import identity_of
from dmic_gym.agents.training.learn import a2c_arguments
from dmic_gym.agents.training.learning_log import HeldOut
from dmic_gym.agents.training.run import TrainingRun
from dmic_gym.codecs.base import map_shape
from dmic_gym.envs.settings import DEFAULT_QP_OFFSETS
from dmic_gym.envs.video_settings import Mode
from dmic_gym.errors import unknown_name
from dmic_gym.tasks.data.clip import Clip
from dmic_gym.tasks.data.clips.stills import Stills
from dmic_gym.tasks.data.sequence import names_of
from dmic_gym.tasks.segmenters.find import find_segmenter
from dmic_gym.tasks.segmenters.network import pick_device
from dmic_gym.tasks.segmenters.stills import segmenter_of_stills

Level = Literal["ctu", "frame"]
LEVELS: tuple[Level, ...] = ("ctu", "frame")
"""In the order in which they are trained."""

MODES = ("levels", *LEVELS, "hierarchical", "stills")
"""What is trained: both levels, one of them alone, one policy for both, or, on frames coded as
images, one of CTUs that the CTU level can begin with."""


MakeJudge = Callable[[Any, Mode | None, Agent | None], HeldOut]
"""Makes what judges a policy while it learns: of the evaluator, what the policy decides (None: the
CTUs of stills), and who decides the other level."""


@dataclass(frozen=True)
class TrainedLevels:
    """The weights that a training on clips came to.

    Attributes:
        frame: of the policy that sets the QPs of frames, or None.
        ctu: of the policy that sets the QPs of CTUs, or None; of both levels, they are the same.
        written: those that it wrote, in order.
    """

    frame: Path | None = None
    ctu: Path | None = None
    written: tuple[Path, ...] = ()

    @property
    def agent(self) -> str:
        """What ``dmic bench --agents`` takes."""
        if self.frame == self.ctu:
            return str(self.ctu)
        return f"levels:{self.frame or ''}:{self.ctu or ''}"


def train_on_clips(
    clips: Sequence[Clip],
    run: TrainingRun,
    mode: str = "levels",
    turns: int = 1,
    weights: Path | None = None,
    make_judge: MakeJudge | None = None,
) -> TrainedLevels:
    """Train on clips and write the policies with their cards.

    Level X of the run NAME in OUT is ``OUT/X/NAME-X.safetensors``; in its second turn, which begins
    with these weights, ``OUT/X-2/NAME-X-2.safetensors``. The frame level learns from as many frames
    as the CTU level, which is one step where that has one for each CTU.

    Args:
        clips: with expert masks, or those of the segmenter on the original frames stand for them.
        run: how and where; its configuration's steps are those of the CTU level. Of stills, whose
            weights are ``OUT/NAME.safetensors``, there may be a warm start.
        mode: one of `MODES`.
        turns: how often each of the two levels is trained, in turns.
        weights: a `DMICPolicy` of images or video that the CTU level, or the one policy for both
            or for stills, begins with; where the frame level is trained alone, it is the fixed CTU
            level. None: random weights, and CTUs that keep their frame's QP.
        make_judge: makes what judges the policies on other clips.

    Raises:
        InvalidInputError: there is no such mode.
        DmicError: as `TrainingRun.run`.
    """
    if mode not in MODES:
        raise unknown_name("mode", mode, MODES)
    if mode == "hierarchical":
        config = replace(run.config, mode="hierarchical")
        run = replace(run, out=run.out / mode, config=config)
        start, facts = _start(run, weights), {"start": _named(weights)}
        path = _judged(run, make_judge, None).run(clips, start, facts=facts)
        return TrainedLevels(path, path, (path,))
    if mode == "stills":
        return _on_stills(clips, run, weights, make_judge)
    found = TrainedLevels(ctu=weights)
    if mode != "levels":
        level: Level = "ctu" if mode == "ctu" else "frame"
        return _trained(clips, run, level, found, 1, make_judge)
    for turn in range(1, turns + 1):
        for level in LEVELS:
            found = _trained(clips, run, level, found, turn, make_judge)
    return found


def _on_stills(
    clips: Sequence[Clip], run: TrainingRun, weights: Path | None, make_judge: MakeJudge | None
) -> TrainedLevels:
    """Train on `Stills`, each judged by the segmenter of its clip."""
    run = replace(run, segmenter=segmenter_of_stills(find_segmenter(run.segmenter), clips))
    facts = {"start": _named(weights), "stills_of": names_of(clips)}
    start = _start(run, weights)
    path = _judged(run, make_judge, None).run(Stills(clips), start, facts=facts)
    return TrainedLevels(ctu=path, written=(path,))


def _trained(
    clips: Sequence[Clip],
    run: TrainingRun,
    level: Level,
    found: TrainedLevels,
    turn: int,
    make_judge: MakeJudge | None,
) -> TrainedLevels:
    """Train one level, the other one fixed as it was found."""
    name = level if turn == 1 else f"{level}-{turn}"
    before, other = (found.ctu, found.frame) if level == "ctu" else (found.frame, found.ctu)
    config = _config(run.config, level, clips[0])

    fixed = None
    if other is not None:
        fixed = load_agent(other, DEFAULT_QP_OFFSETS, config.ctu_size, video=True)
    chosen = replace(
        run,
        name=f"{run.name}-{name}",
        out=run.out / name,
        config=config,
        on_progress=lambda stage, *rest: run.on_progress(f"{stage} {name}", *rest),
    )
    path = _judged(chosen, make_judge, fixed).run(
        clips,
        _start(chosen, before),
        facts={
            "start": _named(before),
            "other_level": None if other is None else identity_of(other),
        },
        other=fixed,
    )
    return replace(found, written=(*found.written, path), **{level: path})


def _start(
    run: TrainingRun, weights: Path | None
) -> Callable[[TrainingEnv], OnPolicyAlgorithm] | None:
    """Return what makes the model to train of weights; None makes a new one."""
    if weights is None:
        return None

    def start(env: TrainingEnv) -> OnPolicyAlgorithm:
        arguments = a2c_arguments(run.config, env)
        model = load_policy(weights, env, device=str(pick_device(run.device)), **arguments)
        assert isinstance(model, OnPolicyAlgorithm)
        return model

    return start


def _named(weights: Path | None) -> str:
    return "random" if weights is None else identity_of(weights)


def _judged(run: TrainingRun, make_judge: MakeJudge | None, other: Agent | None) -> TrainingRun:
    if make_judge is None:
        return run
    mode = run.config.mode
    return replace(run, held_out=lambda evaluator: make_judge(evaluator, mode, other))


def _config(config: TrainingConfig, level: Level, clip: Clip) -> TrainingConfig:
    if level == "ctu":
        return replace(config, mode=level)
    rows, cols = map_shape(clip.shape, config.ctu_size)
    ctus = rows * cols
    return replace(
        config,
        mode=level,
        steps=-(-config.steps // ctus),
        checkpoint_every=-(-config.checkpoint_every // ctus),
    )
