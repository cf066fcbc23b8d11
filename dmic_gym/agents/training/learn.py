"""How a policy learns: a supervised warm start on QP value tables, then A2C in the environment.

Everything a run has found is on disk at once, so that one that was killed goes on: the tables line
by line, the policy after the warm start, and a checkpoint of the A2C every so many steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.logger import Logger, make_output_format
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecMonitor

from dmic_gym.agents.policy.freeze import PartialFreezeCallback, frozen_but
from dmic_gym.agents.policy.network import TAUGHT, HRLVSCPolicy
from dmic_gym.agents.training.checkpoints import WARM_STARTED, Checkpoints, restore, save_checkpoint
from dmic_gym.agents.training.progress import Episodes, ProgressCallback, silent
from dmic_gym.agents.training.value_tables import QPValueTable, collect_value_tables
from dmic_gym.agents.training.warm_start import WarmStart, warm_start
from dmic_gym.envs.evaluator import Evaluator
from dmic_gym.envs.image_view import ImageView
from dmic_gym.envs.sb3 import SB3CodingVecEnv
from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.segmenters.network import pick_device

VALUE_TABLES = "qp-value-tables.jsonl"


@dataclass(frozen=True)
class TrainingConfig:
    """What a policy goes through.

    Attributes:
        epochs: passes over the value_tables of the images, see `WarmStart`; 0 leaves them out.
        warm_start_rate: learning rate of these.
        steps: A2C steps (CTUs) after that; 0 leaves A2C out.
        learning_rate: of A2C.
        entropy: weight of the policy's entropy in A2C's loss.
        checkpoint_every: A2C steps between checkpoints.
        seed: of everything.

    Raises:
        InvalidInputError: a number is negative, a rate is not above 0, or nothing is to be done.
    """

    epochs: int = 35
    warm_start_rate: float = 1e-3
    steps: int = 100_000
    learning_rate: float = 2e-4
    entropy: float = 0.003
    checkpoint_every: int = 5_000
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "steps", "entropy", "seed"):
            if (value := getattr(self, name)) < 0:
                raise InvalidInputError(f"{name}={value} is negative. Nearest: 0.")
        for name in ("warm_start_rate", "learning_rate", "checkpoint_every"):
            if not (value := getattr(self, name)) > 0:
                raise InvalidInputError(f"{name}={value} must be above 0.")
        if not self.steps and not self.epochs:
            raise InvalidInputError("Nothing would be learned: pass steps or epochs above 0.")


def a2c_arguments(config: TrainingConfig) -> dict[str, Any]:
    """Return the keyword arguments of `A2C` for a config.

    The reward comes once, at the end of an episode, and nothing is discounted: a CTU's advantage
    is the episode's return less what the critic expected of it. Where an image has more CTUs than
    `n_steps`, the critic stands for the return that is still to come.
    """
    return {
        "learning_rate": config.learning_rate,
        "n_steps": 25,
        "gamma": 1.0,
        "gae_lambda": 1.0,
        "ent_coef": config.entropy,
        "vf_coef": 0.25,
        "normalize_advantage": True,
        "seed": config.seed,
    }


def new_model(env: SB3CodingVecEnv, config: TrainingConfig, device: str = "auto") -> A2C:
    """Return an untrained HRLVSC policy in A2C.

    Raises:
        InvalidInputError: there is no such device.
    """
    return A2C(HRLVSCPolicy, env, device=pick_device(device), **a2c_arguments(config))


def follow(
    model: OnPolicyAlgorithm,
    env: SB3CodingVecEnv,
    config: TrainingConfig,
    out: Path,
    *,
    parts: Sequence[str] | None = None,
    resume: bool = False,
    callbacks: Sequence[BaseCallback] = (),
    on_progress: ProgressCallback = silent,
) -> None:
    """Take a model through a config, in place.

    Args:
        model: with a policy for `env`.
        env: the data set, the segmenter, the codec and the base QPs to learn with.
        config: what to do.
        out: folder for value_tables, checkpoints and TensorBoard's log.
        parts: module prefixes to train; None trains all.
        resume: go on where the run in `out` stopped, instead of refusing to mix two runs.
        callbacks: more of Stable-Baselines3's.
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
    try:
        if done is None:
            if config.epochs:
                _warm_start(
                    model,
                    _value_tables(env, out, on_progress),
                    env,
                    config,
                    parts,
                    logger,
                    on_progress,
                )
            save_checkpoint(model, out / WARM_STARTED)
        if config.steps > model.num_timesteps:
            listed: list[BaseCallback] = [] if parts is None else [PartialFreezeCallback(parts)]
            listed += [
                Checkpoints(out, config.checkpoint_every),
                Episodes(on_progress, config.steps),
            ]
            _reinforce(model, env, config, logger, [*listed, *callbacks])
    finally:
        logger.close()


