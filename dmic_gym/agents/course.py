"""How a policy learns: study of what actions are worth first, then A2C in the environment.

Everything a run has found is on disk at once, so that one that was killed goes on: lessons line
by line, the policy that has studied, and a checkpoint of the A2C every so many steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.logger import Logger, make_output_format
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecMonitor

from dmic_gym.agents.checkpoints import STUDIED, Checkpoints, restore, save_checkpoint
from dmic_gym.agents.episodes import Episodes, Notice, silent
from dmic_gym.agents.freeze import PartialFreezeCallback, frozen_but
from dmic_gym.agents.hrlvsc import TAUGHT, HRLVSCPolicy
from dmic_gym.agents.lessons import Lesson, collect_lessons
from dmic_gym.agents.study import Study, study
from dmic_gym.data.sample import Sample
from dmic_gym.diagnosis.network import pick_device
from dmic_gym.diagnosis.segmenter import Segmenter
from dmic_gym.envs.observations import ImageView
from dmic_gym.envs.sb3 import SB3CodingVecEnv
from dmic_gym.envs.task import CodingTask
from dmic_gym.errors import InvalidInputError

LESSONS = "lessons.jsonl"

JudgeOf = Callable[[Sample], Segmenter]
"""Which segmenter judges an image: one that was not trained on it."""


@dataclass(frozen=True)
class Course:
    """What a policy goes through.

    Attributes:
        epochs: passes over the lessons of the images, see `Study`; 0 leaves them out.
        study_rate: learning rate of these.
        steps: A2C steps (CTUs) after that; 0 leaves A2C out.
        learning_rate: of A2C.
        entropy: weight of the policy's entropy in A2C's loss.
        checkpoint_every: A2C steps between checkpoints.
        seed: of everything.

    Raises:
        InvalidInputError: a number is negative, a rate is not above 0, or nothing is to be done.
    """

    epochs: int = 35
    study_rate: float = 1e-3
    steps: int = 100_000
    learning_rate: float = 2e-4
    entropy: float = 0.003
    checkpoint_every: int = 5_000
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "steps", "entropy", "seed"):
            if (value := getattr(self, name)) < 0:
                raise InvalidInputError(f"{name}={value} is negative. Nearest: 0.")
        for name in ("study_rate", "learning_rate", "checkpoint_every"):
            if not (value := getattr(self, name)) > 0:
                raise InvalidInputError(f"{name}={value} must be above 0.")
        if not self.steps and not self.epochs:
            raise InvalidInputError("Nothing would be learned: pass steps or epochs above 0.")


def a2c_arguments(course: Course) -> dict[str, Any]:
    """Return the keyword arguments of `A2C` for a course.

    The reward comes once, at the end of an episode, and nothing is discounted: a CTU's advantage
    is the episode's return less what the critic expected of it. Where an image has more CTUs than
    `n_steps`, the critic stands for the return that is still to come.
    """
    return {
        "learning_rate": course.learning_rate,
        "n_steps": 25,
        "gamma": 1.0,
        "gae_lambda": 1.0,
        "ent_coef": course.entropy,
        "vf_coef": 0.25,
        "normalize_advantage": True,
        "seed": course.seed,
    }


def new_model(env: SB3CodingVecEnv, course: Course, device: str = "auto") -> A2C:
    """Return an untrained HRLVSC policy in A2C.

    Raises:
        InvalidInputError: there is no such device.
    """
    return A2C(HRLVSCPolicy, env, device=pick_device(device), **a2c_arguments(course))


def follow(
    model: OnPolicyAlgorithm,
    env: SB3CodingVecEnv,
    course: Course,
    out: Path,
    *,
    parts: Sequence[str] | None = None,
    judge_of: JudgeOf | None = None,
    resume: bool = False,
    callbacks: Sequence[BaseCallback] = (),
    notice: Notice = silent,
) -> None:
    """Take a model through a course, in place.

    Args:
        model: with a policy for `env`.
        env: the data set, the segmenter, the codec and the base QPs to learn with.
        course: what to do.
        out: folder for lessons, checkpoints and TensorBoard's log.
        parts: module prefixes to train; None trains all.
        judge_of: the segmenter of each image's lesson; None is the environment's for all. A2C is
            rewarded by the environment's.
        resume: go on where the run in `out` stopped, instead of refusing to mix two runs.
        callbacks: more of Stable-Baselines3's.
        notice: told of the progress.

    Raises:
        InvalidInputError: `out` holds a run and `resume` is False.
        WeightsError: a checkpoint in `out` is damaged.
        FreezeError: a frozen tensor changed.
        CodecError: the codec failed.
    """
    check_out(out, resume)
    out.mkdir(parents=True, exist_ok=True)
    done = restore(model, out)
    model.num_timesteps = done or 0
    logger = _open_log(out / "log", model.num_timesteps)
    try:
        if done is None:
            if course.epochs:
                _study(
                    model, _lessons(env, out, judge_of, notice), env, course, parts, logger, notice
                )
            save_checkpoint(model, out / STUDIED)
        if course.steps > model.num_timesteps:
            listed: list[BaseCallback] = [] if parts is None else [PartialFreezeCallback(parts)]
            listed += [Checkpoints(out, course.checkpoint_every), Episodes(notice, course.steps)]
            _reinforce(model, env, course, logger, [*listed, *callbacks])
    finally:
        logger.close()


def check_out(out: Path, resume: bool) -> None:
    """Raise InvalidInputError if `out` holds a run that is not to be resumed."""
    if not resume and any((out / name).exists() for name in (LESSONS, STUDIED)):
        raise InvalidInputError(
            f"{out} holds a run already: pass --resume to go on with it, or another --out."
        )


def _lessons(
    env: SB3CodingVecEnv, out: Path, judge_of: JudgeOf | None, notice: Notice
) -> list[tuple[ImageView, Lesson]]:
    """Return the lesson of each image, from the segmenter that is to judge it."""
    coding = env.env
    size, samples = coding.task.codec.ctu_size, list(coding.dataset)
    judges = [coding.task.segmenter if judge_of is None else judge_of(s) for s in samples]
    pairs: list[tuple[ImageView, Lesson]] = []
    for judge in dict.fromkeys(judges):
        task = CodingTask(coding.task.codec, judge)
        own = [s for s, found in zip(samples, judges, strict=True) if found is judge]

        def tell(done: int, _: int, before: int = len(pairs)) -> None:
            notice("lessons", before + done, len(samples), "")

        lessons = collect_lessons(task, own, out / LESSONS, on_lesson=tell)
        views = (ImageView(task.original(sample), size) for sample in own)
        pairs += list(zip(views, lessons, strict=True))
    return pairs


def _study(
    model: OnPolicyAlgorithm,
    lessons: Sequence[tuple[ImageView, Lesson]],
    env: SB3CodingVecEnv,
    course: Course,
    parts: Sequence[str] | None,
    logger: Logger,
    notice: Notice,
) -> None:
    def on_epoch(number: int, loss: float) -> None:
        logger.record("study/loss", loss)
        logger.dump(number)
        notice("study", number, course.epochs, f"loss {loss:.3f}")

    how = Study(course.epochs, learning_rate=course.study_rate, seed=course.seed)
    with frozen_but(model.policy, taught_parts(model, parts)):
        study(model.policy, lessons, env.env.base_qps, env.env.qp_offsets, how, on_epoch)


def taught_parts(model: OnPolicyAlgorithm, parts: Sequence[str] | None) -> Sequence[str] | None:
    """Return the module prefixes that lessons train, where `parts` may be trained."""
    return TAUGHT if parts is None and isinstance(model.policy, HRLVSCPolicy) else parts


def _reinforce(
    model: OnPolicyAlgorithm,
    env: SB3CodingVecEnv,
    course: Course,
    logger: Logger,
    callbacks: list[BaseCallback],
) -> None:
    done = model.num_timesteps
    model.set_env(VecMonitor(env))
    model.set_random_seed(course.seed + done)  # one that goes on does not draw the same again
    model.set_logger(logger)
    model.learn(
        course.steps - done,
        CallbackList(callbacks),
        log_interval=1,
        reset_num_timesteps=done == 0,
    )


def _open_log(folder: Path, done: int) -> Logger:
    """Open TensorBoard's log and a table beside it; one of a run that goes on gets its own."""
    suffix = f"-{done}" if done else ""
    kinds = ("csv", "tensorboard")
    return Logger(str(folder), [make_output_format(kind, str(folder), suffix) for kind in kinds])
