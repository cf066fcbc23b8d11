"""A training run on disk, so that one that was killed goes on."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.save_util import load_from_zip_file

from dmic_gym.envs.sb3 import SB3LockstepVecEnv
from dmic_gym.errors import WeightsError
from dmic_gym.io import write_atomically

WARM_STARTED = "warm-started.zip"
"""The policy after its warm start, before A2C."""

WARM_STARTING = "warm-starting.pt"
"""The state of a warm start that is not over."""

KEPT = 2
_STEPS = re.compile(r"a2c_(\d+)_steps\.zip")


def save_checkpoint(model: OnPolicyAlgorithm, path: Path) -> None:
    """Write what ``model.save()`` writes, under a name that never stands for half a file.

    Raises:
        DataError: the file cannot be written.
    """
    data = io.BytesIO()
    model.save(data)
    write_atomically(path, data.getvalue())


def restore(model: OnPolicyAlgorithm, out: Path) -> int | None:
    """Load the newest checkpoint of `out`; return its A2C steps, or None where there is none.

    Raises:
        WeightsError: it is damaged, or of another network.
    """
    steps = _checkpoints(out)
    done = max(steps, default=0)
    path = steps.get(done, out / WARM_STARTED)
    if not path.exists():
        return None
    try:
        _, tensors, _ = load_from_zip_file(path, device=model.device, load_data=False)
        model.set_parameters(tensors, device=model.device)
    except Exception as error:  # zipfile, torch and Stable-Baselines3 raise all kinds
        raise WeightsError(
            f"{path} cannot be resumed ({error}). Delete it to go on from the one before."
        ) from error
    return done


class Checkpoints(BaseCallback):
    """Save the model every so many steps and at the end of ``learn()``; keep the last two.

    Args:
        out: the folder.
        every: steps between checkpoints; one is written after the rollout that is over it.
    """

    def __init__(self, out: Path, every: int) -> None:
        super().__init__()
        self._out = out
        self._every = every
        self._last = 0

    def _on_training_start(self) -> None:
        self._last = self.model.num_timesteps

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:  # the rollout before has been learned from
        if self.model.num_timesteps >= self._last + self._every:
            self._save()

    def _on_training_end(self) -> None:
        self._save()

    def _save(self) -> None:
        self._last = self.model.num_timesteps
        assert isinstance(self.model, OnPolicyAlgorithm)
        save_checkpoint(self.model, self._out / f"a2c_{self._last}_steps.zip")
        steps = _checkpoints(self._out)
        for done in sorted(steps)[:-KEPT]:
            steps[done].unlink(missing_ok=True)


class Reseeding(BaseCallback):
    """Seed every rollout by its first step, so that a resumed run draws what an unbroken one does.

    Args:
        seed: of the run.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        seed = seed_of(self._seed, self.model.num_timesteps)
        torch.manual_seed(seed)
        np.random.seed(seed)
        env = self.training_env.unwrapped
        if isinstance(env, SB3LockstepVecEnv):
            env.env.reseed(seed)


def seed_of(seed: int, steps: int) -> int:
    """Return the seed of the rollout that begins after so many steps."""
    return (seed * 1_000_003 + steps) % (1 << 32)


def _checkpoints(out: Path) -> dict[int, Path]:
    found = ((_STEPS.fullmatch(path.name), path) for path in out.glob("a2c_*_steps.zip"))
    return {int(match[1]): path for match, path in found if match}
