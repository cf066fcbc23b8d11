"""Teaching a policy what each action is worth: a warm start for reinforcement learning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor

from dmic_gym.agents.training.value_tables import QPValueTable, Values
from dmic_gym.codecs.base import QP_RANGE
from dmic_gym.envs.image_view import ImageView
from dmic_gym.envs.observations import ObservationBuilder

_BOUND = 3.0


@dataclass(frozen=True)
class WarmStart:
    """How a policy studies.

    Attributes:
        epochs: passes over the value_tables.
        batch: images a step.
        learning_rate: the peak of a one-cycle schedule (AdamW).
        weight_decay: AdamW's.
        entropy: weight of the policy's entropy against the value of its actions.
        noise: standard deviation of the QPs added to the best decisions so far, so that the policy
            learns to go on from maps that are not the tables'.
        seed: of order, base QPs and noise.
    """

    epochs: int = 35
    batch: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    entropy: float = 0.06
    noise: float = 4.0
    seed: int = 0


def warm_start(
    policy: ActorCriticPolicy,
    value_tables: Sequence[tuple[ImageView, QPValueTable]],
    base_qps: Sequence[int],
    qp_offsets: Sequence[int],
    how: WarmStart,
    on_epoch: Callable[[int, float], None] = lambda number, loss: None,
) -> None:
    """Raise the expected value of the policy's actions; the critic is left as it is.

    The tables value every action, so that the gradient is summed over all of them instead of
    being sampled (mean actor-critic, Allen et al., arXiv 1709.00503). Only parameters that
    require a gradient are changed, so that a frozen trunk stays frozen.

    Args:
        policy: of an environment with the observations of `CodingEnv`.
        value_tables: tables with the views of their images.
        base_qps: any QP from the least to the greatest of them is studied.
        qp_offsets: the action table.
        how: see `WarmStart`.
        on_epoch: called after each epoch with its number from 1 and its mean loss a CTU.
    """
    tuned = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(tuned, how.learning_rate, weight_decay=how.weight_decay)
    steps = how.epochs * -(-len(value_tables) // how.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, how.learning_rate, max(steps, 2))
    rng = np.random.default_rng(how.seed)
    policy.set_training_mode(True)
    for number in range(1, how.epochs + 1):
        losses = []
        for batch in _batches(value_tables, how.batch, rng):
            qps = rng.integers(min(base_qps), max(base_qps), len(batch), endpoint=True).tolist()
            cases = list(zip(batch, qps, strict=True))
            observations, values = _lecture(cases, qp_offsets, how.noise, rng)
            loss = _loss(policy, observations, values, how.entropy)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(tuned, 1.0)
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
        on_epoch(number, float(np.mean(losses)))
    policy.set_training_mode(False)


def _loss(
    policy: ActorCriticPolicy,
    observations: Mapping[str, npt.NDArray[np.generic]],
    values: Values,
    entropy: float,
) -> Tensor:
    tensors = {key: torch.as_tensor(v, device=policy.device) for key, v in observations.items()}
    actions: Any = policy.get_distribution(tensors).distribution
    worth = torch.as_tensor(values, dtype=torch.float32, device=policy.device)
    expected = (actions.probs * worth.clamp(-_BOUND, _BOUND)).sum(dim=1)
    loss: Tensor = -expected.mean() - entropy * actions.entropy().mean()
    return loss


def _batches(
    value_tables: Sequence[tuple[ImageView, QPValueTable]], size: int, rng: np.random.Generator
) -> Iterator[list[tuple[ImageView, QPValueTable]]]:
    order = rng.permutation(len(value_tables)).tolist()
    for start in range(0, len(order), size):
        yield [value_tables[n] for n in order[start : start + size]]


def _lecture(
    cases: Sequence[tuple[tuple[ImageView, QPValueTable], int]],
    qp_offsets: Sequence[int],
    noise: float,
    rng: np.random.Generator,
) -> tuple[dict[str, npt.NDArray[np.generic]], Values]:
    """Return the observations of all CTUs of some images at some base QPs, and their values."""
    seen: dict[str, list[npt.NDArray[np.generic]]] = {}
    values = []
    builder = ObservationBuilder()
    for (view, value_table), base_qp in cases:
        worth = value_table.values(base_qp, qp_offsets)
        best = base_qp + np.asarray(qp_offsets)[worth.argmax(axis=1)]
        walked = np.rint(best + rng.normal(0.0, noise, len(best))).clip(*QP_RANGE)
        builder.begin(view, base_qp)
        for qp in walked.astype(int).tolist():
            for key, value in builder.observation().items():
                seen.setdefault(key, []).append(value)
            builder.decide(qp)
        values.append(worth)
    return {key: np.stack(column) for key, column in seen.items()}, np.concatenate(values)
