"""A warm start by imitation: behavioural cloning of any agent of the benchmark.

What another agent chooses with more encodes, or by a rule, becomes a policy that reinforcement
learning goes on from (Pomerleau, "Efficient Training of Artificial Neural Networks for Autonomous
Navigation", Neural Computation 3, 1991).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from torch.nn import functional as F

from dmic_gym.agents.registry import make_agent
from dmic_gym.agents.training.config import TrainingConfig
from dmic_gym.agents.training.descent import Descent
from dmic_gym.agents.training.environments import TrainingEnv
from dmic_gym.agents.video_registry import make_gop_planner
from dmic_gym.envs.image_view import view_of
from dmic_gym.envs.observations import ObservationBuilder
from dmic_gym.envs.parallel import default_workers, start_pool
from dmic_gym.envs.video_episode import VideoEpisode
from dmic_gym.envs.video_observations import FRAME_LEVEL, VideoObservationBuilder
from dmic_gym.types import QPMap

Arrays = Mapping[str, npt.NDArray[np.generic]]

_SHOWN = 40_000
"""Most steps that are kept of all episodes, up to 40 kB each."""

_QPS_OF_A_GROUP = 6
"""Base QPs at which an image or a group of pictures is demonstrated, drawn for each."""

_BATCH = 128


@dataclass(frozen=True, eq=False)
class Demonstrations:
    """Steps of an agent.

    Attributes:
        observations: arrays (N, ...) by key, as a policy of the environment takes them.
        actions: int64 (N,), the nearest of the action table to what the agent chose.
    """

    observations: Arrays
    actions: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.actions)


def demonstrate(
    env: TrainingEnv,
    agent: str,
    config: TrainingConfig,
    on_episode: Callable[[int, int], None] = lambda done, total: None,
    workers: int | None = None,
) -> Demonstrations:
    """Let an agent choose the QP maps of each image, or group of pictures, and note each step.

    Args:
        env: of images or clips; its evaluator codes for the agent.
        agent: what ``dmic bench --agents`` takes.
        config: base QPs and seed; its mode says what is decided of clips.
        on_episode: called with the numbers of episodes done and in all.
        workers: threads; None: one a processor.

    Raises:
        InvalidInputError: there is no such agent.
        CodecError: the codec failed.
    """
    coding = env.env
    make: Callable[..., Any] = make_agent if config.mode is None else make_gop_planner
    planner = make(agent, coding.evaluator, qp_offsets=coding.qp_offsets, seed=config.seed)
    shown = list(_pictures(env, config))
    share = max(_SHOWN // len(shown), 1)
    steps_of = _steps_of_image if config.mode is None else _steps_of_group

    def note(number: int) -> list[tuple[Arrays, int]]:
        picture, base_qp = shown[number]
        reference = coding.evaluator.reference(picture)
        result = planner.plan(coding.evaluator, reference, base_qp).result
        steps = [
            ({key: array[0].copy() for key, array in seen.items()}, action)
            for seen, action in steps_of(env, config, reference, base_qp, result)
        ]
        rng = np.random.default_rng([config.seed, number])
        return [steps[place] for place in rng.permutation(len(steps))[:share].tolist()]

    found: dict[int, list[tuple[Arrays, int]]] = {}
    with start_pool(workers or default_workers()) as pool:
        pending = {pool.submit(note, number): number for number in range(len(shown))}
        try:
            for future in as_completed(pending):
                found[pending[future]] = future.result()
                on_episode(len(found), len(shown))
        finally:
            pool.shutdown(cancel_futures=True)
    return _joined([step for number in sorted(found) for step in found[number]])


def imitate(
    policy: ActorCriticPolicy,
    shown: Demonstrations,
    config: TrainingConfig,
    on_epoch: Callable[[int, float], None] = lambda number, loss: None,
) -> None:
    """Raise the probability of the actions that were demonstrated, in place.

    Only parameters that require a gradient are changed; the critic is left as it is.

    Args:
        policy: of an environment with these observations.
        shown: what to imitate.
        config: epochs, rate and seed.
        on_epoch: called after each epoch with its number from 1 and its mean cross-entropy, in
            nats.
    """
    steps = config.epochs * -(-len(shown) // _BATCH)
    descent = Descent(policy, config.warm_start_rate, steps)
    policy.set_training_mode(True)
    for number in range(1, config.epochs + 1):
        losses, order = [], np.random.default_rng([config.seed, number]).permutation(len(shown))
        for start in range(0, len(order), _BATCH):
            loss = _cross_entropy(policy, shown, order[start : start + _BATCH])
            descent.step(loss)
            losses.append(float(loss.detach()))
        on_epoch(number, float(np.mean(losses)))
    policy.set_training_mode(False)


def _cross_entropy(
    policy: ActorCriticPolicy, shown: Demonstrations, chosen: npt.NDArray[np.int64]
) -> torch.Tensor:
    tensors = {
        key: torch.as_tensor(array[chosen], device=policy.device)
        for key, array in shown.observations.items()
    }
    actions: Any = policy.get_distribution(tensors).distribution
    return F.cross_entropy(
        actions.logits, torch.as_tensor(shown.actions[chosen], device=policy.device)
    )


def _pictures(env: TrainingEnv, config: TrainingConfig) -> Iterator[tuple[Any, int]]:
    """Yield each image, or group of pictures, with some of the base QPs."""
    rng = np.random.default_rng(config.seed)
    count = min(_QPS_OF_A_GROUP, len(config.base_qps))
    for item in env.env.dataset:
        for picture in [item] if config.mode is None else item.gops(env.env.gop):
            for base_qp in rng.choice(config.base_qps, count, replace=False).tolist():
                yield picture, base_qp


def _steps_of_image(
    env: TrainingEnv, config: TrainingConfig, reference: Any, base_qp: int, result: Any
) -> Iterator[tuple[Arrays, int]]:
    """Yield what is seen and what is chosen in each CTU of a map."""
    builder = ObservationBuilder()
    builder.begin(view_of(reference, config.ctu_size), base_qp)
    for qp in result.qp_map.ravel().tolist():
        action = _nearest(env, qp - base_qp)
        yield builder.arrays, action
        builder.decide(_qp(env, base_qp, action))


def _steps_of_group(
    env: TrainingEnv, config: TrainingConfig, reference: Any, base_qp: int, result: Any
) -> Iterator[tuple[Arrays, int]]:
    """Yield what is seen and what is chosen in each step of a group, coding it again."""
    assert config.mode is not None
    builder = VideoObservationBuilder()
    episode = VideoEpisode(env.env.evaluator, builder, reference, base_qp, config.mode)
    try:
        for qp_map in result.qp_maps:
            yield from _steps_of_frame(env, episode, qp_map)
            episode.encode()
    finally:
        episode.close()


def _steps_of_frame(
    env: TrainingEnv, episode: VideoEpisode, qp_map: QPMap
) -> Iterator[tuple[Arrays, int]]:
    builder = episode.builder
    if builder.level == FRAME_LEVEL:
        action = _nearest(env, float(np.median(qp_map)) - episode.base_qp)
        yield builder.arrays, action
        if episode.decide(_qp(env, episode.base_qp, action)):
            return
    for qp in qp_map.ravel().tolist():
        action = _nearest(env, qp - builder.frame_qp)
        yield builder.arrays, action
        episode.decide(_qp(env, builder.frame_qp, action))


def _nearest(env: TrainingEnv, offset: float) -> int:
    return int(np.abs(np.asarray(env.env.qp_offsets) - offset).argmin())


def _qp(env: TrainingEnv, start: int, action: int) -> int:
    return int(np.clip(start + env.env.qp_offsets[action], *env.env.evaluator.codec.qp_range))


def _joined(steps: Sequence[tuple[Arrays, int]]) -> Demonstrations:
    observations = {key: np.stack([seen[key] for seen, _ in steps]) for key in steps[0][0]}
    return Demonstrations(observations, np.array([action for _, action in steps], np.int64))
