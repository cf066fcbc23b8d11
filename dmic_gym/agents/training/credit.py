"""Return redistribution: every step is paid what its CTU earned, not the episode's one reward.

The reward of `CodingEnv` comes once, after the last CTU. `info["ctu_rewards"]` says which CTU
earned what, and `CreditCallback` pays it to the step that decided the CTU, in the rollout buffer of
A2C or PPO, before they learn from it (compare RUDDER, Arjona-Medina et al., arXiv 1806.07857).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from dmic_gym.errors import InvalidInputError, unknown_name
from dmic_gym.types import CTUTable, Floats

BASELINES = ("group", "critic")


def step_returns(
    ctu_rewards: CTUTable, neighbours: float, picture: float, later: float = 0.0
) -> Floats:
    """Return what each step of an episode is paid, float (CTUs,), in the order of the steps.

    The CTU's own reward, a share of those of its eight neighbours, whose pixels the segmenter sees
    together with its own, and a share of the whole picture's, by the root of the number of CTUs:
    as much as one CTU's reward varies where CTUs are independent. In video, where the frames that
    follow are predicted from a CTU, also a share of what the CTU in its place earns there.

    Args:
        ctu_rewards: float (rows, cols) of one picture, or (T, rows, cols) of consecutive ones.
        neighbours: the share of the neighbours' rewards.
        picture: the share of the picture's reward, or of that of all pictures.
        later: the share of the next picture's, its square of the one after that, and so on.
    """
    rows, cols = ctu_rewards.shape[-2:]
    padded = np.pad(ctu_rewards, [(0, 0)] * (ctu_rewards.ndim - 2) + [(1, 1)] * 2)
    square = sum(padded[..., y : y + rows, x : x + cols] for y, x in product(range(3), repeat=2))
    whole = ctu_rewards.sum() / np.sqrt(ctu_rewards.size)
    own = ctu_rewards + neighbours * (square - ctu_rewards)
    own = _discounted(own, later) if own.ndim == 3 else own
    return np.asarray(own + picture * whole, np.float64).ravel()


def _discounted(rewards: Floats, later: float) -> Floats:
    """Return each frame's reward and a share of those of the frames after it, by distance."""
    returns = np.array(rewards, np.float64)
    for frame in reversed(range(len(returns) - 1)):
        returns[frame] += later * returns[frame + 1]
    return returns


@dataclass(frozen=True, eq=False)
class _Ended:
    """An episode that ended within a rollout.

    Attributes:
        row: its sub-environment.
        last: the rollout's step that ended it.
        group: image and base QP.
        returns: float (CTUs,), what its steps are paid.
    """

    row: int
    last: int
    group: Hashable
    returns: Floats

    def steps(self, values: Floats) -> tuple[slice, Floats]:
        """Return where this rollout holds its steps, and their part of `values`."""
        first = self.last + 1 - len(values)
        return slice(max(first, 0), self.last + 1), values[max(-first, 0) :]


