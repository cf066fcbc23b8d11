"""How a policy learns: imitation of the search first, then A2C in the environment.

Everything a run has found is on disk at once, so that one that was killed goes on: lessons line
by line, the imitating policy, and a checkpoint of the A2C every so many steps.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, CheckpointCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.vec_env import VecMonitor

from dmic_gym.agents.freeze import PartialFreezeCallback, frozen_but
from dmic_gym.agents.hrlvsc import HRLVSCPolicy
from dmic_gym.agents.imitation import Imitation, imitate
from dmic_gym.agents.lessons import collect_lessons
from dmic_gym.envs.observations import ImageView
from dmic_gym.envs.sb3 import SB3CodingVecEnv
from dmic_gym.errors import InvalidInputError, WeightsError

LESSONS = "lessons.jsonl"
_IMITATED = "imitated.zip"
_STEPS = re.compile(r"a2c_(\d+)_steps\.zip")

Notice = Callable[[str, int, int, str], None]
"""Progress: stage, how much of it is done, how much there is, and a word on how it goes."""


@dataclass(frozen=True)
class Course:
    """What a policy goes through.

    Attributes:
        search: encodes of each search that is imitated first; 0 leaves imitation out.
        epochs: passes over what the searches found.
        steps: A2C steps (CTUs) after that; 0 leaves A2C out.
        imitation_rate: learning rate of the imitation.
        learning_rate: of A2C.
        entropy: weight of the policy's entropy in A2C's loss.
        checkpoint_every: A2C steps between checkpoints.
        seed: of everything.
    """

    search: int = 60
    epochs: int = 60
    steps: int = 100_000
    imitation_rate: float = 1e-3
    learning_rate: float = 2e-4
    entropy: float = 0.003
    checkpoint_every: int = 20_000
    seed: int = 0


def a2c_arguments(course: Course) -> dict[str, Any]:
    """Return the keyword arguments of `A2C` for a course.

    The reward comes once, at the end of an episode, and nothing is discounted: a CTU's advantage
    is the episode's return less what the critic expected of it.
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
    """Return an untrained HRLVSC policy in A2C."""
    return A2C(HRLVSCPolicy, env, device=device, **a2c_arguments(course))


def follow(
    model: OnPolicyAlgorithm,
    env: SB3CodingVecEnv,
    course: Course,
    out: Path,
    *,
    parts: Sequence[str] | None = None,
    resume: bool = False,
    callbacks: Sequence[BaseCallback] = (),
    notice: Notice = lambda stage, done, total, word: None,
) -> None:
    """Take a model through a course, in place.

    Args:
        model: with a policy for `env`.
        env: the data set, the segmenter, the codec and the base QPs to learn with.
        course: what to do.
        out: folder for lessons, checkpoints and TensorBoard's log.
        parts: module prefixes to train; None trains all.
        resume: go on where the run in `out` stopped, instead of refusing to mix two runs.
        callbacks: more of Stable-Baselines3's.
        notice: told of the progress.

    Raises:
        InvalidInputError: `out` holds a run and `resume` is False.
        FreezeError: a frozen tensor changed.
        CodecError: the codec failed.
    """
    check_out(out, resume)
    out.mkdir(parents=True, exist_ok=True)
    done = _restore(model, out)
    if done is None:
        done = 0
        if course.search and course.epochs:
            _imitate(model, env, course, out, parts, notice)
        model.save(out / _IMITATED)
    if course.steps > done:
        _reinforce(model, env, course, out, parts, done, callbacks, notice)


def check_out(out: Path, resume: bool) -> None:
    """Raise InvalidInputError if `out` holds a run that is not to be resumed."""
    if not resume and any((out / name).exists() for name in (LESSONS, _IMITATED)):
        raise InvalidInputError(
            f"{out} holds a run already: pass --resume to go on with it, or another --out."
        )


def _imitate(
    model: OnPolicyAlgorithm,
    env: SB3CodingVecEnv,
    course: Course,
    out: Path,
    parts: Sequence[str] | None,
    notice: Notice,
) -> None:
    coding = env.env
    task = coding.task
    samples = list(coding.dataset)
    lessons = collect_lessons(
        task,
        samples,
        coding.base_qps,
        course.search,
        out / LESSONS,
        on_lesson=lambda done, total: notice("search", done, total, ""),
    )
    views = {s.name: ImageView(task.original(s), task.codec.ctu_size) for s in samples}
    how = Imitation(course.epochs, learning_rate=course.imitation_rate, seed=course.seed)
    with frozen_but(model.policy, parts):
        imitate(
            model.policy,
            [(views[lesson.name], lesson) for lesson in lessons],
            coding.qp_offsets,
            how,
            lambda number, loss: notice("imitate", number, course.epochs, f"loss {loss:.3f}"),
        )


def _reinforce(
    model: OnPolicyAlgorithm,
    env: SB3CodingVecEnv,
    course: Course,
    out: Path,
    parts: Sequence[str] | None,
    done: int,
    callbacks: Sequence[BaseCallback],
    notice: Notice,
) -> None:
    every = max(course.checkpoint_every // env.num_envs, 1)
    listed: list[BaseCallback] = [
        CheckpointCallback(every, str(out), name_prefix="a2c"),
        _Notices(notice, course.steps),
        *callbacks,
    ]
    if parts is not None:
        listed.append(PartialFreezeCallback(parts))
    model.set_env(VecMonitor(env))
    logger = configure(str(out / "log"), ["csv", "tensorboard"])
    model.set_logger(logger)
    model.num_timesteps = done
    try:
        model.learn(course.steps - done, CallbackList(listed), reset_num_timesteps=done == 0)
    finally:
        logger.close()


def _restore(model: OnPolicyAlgorithm, out: Path) -> int | None:
    """Load the newest checkpoint of `out`; return its A2C steps, or None where there is none."""
    steps = {int(m[1]): p for p in out.glob("a2c_*_steps.zip") if (m := _STEPS.fullmatch(p.name))}
    found = [(number, steps[number]) for number in sorted(steps, reverse=True)]
    for done, path in [*found, (0, out / _IMITATED)]:
        if not path.exists():
            continue
        try:
            _, tensors, _ = load_from_zip_file(path, device=model.device, load_data=False)
            model.set_parameters(tensors, device=model.device)
        except Exception as error:  # a checkpoint that was cut off: take the one before
            if done == 0:
                raise WeightsError(f"{path} cannot be resumed: {error}") from error
        else:
            return done
    return None


class _Notices(BaseCallback):
    """Tell of A2C's steps and of the mean reward of the last episodes."""

    def __init__(self, notice: Notice, total: int) -> None:
        super().__init__()
        self._notice = notice
        self._total = total

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        recent = [episode["r"] for episode in self.model.ep_info_buffer or ()]
        word = f"reward {np.mean(recent):+.3f}" if recent else ""
        self._notice("A2C", min(self.model.num_timesteps, self._total), self._total, word)
