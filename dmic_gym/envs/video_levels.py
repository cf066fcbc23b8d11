"""One level of `VideoCodingEnv` alone, the other one played by a fixed policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, SupportsFloat, TypeAlias

import gymnasium as gym
import numpy as np

from dmic_gym.envs.observations import Observation
from dmic_gym.envs.video_env import VideoCodingEnv
from dmic_gym.envs.video_observations import CTU_LEVEL, FRAME_LEVEL
from dmic_gym.errors import InvalidInputError

Step: TypeAlias = tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]


class Predictor(Protocol):
    """Whoever chooses actions, as a model of Stable-Baselines3 does."""

    def predict(self, observation: Any, *, deterministic: bool) -> tuple[Any, Any]:
        """Return the action, and a state that is not used."""
        ...


class _OneLevel(gym.Wrapper[Observation, Any, Observation, Any]):
    """Steps through the actions of one level and lets `other` choose those of the other."""

    def __init__(
        self, env: gym.Env[Observation, Any], other: Predictor | int, deterministic: bool, own: int
    ) -> None:
        super().__init__(env)
        coding = env.unwrapped
        if not isinstance(coding, VideoCodingEnv) or coding.mode != "hierarchical":
            raise InvalidInputError(
                f"{type(self).__name__} needs a VideoCodingEnv with both levels: pass "
                'gym.make("VideoCodingEnv-v0", mode="hierarchical").'
            )
        self.other, self.deterministic = other, deterministic
        self._coding, self._own = coding, own

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode and go to the first step of the own level."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._played((observation, 0.0, False, False, {}))[0], info

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Take an action of the own level, and those of the other level up to the next one.

        Returns:
            What `VideoCodingEnv.step` does; rewards on the way are summed, infos joined.
        """
        return self._played(self.env.step(action))

    def action_masks(self) -> Any:
        """Return the masks of the next action; see `VideoCodingEnv`."""
        return self._coding.action_masks()

    def _played(self, step: Step) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        observation, first, terminated, truncated, info = step
        total = float(first)
        while not (terminated or truncated) and self._coding.level != self._own:
            action = self._choice(observation)
            observation, reward, terminated, truncated, found = self.env.step(action)
            total, info = total + float(reward), {**info, **found}
        return observation, total, terminated, truncated, info

    def _choice(self, observation: Mapping[str, Any]) -> int:
        if isinstance(self.other, int | np.integer):
            return int(self.other)
        action, _ = self.other.predict(observation, deterministic=self.deterministic)
        return int(np.asarray(action).item())


class FrameLevelEnv(_OneLevel):
    """The frame level of `VideoCodingEnv`: a step sets a frame's QP and codes the frame.

    The upper agent of HRLVSC (Xie et al., arXiv 2208.11529), which is trained after the lower one.

    Args:
        env: of ``mode="hierarchical"``.
        ctu_policy: chooses the offsets of CTUs: anything with ``predict(observation,
            deterministic=...)``, such as a model of Stable-Baselines3, or one action for all.
        deterministic: whether `ctu_policy` takes its best action, or draws one.

    Raises:
        InvalidInputError: the environment is no `VideoCodingEnv` of both levels.
    """

    def __init__(
        self,
        env: gym.Env[Observation, Any],
        ctu_policy: Predictor | int,
        *,
        deterministic: bool = True,
    ) -> None:
        super().__init__(env, ctu_policy, deterministic, FRAME_LEVEL)


class CtuLevelEnv(_OneLevel):
    """The CTU level of `VideoCodingEnv`: a step sets the QP of a CTU.

    The lower agent of HRLVSC (Xie et al., arXiv 2208.11529), which is trained first.

    Args:
        env: of ``mode="hierarchical"``.
        frame_policy: chooses the offsets of frames; see `FrameLevelEnv`. Default: the action whose
            offset is 0.
        deterministic: whether `frame_policy` takes its best action, or draws one.

    Raises:
        InvalidInputError: the environment is no `VideoCodingEnv` of both levels.
    """

    def __init__(
        self,
        env: gym.Env[Observation, Any],
        frame_policy: Predictor | int | None = None,
        *,
        deterministic: bool = True,
    ) -> None:
        kept = _zero(env) if frame_policy is None else frame_policy
        super().__init__(env, kept, deterministic, CTU_LEVEL)


def _zero(env: gym.Env[Observation, Any]) -> int:
    offsets = getattr(env.unwrapped, "qp_offsets", (0,))
    return int(offsets.index(0))