class CreditCallback(BaseCallback):
    """Pay each step the reward of its own CTU: for `A2C` and `PPO` of Stable-Baselines3.

    At the end of a rollout the buffer's returns become `step_returns` of the finished episodes. The
    advantage of a step is its return less a baseline, divided by the standard deviation over the
    rollout, and clipped. Steps of episodes that have not ended, or that a tool's failure ended,
    teach nothing: let a rollout hold whole episodes, ``n_steps = rows * cols``.

    In `VideoCodingEnv` a CTU is also paid a share of what its place earns in the frames that
    follow, and a step that sets a frame's QP is paid ``info["frame_rewards"]`` of the frame and a
    share of those that follow; where both levels step, by the root of the number of its CTUs.

    Logged: ``credit/paid_share``, the share of the rollout's steps that were paid.

    Args:
        baseline: "group": the mean return of the same CTU over all maps of the same image and base
            QP, which ``make_sb3_vec(maps_per_image=5)`` makes side by side. "critic": what the
            critic expected.
        neighbours: share of the rewards of the eight neighbouring CTUs that a step is paid.
        picture: share of the whole picture's reward.
        later: share of the next frame's reward, its square of the one after that, and so on.
        clip: bound on the advantages, in standard deviations.

    Raises:
        InvalidInputError: there is no such baseline; in training, the environment's episodes have
            no `ctu_rewards`, or no image has two maps to compare.
    """

    def __init__(
        self,
        baseline: str = "group",
        *,
        neighbours: float = 0.3,
        picture: float = 0.5,
        later: float = 0.7,
        clip: float = 3.0,
    ) -> None:
        super().__init__()
        if baseline not in BASELINES:
            raise unknown_name("baseline", baseline, BASELINES)
        self.baseline = baseline
        self.neighbours, self.picture, self.clip = neighbours, picture, clip
        self.later = later
        self._ended: list[_Ended] = []
        self._steps = np.zeros(0, np.int64)

    def _on_training_start(self) -> None:
        self._steps = np.zeros(self.training_env.num_envs, np.int64)

    def _on_rollout_start(self) -> None:
        self._ended = []

    def _on_step(self) -> bool:
        last = self._buffer.pos
        self._steps += 1
        for row in np.flatnonzero(self.locals["dones"]).tolist():
            info = self.locals["infos"][row]
            if "error" not in info:
                self._ended.append(self._paid(row, last, info))
            self._steps[row] = 0
        return True

    def _on_rollout_end(self) -> None:
        buffer = self._buffer
        returns, advantages = buffer.values.astype(np.float64), np.zeros(buffer.values.shape)
        paid = np.zeros(buffer.values.shape, np.bool_)
        for episode, baseline in zip(self._ended, self._baselines(), strict=True):
            if baseline is not None:
                where, own = episode.steps(episode.returns)
                returns[where, episode.row] = own
                advantages[where, episode.row] = own - episode.steps(baseline)[1]
                paid[where, episode.row] = True
        if paid.any():
            advantages[paid] = self._normalised(advantages[paid])
        buffer.returns[:], buffer.advantages[:] = returns, advantages
        self.logger.record("credit/paid_share", float(paid.mean()))

    @property
    def _buffer(self) -> RolloutBuffer:
        assert isinstance(self.model, OnPolicyAlgorithm)
        return self.model.rollout_buffer

    def _paid(self, row: int, last: int, info: Mapping[str, Any]) -> _Ended:
        if "ctu_rewards" not in info:
            raise InvalidInputError(
                'The environment does not say what each CTU earned (info["ctu_rewards"]): train in '
                "make_sb3_vec() or CodingEnv-v0."
            )
        returns = self._returns(info, int(self._steps[row]))
        return _Ended(row, last, (info["sample"], info["base_qp"], len(returns)), returns)

    def _returns(self, info: Mapping[str, Any], steps: int) -> Floats:
        """Return what the steps of an episode are paid, at the level or levels that it stepped.

        Nothing, where the callback has not seen all of them.
        """
        rewards = info["ctu_rewards"]
        ctus = step_returns(rewards, self.neighbours, self.picture, self.later)
        if rewards.ndim == 2 or steps == len(ctus):
            return ctus
        frames = _discounted(info["frame_rewards"], self.later)
        if steps == len(frames):
            return frames
        by_frame = ctus.reshape(len(frames), -1)
        scaled = frames[:, np.newaxis] / np.sqrt(by_frame.shape[1])
        both = np.concatenate([scaled, by_frame], axis=1).ravel()
        return both if steps == len(both) else both[:0]

    def _baselines(self) -> Sequence[Floats | None]:
        """Return what each finished episode is compared with, None where with nothing."""
        if self.baseline == "critic":
            return [self._expected(episode) for episode in self._ended]
        groups = defaultdict(list)
        for episode in self._ended:
            groups[episode.group].append(episode.returns)
        if self._ended and all(len(group) < 2 for group in groups.values()):
            raise InvalidInputError(
                "No image has two maps at one base QP to compare: pass maps_per_image=5 to "
                'make_sb3_vec, or baseline="critic".'
            )
        means = {key: np.mean(group, axis=0) for key, group in groups.items() if len(group) > 1}
        return [means.get(episode.group) for episode in self._ended]

    def _expected(self, episode: _Ended) -> Floats:
        """Return the critic's values of an episode's steps; 0 before this rollout."""
        values = np.zeros(len(episode.returns))
        where, _ = episode.steps(values)
        seen = self._buffer.values[where, episode.row]
        values[len(values) - len(seen) :] = seen
        return values

    def _normalised(self, advantages: Floats) -> Floats:
        centred = advantages - advantages.mean()
        scaled = centred / max(float(centred.std()), 1e-8)
        return np.asarray(scaled.clip(-self.clip, self.clip))


class EntropySchedule(BaseCallback):
    """Let the weight of the entropy go from one value to another over a training.

    Args:
        start: the weight at the first step.
        end: the weight at the last.
    """

    def __init__(self, start: float, end: float) -> None:
        super().__init__()
        self.start, self.end = start, end

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        model: Any = self.model
        left = max(1.0 - model.num_timesteps / max(model._total_timesteps, 1), 0.0)
        model.ent_coef = self.end + (self.start - self.end) * left
