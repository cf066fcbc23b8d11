"""Teaching a policy the expected value of each action: a warm start for reinforcement learning."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor

from dmic_gym.agents.training.config import TrainingConfig
from dmic_gym.agents.training.descent import Descent
from dmic_gym.agents.training.table_images import TableImages, TableOfImage
from dmic_gym.codecs.base import QP_RANGE
from dmic_gym.envs.observations import ObservationBuilder
from dmic_gym.errors import WeightsError
from dmic_gym.io import write_atomically
from dmic_gym.types import Floats

_BATCH = 2
_FIRST_ENTROPY, _FALL = 1.0, 0.0025
"""Weight of the policy's entropy against the value of its actions, and what is left at the end."""

_LEAST_SPREAD = 0.1
"""Least standard deviation of an image's values that they are divided by."""

_NOISE = 4.0
"""Standard deviation of the QPs added to the best decisions so far, so that the policy learns to go
on from maps that are not the tables'."""


def warm_start(
    policy: ActorCriticPolicy,
    images: TableImages,
    qp_offsets: Sequence[int],
    config: TrainingConfig,
    on_epoch: Callable[[int, float], None] = lambda number, loss: None,
    state: Path | None = None,
) -> None:
    """Raise the expected value of the policy's actions; the critic is left as it is.

    The tables value every action, so that the gradient is summed over all of them instead of
    being sampled (mean actor-critic, Allen et al., arXiv 1709.00503). Values count in standard
    deviations of their image and are not clipped: where a few CTUs hold the structure, most of what
    a map is worth lies in them. At a weight t of the entropy the best policy is the softmax of the
    expected values over t; t falls geometrically, so that no policy settles on one action for all
    CTUs before it has told them apart. Only parameters that require a gradient are changed, so that
    a frozen trunk stays frozen.

    Args:
        policy: of an environment with the observations of `CodingEnv`.
        images: with their QP value tables.
        qp_offsets: the action table.
        config: epochs, rate, seed, and base QPs: any QP from the least to the greatest is used.
        on_epoch: called after each epoch with its number from 1 and its mean loss, which is the
            expected value of a CTU's actions with its sign changed.
        state: file that the state is kept in after each epoch; one that is there is gone on from.

    Raises:
        WeightsError: `state` is damaged, or of another network.
    """
    steps = config.epochs * -(-len(images) // _BATCH)
    descent = Descent(policy, config.warm_start_rate, steps)
    progress = _Progress(policy, descent.optimizer, descent.schedule)
    done = 0 if state is None else progress.restore(state)
    least, greatest = min(config.base_qps), max(config.base_qps)
    policy.set_training_mode(True)
    for number in range(done + 1, config.epochs + 1):
        losses, rng = [], np.random.default_rng([config.seed, number])
        for batch in _batches(images, rng):
            qps = rng.integers(least, greatest, len(batch), endpoint=True).tolist()
            entropy = _FIRST_ENTROPY * _FALL ** (descent.schedule.last_epoch / steps)
            actions, worth = _valued(policy, *_examples(batch, qps, qp_offsets, rng))
            loss = -worth - entropy * actions.entropy().mean()
            descent.step(loss)
            losses.append(-float(worth.detach()))
        if state is not None:
            progress.save(state, number)
        on_epoch(number, float(np.mean(losses)))
    policy.set_training_mode(False)


@dataclass(frozen=True, eq=False)
class _Progress:
    """What a warm start has changed so far."""

    policy: ActorCriticPolicy
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler

    def save(self, path: Path, epochs: int) -> None:
        parts = {name: vars(self)[name].state_dict() for name in vars(self)}
        data = io.BytesIO()
        torch.save({"epochs": epochs, **parts}, data)
        write_atomically(path, data.getvalue())

    def restore(self, path: Path) -> int:
        """Load what was saved; return the epochs that are done, 0 where there is no file."""
        if not path.exists():
            return 0
        try:
            kept = torch.load(path, weights_only=True, map_location=self.policy.device)
            for name in vars(self):
                vars(self)[name].load_state_dict(kept[name])
            return int(kept["epochs"])
        except Exception as error:  # pickle, zipfile and torch raise all kinds
            raise WeightsError(
                f"{path} cannot be resumed ({error}). Delete it to begin the warm start again."
            ) from error


def _valued(
    policy: ActorCriticPolicy,
    observations: Mapping[str, npt.NDArray[np.generic]],
    values: Floats,
) -> tuple[Any, Tensor]:
    """Return the distributions of actions, and their mean expected value."""
    tensors = {key: torch.as_tensor(v, device=policy.device) for key, v in observations.items()}
    actions: Any = policy.get_distribution(tensors).distribution
    worth = torch.as_tensor(values, dtype=torch.float32, device=policy.device)
    return actions, (actions.probs * worth).sum(dim=1).mean()


def _batches(images: TableImages, rng: np.random.Generator) -> Iterator[list[TableOfImage]]:
    order = rng.permutation(len(images)).tolist()
    for start in range(0, len(order), _BATCH):
        yield [images.drawn(n, rng) for n in order[start : start + _BATCH]]


def _examples(
    tables: Sequence[TableOfImage],
    base_qps: Sequence[int],
    qp_offsets: Sequence[int],
    rng: np.random.Generator,
) -> tuple[dict[str, npt.NDArray[np.generic]], Floats]:
    """Return the observations of all CTUs of images at base QPs, and the actions' scaled values."""
    seen: dict[str, list[npt.NDArray[np.generic]]] = {}
    columns = []
    builder = ObservationBuilder()
    for (view, table), base_qp in zip(tables, base_qps, strict=True):
        values = table.values(base_qp, qp_offsets)
        best = base_qp + np.asarray(qp_offsets)[values.argmax(axis=1)]
        decided = np.rint(best + rng.normal(0.0, _NOISE, len(best))).clip(*QP_RANGE)
        builder.begin(view, base_qp)
        for qp in decided.astype(int).tolist():
            for key, value in builder.observation().items():
                seen.setdefault(key, []).append(value)
            builder.decide(qp)
        columns.append(values / max(float(values.std()), _LEAST_SPREAD))
    return {key: np.stack(column) for key, column in seen.items()}, np.concatenate(columns)
