"""How a policy learns: a supervised warm start, then A2C in the environment.

Everything a run has found is on disk at once, so that one that was killed goes on: the tables line
by line, the policy after the warm start, and a checkpoint of the A2C every so many steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.logger import Logger, make_output_format
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecMonitor

from dmic_gym.agents.policy.freeze import PartialFreezeCallback, frozen_but
from dmic_gym.agents.policy.trunk import DMICPolicy
from dmic_gym.agents.training.checkpoints import (
    WARM_STARTED,
    WARM_STARTING,
    Checkpoints,
    Reseeding,
    restore,
    save_checkpoint,
    seed_of,
)
from dmic_gym.agents.training.config import TrainingConfig
from dmic_gym.agents.training.credit import CreditCallback, EntropySchedule
from dmic_gym.agents.training.environments import TrainingEnv, episode_steps
from dmic_gym.agents.training.imitation import demonstrate, imitate
from dmic_gym.agents.training.learning_log import LEARNING, HeldOut, LearningLog
from dmic_gym.agents.training.progress import Episodes, ProgressCallback, silent
from dmic_gym.agents.training.table_images import TableImages
from dmic_gym.agents.training.value_tables import collect_value_tables
from dmic_gym.agents.training.warm_start import warm_start
from dmic_gym.envs.evaluator import Evaluator
from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.segmenters.network import pick_device

VALUE_TABLES = "qp-value-tables.jsonl"
IMAGES = "images"
"""Folder of the images that the warm start learns from, with their importance maps."""


def a2c_arguments(config: TrainingConfig, env: TrainingEnv) -> dict[str, Any]:
    """Return the keyword arguments of `A2C` for a configuration.

    The reward comes once, at the end of an episode, and nothing is discounted: a CTU's advantage
    is the episode's return less what the critic expected of it. Where an image has more CTUs than
    `n_steps`, the critic stands for the return that is still to come. With credit, a rollout is as
    long as an episode on the data set's first image or clip, and Adam takes RMSprop's place.
    """
    return {
        "learning_rate": config.learning_rate,
        "n_steps": episode_steps(env, config) if config.credit else 25,
        "gamma": 1.0,
        "gae_lambda": 1.0,
        "ent_coef": config.entropy[0],
        "vf_coef": 0.25,
        "use_rms_prop": not config.credit,
        "normalize_advantage": True,
        "seed": config.seed,
    }


def new_model(env: TrainingEnv, config: TrainingConfig, device: str = "auto") -> A2C:
    """Return an untrained policy in A2C.

    Raises:
        InvalidInputError: there is no such device, or there are no such inputs.
    """
    arguments = a2c_arguments(config, env)
    if config.inputs != "both":
        arguments["policy_kwargs"] = {"features_extractor_kwargs": {"inputs": config.inputs}}
    return A2C(DMICPolicy, env, device=pick_device(device), **arguments)


def train(
    model: OnPolicyAlgorithm,
    env: TrainingEnv,
    config: TrainingConfig,
    out: Path,
    *,
    parts: Sequence[str] | None = None,
    resume: bool = False,
    tables: Path | None = None,
    callbacks: Sequence[BaseCallback] = (),
    held_out: HeldOut | None = None,
    workers: int | None = None,
    on_progress: ProgressCallback = silent,
) -> None:
    """Train a model, in place.

    A run that is resumed goes on as the unbroken one would have, to the bit, where a rollout holds
    whole episodes, as with ``config.credit`` and images of one size.

    Args:
        model: with a policy for `env`.
        env: the data set, the segmenter, the codec and the base QPs to learn with.
        config: what to do.
        out: folder for QP value tables, checkpoints and TensorBoard's log.
        parts: module prefixes to train; None trains all.
        resume: go on where the run in `out` stopped, instead of refusing to mix two runs.
        tables: folder of QP value tables that runs share, one after the other; None keeps them in
            `out`.
        callbacks: more of Stable-Baselines3's.
        held_out: judges the policy while it learns.
        workers: threads that make QP value tables; None: one a processor.
        on_progress: told of the progress.

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
    model.set_logger(logger)
    try:
        if done is None:
            if config.imitate is not None:
                _imitate(model, env, config, config.imitate, parts, workers, on_progress)
            elif config.epochs:
                seeing = isinstance(model.policy, DMICPolicy)
                images = _table_images(env, tables or out, seeing, workers, on_progress)
                _warm_start(model, images, env, config, out, parts, on_progress)
            save_checkpoint(model, out / WARM_STARTED)
            (out / WARM_STARTING).unlink(missing_ok=True)
        if config.steps > model.num_timesteps:
            frozen: list[BaseCallback] = [] if parts is None else [PartialFreezeCallback(parts)]
            paid = [CreditCallback("group" if config.maps > 1 else "critic")]
            always = [
                Checkpoints(out, config.checkpoint_every),
                Reseeding(config.seed),
                Episodes(on_progress, config.steps),
                EntropySchedule(*config.entropy),
                LearningLog(out / LEARNING, held_out),
            ]
            used = [*frozen, *(paid if config.credit else []), *always, *callbacks]
            _reinforce(model, env, config, used)
    finally:
        logger.close()


