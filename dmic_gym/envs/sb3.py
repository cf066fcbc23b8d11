"""Stable-Baselines3 over the vector environments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Unpack

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from dmic_gym.envs.lockstep import LockstepEnv
from dmic_gym.envs.observations import Observation
from dmic_gym.envs.settings import CodingArguments, shows_settings
from dmic_gym.envs.setup import SETTABLE
from dmic_gym.envs.vector_env import CodingVectorEnv
from dmic_gym.envs.video_settings import VideoArguments, shows_video_settings
from dmic_gym.envs.video_vector_env import VideoCodingVectorEnv
from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.data.pairs import DataSpec
from dmic_gym.types import RGB

if TYPE_CHECKING:
    from dmic_gym.tasks.data.clips.registry import ClipSpec

_PER_EPISODE = {
    "result": "results",
    "reference": "references",
    "base_qp": "episode_base_qps",
}


Env = TypeVar("Env", bound=LockstepEnv)


class SB3LockstepVecEnv(VecEnv, Generic[Env]):
    """A vector environment of dmic_gym as Stable-Baselines3 wants it.

    ``infos[i]["terminal_observation"]`` is the last observation of an episode that ended, and
    ``infos[i]["TimeLimit.truncated"]`` says that a tool's failure ended it. Attributes of single
    environments that `get_attr` knows: ``result``, ``reference``, ``base_qp``; all others are
    those of the one vector environment.

    Args:
        env: the environment to wrap, of autoreset mode SAME_STEP.

    Raises:
        InvalidInputError: `env` has another autoreset mode.
    """

    def __init__(self, env: Env) -> None:
        if env.autoreset_mode is not AutoresetMode.SAME_STEP:
            raise InvalidInputError(
                f"Stable-Baselines3 needs autoreset_mode=SAME_STEP, got {env.autoreset_mode.name}."
            )
        self.env = env
        self.spec = env.spec
        self._actions: npt.NDArray[Any] = np.zeros(env.num_envs, np.int64)
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> Observation:
        """Start episodes in all sub-environments, with the seeds and options set before."""
        observations, _ = self.env.reset(seed=self._seeds, options=self._collected_options())
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = list(self.env.reset_infos)
        return observations

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        """Take the actions, integers (num_envs,)."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Step; return observations, rewards float32 (num_envs,), dones and infos."""
        observations, outcomes, begun = self.env.advance(self._actions)
        rewards = np.zeros(self.num_envs, np.float32)
        dones = np.zeros(self.num_envs, np.bool_)
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": False} for _ in range(self.num_envs)]
        for row, found in outcomes.items():
            rewards[row], dones[row] = found.reward, found.terminated or found.truncated
            infos[row] = {**found.info, "TimeLimit.truncated": found.truncated}
            if dones[row]:
                infos[row]["terminal_observation"] = found.observation
                self.reset_infos[row] = begun[row]
        return observations, rewards, dones, infos

    def close(self) -> None:
        """End the thread pool and free the codec's encoders."""
        self.env.close()

    def get_images(self) -> Sequence[RGB | None]:
        """Return a picture of each running episode."""
        return self.env.render() or [None] * self.num_envs

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return an attribute once for each index; see the class."""
        chosen = self._get_indices(indices)
        if attr_name in _PER_EPISODE:
            values = getattr(self.env, _PER_EPISODE[attr_name])
            return [values[index] for index in chosen]
        return [getattr(self.env, attr_name) for _ in chosen]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set ``dataset``, ``base_qps`` or ``reward`` for all.

        The first two count for episodes that begin later, the reward for those that end later.

        Raises:
            InvalidInputError: the attribute cannot be set, its value is not valid, or `indices`
                does not name all sub-environments.
        """
        if attr_name not in SETTABLE:
            raise InvalidInputError(
                f"{attr_name!r} cannot be set once the environment is made. "
                f"What can: {', '.join(SETTABLE)}."
            )
        if sorted(self._get_indices(indices)) != list(range(self.num_envs)):
            raise InvalidInputError(
                f"The sub-environments share {attr_name!r}: leave out indices to set it for all."
            )
        setattr(self.env, attr_name, value)

    def env_method(
        self,
        method_name: str,
        *method_args: Any,
        indices: VecEnvIndices = None,
        **method_kwargs: Any,
    ) -> list[Any]:
        """Call ``action_masks``, which returns bool (n,) for each index; refuse others."""
        if method_name == "action_masks":
            masks = self.env.action_masks()
            return [masks[index] for index in self._get_indices(indices)]
        raise InvalidInputError(
            f"env_method({method_name!r}): the sub-environments are rows of one vector "
            "environment and have no method but action_masks. Call those of vec_env.env."
        )

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        """Return False for each index: sub-environments have no wrappers."""
        return [False for _ in self._get_indices(indices)]

    def _collected_options(self) -> dict[str, Any]:
        keys = {key for options in self._options for key in options}
        return {key: [options.get(key) for options in self._options] for key in keys}