def check_out(out: Path, resume: bool) -> None:
    """Raise InvalidInputError if `out` holds a run that is not to be resumed."""
    if not resume and any((out / name).exists() for name in (VALUE_TABLES, WARM_STARTED)):
        raise InvalidInputError(
            f"{out} holds a run already: pass --resume to go on with it, or another --out."
        )


def _value_tables(
    env: SB3CodingVecEnv, out: Path, on_progress: ProgressCallback
) -> list[tuple[ImageView, QPValueTable]]:
    """Return the QP value table of each image."""
    shared, samples = env.env.evaluator, list(env.env.dataset)
    evaluator = Evaluator(shared.codec, shared.segmenter)

    def tell(done: int, total: int) -> None:
        on_progress("value_tables", done, total, "")

    tables = collect_value_tables(evaluator, samples, out / VALUE_TABLES, on_table=tell)
    size = shared.codec.ctu_size
    views = (ImageView(evaluator.reference(sample), size) for sample in samples)
    return list(zip(views, tables, strict=True))


def _warm_start(
    model: OnPolicyAlgorithm,
    value_tables: Sequence[tuple[ImageView, QPValueTable]],
    env: SB3CodingVecEnv,
    config: TrainingConfig,
    parts: Sequence[str] | None,
    logger: Logger,
    on_progress: ProgressCallback,
) -> None:
    def on_epoch(number: int, loss: float) -> None:
        logger.record("study/loss", loss)
        logger.dump(number)
        on_progress("study", number, config.epochs, f"loss {loss:.3f}")

    how = WarmStart(config.epochs, learning_rate=config.warm_start_rate, seed=config.seed)
    with frozen_but(model.policy, taught_parts(model, parts)):
        warm_start(model.policy, value_tables, env.env.base_qps, env.env.qp_offsets, how, on_epoch)


def taught_parts(model: OnPolicyAlgorithm, parts: Sequence[str] | None) -> Sequence[str] | None:
    """Return the module prefixes that value_tables train, where `parts` may be trained."""
    return TAUGHT if parts is None and isinstance(model.policy, HRLVSCPolicy) else parts


def _reinforce(
    model: OnPolicyAlgorithm,
    env: SB3CodingVecEnv,
    config: TrainingConfig,
    logger: Logger,
    callbacks: list[BaseCallback],
) -> None:
    done = model.num_timesteps
    model.set_env(VecMonitor(env))
    model.set_random_seed(config.seed + done)  # one that goes on does not draw the same again
    model.set_logger(logger)
    model.learn(
        config.steps - done,
        CallbackList(callbacks),
        log_interval=1,
        reset_num_timesteps=done == 0,
    )


def _open_log(folder: Path, done: int) -> Logger:
    """Open a table, and TensorBoard's log where that is installed; a resumed run gets its own."""
    suffix = f"-{done}" if done else ""
    kinds = ["csv", *(["tensorboard"] if find_spec("tensorboard") else [])]
    return Logger(str(folder), [make_output_format(kind, str(folder), suffix) for kind in kinds])
