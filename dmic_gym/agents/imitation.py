"""Teaching a policy the QPs that the search chose: a warm start for reinforcement learning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor
from torch.nn import functional as F

from dmic_gym.agents.lessons import Lesson
from dmic_gym.codec.base import MAX_QP, MIN_QP
from dmic_gym.envs.observations import ImageView, Observer

Grids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Imitation:
    """How a policy imitates.

    Attributes:
        epochs: passes over the lessons.
        batch: lessons a step.
        learning_rate: the peak of a one-cycle schedule (AdamW).
        weight_decay: AdamW's.
        tolerance: width of the target around the QP of the lesson, in QPs (standard deviation).
        noise: standard deviation of the QPs that are added to the decisions so far, so that the
            policy learns to go on from maps that are not the lesson's.
        seed: of order and noise.
    """

    epochs: int = 60
    batch: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    tolerance: float = 2.5
    noise: float = 4.0
    seed: int = 0


def imitate(
    policy: ActorCriticPolicy,
    lessons: Sequence[tuple[ImageView, Lesson]],
    qp_offsets: Sequence[int],
    how: Imitation,
    on_epoch: Callable[[int, float], None] = lambda number, loss: None,
) -> None:
    """Fit the actor in place by cross-entropy; the critic is left as it is.

    Only parameters that require a gradient are changed, so that a frozen trunk stays frozen.

    Args:
        policy: of an environment with the observations of `CodingEnv`.
        lessons: maps with the views of their images.
        qp_offsets: the action table.
        how: see `Imitation`.
        on_epoch: called after each epoch with its number from 1 and its mean loss in nats a CTU.
    """
    tuned = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(tuned, how.learning_rate, weight_decay=how.weight_decay)
    steps = how.epochs * -(-len(lessons) // how.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, how.learning_rate, max(steps, 2))
    rng = np.random.default_rng(how.seed)
    policy.set_training_mode(True)
    for number in range(1, how.epochs + 1):
        losses = []
        for batch in _batches(lessons, how.batch, rng):
            observations, targets = _lecture(batch, qp_offsets, how, rng)
            losses.append(_step(policy, observations, targets, optimizer, tuned))
            schedule.step()
        on_epoch(number, float(np.mean(losses)))
    policy.set_training_mode(False)


def _step(
    policy: ActorCriticPolicy,
    observations: Mapping[str, npt.NDArray[np.generic]],
    targets: npt.NDArray[np.float32],
    optimizer: torch.optim.Optimizer,
    tuned: Sequence[Tensor],
) -> float:
    tensors = {key: torch.as_tensor(v, device=policy.device) for key, v in observations.items()}
    actions: Any = policy.get_distribution(tensors).distribution
    loss = F.cross_entropy(actions.logits, torch.as_tensor(targets, device=policy.device))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(tuned, 1.0)
    optimizer.step()
    return float(loss.detach())


def _batches(
    lessons: Sequence[tuple[ImageView, Lesson]], size: int, rng: np.random.Generator
) -> Iterator[list[tuple[ImageView, Lesson]]]:
    order = rng.permutation(len(lessons)).tolist()
    for start in range(0, len(order), size):
        yield [lessons[n] for n in order[start : start + size]]


def _lecture(
    batch: Sequence[tuple[ImageView, Lesson]],
    qp_offsets: Sequence[int],
    how: Imitation,
    rng: np.random.Generator,
) -> tuple[dict[str, npt.NDArray[np.generic]], npt.NDArray[np.float32]]:
    """Return the observations of all CTUs of some lessons, and the targets."""
    seen: dict[str, list[npt.NDArray[np.generic]]] = {}
    targets = []
    for view, lesson in batch:
        observer = Observer(view, lesson.base_qp)
        for qp, walked in zip(lesson.qp_map.ravel(), _walk(lesson, how, rng), strict=True):
            for key, value in observer.observe().items():
                seen.setdefault(key, []).append(value)
            targets.append(soft_target(int(qp), lesson.base_qp, qp_offsets, how.tolerance))
            observer.decide(int(walked))
    return {key: np.stack(values) for key, values in seen.items()}, np.stack(targets)


def _walk(lesson: Lesson, how: Imitation, rng: np.random.Generator) -> Grids:
    """Return the QPs that the episode is led through: the lesson's, with noise in half of them."""
    noise = rng.normal(0.0, how.noise * rng.integers(2), lesson.qp_map.size)
    return np.clip(lesson.qp_map.ravel() + np.rint(noise).astype(np.int64), MIN_QP, MAX_QP)


def soft_target(
    qp: int, base_qp: int, qp_offsets: Sequence[int], tolerance: float
) -> npt.NDArray[np.float32]:
    """Return probabilities of the offsets, float32 (n,): a bell over the QPs they stand for.

    It stands on the nearest QP that an offset reaches where `qp` is out of reach.
    """
    qps = np.clip(base_qp + np.asarray(qp_offsets), MIN_QP, MAX_QP)
    reached = np.clip(qp, qps.min(), qps.max())
    weight = np.exp(-0.5 * ((qps - reached) / tolerance) ** 2)
    return np.asarray(weight / weight.sum(), np.float32)