def check_out(out: Path, resume: bool) -> None:
    """Raise InvalidInputError if `out` holds a run that is not to be resumed."""
    if not resume and any((out / name).exists() for name in (VALUE_TABLES, WARM_STARTED)):
        raise InvalidInputError(
            f"{out} holds a run already: pass --resume to go on with it, or another --out."
        )


def _table_images(
    env: TrainingEnv,
    folder: Path,
    augmented: bool,
    workers: int | None,
    on_progress: ProgressCallback,
) -> TableImages:
    """Return the images with their QP value tables; what `folder` has of them is not made again."""
    shared, samples = env.env.evaluator, env.env.dataset
    evaluator = Evaluator(shared.codec, shared.segmenter)

    def tell(done: int, total: int) -> None:
        on_progress("QP value tables", done, total, "")

    tables = collect_value_tables(evaluator, samples, folder / VALUE_TABLES, tell, workers)
    images = TableImages(folder / IMAGES, tables, augmented)
    for number, sample in enumerate(samples):
        if not images.is_kept(number):
            images.keep(number, evaluator.reference(sample))
    return images


def _imitate(
    model: OnPolicyAlgorithm,
    env: TrainingEnv,
    config: TrainingConfig,
    agent: str,
    parts: Sequence[str] | None,
    workers: int | None,
    on_progress: ProgressCallback,
) -> None:
    def on_episode(done: int, total: int) -> None:
        on_progress(f"maps of {agent}", done, total, "")

    shown = demonstrate(env, agent, config, on_episode, workers)
    with frozen_but(model.policy, parts):
        imitate(model.policy, shown, config, _on_epoch(model, config, on_progress))


def _warm_start(
    model: OnPolicyAlgorithm,
    images: TableImages,
    env: TrainingEnv,
    config: TrainingConfig,
    out: Path,
    parts: Sequence[str] | None,
    on_progress: ProgressCallback,
) -> None:
    with frozen_but(model.policy, parts):
        offsets, state = env.env.qp_offsets, out / WARM_STARTING
        on_epoch = _on_epoch(model, config, on_progress)
        warm_start(model.policy, images, offsets, config, on_epoch, state)


def _on_epoch(
    model: OnPolicyAlgorithm, config: TrainingConfig, on_progress: ProgressCallback
) -> Callable[[int, float], None]:
    def on_epoch(number: int, loss: float) -> None:
        model.logger.record("warm_start/loss", loss)
        model.logger.dump(number)
        on_progress("warm start", number, config.epochs, f"loss {loss:.3f}")

    return on_epoch


def _reinforce(
    model: OnPolicyAlgorithm,
    env: TrainingEnv,
    config: TrainingConfig,
    callbacks: list[BaseCallback],
) -> None:
    done = model.num_timesteps
    model.set_env(VecMonitor(env))
    rollout = model.n_steps * env.num_envs
    model.set_random_seed(seed_of(config.seed, done - rollout) if done else config.seed)
    steps, first = config.steps - done, done == 0
    model.learn(steps, CallbackList(callbacks), log_interval=1, reset_num_timesteps=first)


def _open_log(folder: Path, done: int) -> Logger:
    """Open a table, and TensorBoard's log where that is installed; a resumed run gets its own."""
    suffix = f"-{done}" if done else ""
    kinds = ["csv", *(["tensorboard"] if find_spec("tensorboard") else [])]
    return Logger(str(folder), [make_output_format(kind, str(folder), suffix) for kind in kinds])
