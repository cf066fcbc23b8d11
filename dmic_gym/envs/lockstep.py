"""Many episodes in lockstep: what the vector environments share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from dmic_gym.envs.observations import Observation, empty_observations
from dmic_gym.envs.setup import Ints, raise_closed
from dmic_gym.envs.vector_inputs import (
    actions_of,
    options_of,
    rows_of,
    seeds_of,
    separate_unlike,
)
from dmic_gym.envs.verdict import Info
from dmic_gym.errors import checked_integer, unknown_name
from dmic_gym.types import RGB, Floats

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Outcome:
    """What a step came to in a row that was paid for it.

    Attributes:
        reward: of the step.
        terminated: whether the episode ended as it should.
        truncated: whether a tool's failure ended it.
        info: of the step.
        observation: the episode's last one, where it ended.
    """

    reward: float
    terminated: bool
    truncated: bool
    info: Info
    observation: Observation | None = None


class LockstepEnv(VectorEnv[Observation, Any, npt.NDArray[Any]]):
    """Episodes in step, each in a row of shared observation arrays.

    Args:
        num_envs: number of episodes in step.
        space: of the observations of one.
        choices: number of actions.
        autoreset_mode: `gymnasium.vector.AutoresetMode` or its name.
        copy: return copies of the observation arrays.

    Attributes:
        reset_infos: of the episodes begun last.
        results: of the last episode that ended in each row; None before, and after a failure.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": ["rgb_array"],
        "render_fps": 4,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    results: list[Any]

    def _set_up(
        self,
        num_envs: int,
        space: gym.spaces.Dict,
        choices: int,
        *,
        autoreset_mode: AutoresetMode | str,
        copy: bool,
    ) -> None:
        self.num_envs = checked_integer("num_envs", num_envs)
        self.autoreset_mode = _checked_mode(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        self.copy, self._choices = copy, choices
        self.single_observation_space = space
        self.single_action_space = gym.spaces.Discrete(choices)
        self.observation_space = batch_space(space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.results = [None] * self.num_envs
        self.reset_infos: list[Info] = [{} for _ in range(self.num_envs)]
        self._rngs: list[np.random.Generator | None] = [None] * self.num_envs
        self._arrays = empty_observations(self.num_envs, space)
        self._ended = np.zeros(self.num_envs, np.bool_)
        self._begun = np.zeros(self.num_envs, np.bool_)
        self._ready = False

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Observation, Info]:
        """Start episodes in all sub-environments, or in those of ``options["reset_mask"]``.

        Raises:
            InvalidInputError: `seed` or `options` do not fit; see the class.
            ClosedEnvironmentError: the environment is closed.
        """
        self._check_open()
        seeds = seeds_of(seed, self.num_envs)
        given = dict(options or {})
        rows = rows_of(given.pop("reset_mask", None), self.num_envs)
        self._ready = self._ready and len(rows) < self.num_envs
        for row in rows:
            if seeds[row] is not None:
                self._rngs[row] = seeding.np_random(seeds[row])[0]
            self.results[row] = None
        infos: Info = {}
        for row, info in self._start(rows, options_of(given, self.num_envs)).items():
            infos = self._add_info(infos, info, row)
        self._ready = self._ready or bool(self._begun.all())
        return self._observations(), infos

    def step(self, actions: Any) -> tuple[Observation, Floats, Flags, Flags, Info]:
        """Set the QP of each current CTU; see `CodingEnv.step`, and the class for autoreset.

        Args:
            actions: integers (num_envs,).

        Raises:
            InvalidInputError: the actions are not in the action space.
            ResetNeeded: there was no reset, or the last step raised an error.
            ClosedEnvironmentError: the environment is closed.
            CodecError, SegmenterError: `max_failures` episodes in a row have failed.
        """
        observations, outcomes, begun = self.advance(actions)
        rewards = np.zeros(self.num_envs, np.float64)
        terminations, truncations = np.zeros((2, self.num_envs), np.bool_)
        infos: Info = {}
        for row in sorted(begun.keys() | outcomes.keys()):
            if found := outcomes.get(row):
                rewards[row] = found.reward
                terminations[row], truncations[row] = found.terminated, found.truncated
                infos = self._add_info(infos, self._shown(found), row)
            infos = self._add_info(infos, begun.get(row, {}), row)
        return observations, rewards, terminations, truncations, infos

    def advance(self, actions: Any) -> tuple[Observation, dict[int, Outcome], dict[int, Info]]:
        """Do what `step` does.

        Returns:
            The observations; by row, what the step came to where there is something to say, and
            the reset infos of the episodes that began.
        """
        self._check_ready()
        chosen = actions_of(actions, self.num_envs, self._choices)
        waiting = np.flatnonzero(self._ended).tolist()
        if waiting and self.autoreset_mode is AutoresetMode.DISABLED:
            raise gym.error.ResetNeeded(
                f"The episodes of rows {waiting} are over: call "
                'reset(options={"reset_mask": terminated | truncated}) first.'
            )
        self._ready = False  # until all is well: an error leaves episodes half finished
        outcomes = self._act(np.flatnonzero(~self._ended).tolist(), chosen)
        over = [row for row, found in outcomes.items() if found.terminated or found.truncated]
        next_rows = over if self.autoreset_mode is AutoresetMode.SAME_STEP else waiting
        self._ended[over] = True
        begun = self._start(next_rows, [{}] * self.num_envs) if next_rows else {}
        self._ready = True
        return self._observations(), outcomes, begun

    def reseed(self, seed: int) -> None:
        """Seed the draws of the episodes to come, sub-environment i with ``seed + i``."""
        self._rngs = [seeding.np_random(seed + row)[0] for row in range(self.num_envs)]

    def render(self) -> tuple[RGB, ...] | None:
        """Return a picture of each running episode, as the environment of one draws it."""
        self._check_ready()
        pictures = [self._drawn(row) for row in range(self.num_envs)]
        return tuple(picture for picture in pictures if picture is not None) or None

    def close_extras(self, **_: Any) -> None:
        """End the thread pool; a codec that was passed to the environment stays open."""
        self._ready = False
        self._free()

    @property
    @abstractmethod
    def episode_base_qps(self) -> npt.NDArray[np.int64]:
        """The base QP of each running episode, int64 (num_envs,)."""

    @abstractmethod
    def action_masks(self) -> Flags:
        """Return bool (num_envs, n): False for offsets that clip to the QP of one nearer to 0."""

    @abstractmethod
    def _begin_rows(self, rows: Sequence[int], options: Sequence[Info]) -> dict[int, Info]:
        """Start episodes in `rows`; return their reset infos."""

    @abstractmethod
    def _act(self, rows: Sequence[int], actions: Ints) -> dict[int, Outcome]:
        """Take the actions of running rows, in order; return what there is to say."""

    @abstractmethod
    def _drawn(self, row: int) -> RGB | None:
        """Return a picture of a row's episode."""

    @abstractmethod
    def _free(self) -> None:
        """End threads and codec."""

    def _start(self, rows: Sequence[int], options: Sequence[Info]) -> dict[int, Info]:
        infos = self._begin_rows(rows, options)
        for row, info in infos.items():
            self.reset_infos[row] = info
            self._ended[row], self._begun[row] = False, True
        return infos

    def _shown(self, found: Outcome) -> Info:
        """Return what ``infos`` holds of a step that was paid for."""
        if found.observation is not None and self.autoreset_mode is AutoresetMode.SAME_STEP:
            return {"final_obs": found.observation, "final_info": found.info}
        return found.info

    def _observations(self) -> Observation:
        kept = self._arrays.items()
        return {key: array.copy() if self.copy else array for key, array in kept}

    def _rng(self, row: int) -> np.random.Generator:
        rng = self._rngs[row]
        if rng is None:
            rng = self._rngs[row] = seeding.np_random()[0]
        return rng

    def _check_open(self) -> None:
        if self.closed:
            raise_closed()

    def _check_ready(self) -> None:
        self._check_open()
        if not self._ready:
            raise gym.error.ResetNeeded(
                "No episodes yet, or the last step raised an error: call reset() first."
            )

    def _add_info(self, vector_infos: Info, env_info: Info, env_num: int) -> Info:
        separate_unlike(vector_infos, env_info)
        added: Info = super()._add_info(vector_infos, env_info, env_num)
        return added


def _checked_mode(mode: AutoresetMode | str) -> AutoresetMode:
    known = {member.value: member for member in AutoresetMode}
    known |= {member.name: member for member in AutoresetMode}
    found = mode if isinstance(mode, AutoresetMode) else known.get(mode)
    if found is None:
        raise unknown_name("autoreset_mode", mode, AutoresetMode.__members__)
    return found