class SB3CodingVecEnv(SB3LockstepVecEnv[CodingVectorEnv]):
    """A `CodingVectorEnv` as Stable-Baselines3 wants it; see `SB3LockstepVecEnv`."""


class SB3VideoVecEnv(SB3LockstepVecEnv[VideoCodingVectorEnv]):
    """A `VideoCodingVectorEnv` as Stable-Baselines3 wants it; see `SB3LockstepVecEnv`."""


@shows_settings
def make_sb3_vec(
    num_envs: int = 8,
    dataset: DataSpec | None = None,
    *,
    seed: int | None = None,
    maps_per_image: int = 1,
    workers: int | None = None,
    segment_batch: int | None = None,
    render_mode: str | None = None,
    **arguments: Unpack[CodingArguments],
) -> SB3CodingVecEnv:
    """Make a Stable-Baselines3 `VecEnv` over `CodingVectorEnv`; `VecMonitor` etc. wrap it.

    A transition takes 49 kB in a replay buffer, so that `DQN`'s default of a million takes 49 GB:
    pass ``buffer_size=20_000`` for 1 GB.

    Args:
        num_envs: number of episodes in step.
        dataset: as for `CodingEnv`.
        seed: of the first reset; sub-environment i gets ``seed + i``.
        maps_per_image: sub-environments side by side that get one image and base QP, for a
            baseline from the same picture; see `dmic_gym.agents.training.CreditCallback`.
        workers: threads that encode; default: one a processor.
        segment_batch: images the segmenter gets at once; default: measured at first use.
        render_mode: "rgb_array" or None.
        **arguments: those of `CodingEnv`.

    Raises:
        InvalidInputError: an argument is none of the valid ones.
        DataError: the folder holds no readable images.
    """
    env = CodingVectorEnv(
        num_envs,
        dataset,
        maps_per_image=maps_per_image,
        workers=workers,
        segment_batch=segment_batch,
        render_mode=render_mode,
        **arguments,
    )
    made = SB3CodingVecEnv(env)
    if seed is not None:
        made.seed(seed)
    return made


@shows_video_settings
def make_sb3_video_vec(
    num_envs: int = 8,
    dataset: ClipSpec | None = None,
    *,
    seed: int | None = None,
    maps_per_image: int = 1,
    workers: int | None = None,
    render_mode: str | None = None,
    **arguments: Unpack[VideoArguments],
) -> SB3VideoVecEnv:
    """Make a Stable-Baselines3 `VecEnv` over `VideoCodingVectorEnv`.

    Args:
        num_envs: number of episodes in step.
        dataset: as for `VideoCodingEnv`.
        seed: of the first reset; sub-environment i gets ``seed + i``.
        maps_per_image: sub-environments side by side that get the same frames and base QP; see
            `make_sb3_vec`.
        workers: threads that encode; default: one a processor.
        render_mode: "rgb_array" or None.
        **arguments: those of `VideoCodingEnv`.

    Raises:
        InvalidInputError: an argument is none of the valid ones.
        DataError: there are no readable clips.
    """
    env = VideoCodingVectorEnv(
        num_envs,
        dataset,
        maps_per_image=maps_per_image,
        workers=workers,
        render_mode=render_mode,
        **arguments,
    )
    made = SB3VideoVecEnv(env)
    if seed is not None:
        made.seed(seed)
    return made
