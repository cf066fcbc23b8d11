"""One level of many `VideoCodingEnv` episodes, the other one played by a fixed policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dmic_gym.envs.lockstep import Outcome
from dmic_gym.envs.setup import Ints
from dmic_gym.envs.verdict import Info
from dmic_gym.envs.video_levels import Predictor
from dmic_gym.envs.video_vector_env import VideoCodingVectorEnv


class VideoLevelVectorEnv(VideoCodingVectorEnv):
    """`FrameLevelEnv` or `CtuLevelEnv` in vector form: steps are those of one level.

    Rows that wait for the other level are decided together, and their frames coded in threads.

    Args:
        level: what a step sets, `FRAME_LEVEL` or `CTU_LEVEL`.
        other: chooses the actions of the other level: anything with ``predict(observations,
            deterministic=True)``, or one action for all.
        num_envs: number of episodes in step.
        **arguments: those of `VideoCodingVectorEnv` but `mode`.

    Raises:
        InvalidInputError: an argument is none of the valid ones.
        DataError: there are no readable clips.
    """

    def __init__(
        self, level: int, other: Predictor | int, num_envs: int = 1, **arguments: Any
    ) -> None:
        super().__init__(num_envs, mode="hierarchical", **arguments)
        self.level, self.other = level, other

    def _begin_rows(self, rows: Sequence[int], options: Sequence[Info]) -> dict[int, Info]:
        infos = super()._begin_rows(rows, options)
        self._play(rows, {})
        return infos

    def _act(self, rows: Sequence[int], actions: Ints) -> dict[int, Outcome]:
        outcomes = super()._act(rows, actions)
        self._play(rows, outcomes)
        return outcomes

    def _play(self, rows: Sequence[int], outcomes: dict[int, Outcome]) -> None:
        """Let the other level act in `rows` until it is this level's turn; add what comes of it."""
        while waiting := [row for row in rows if self._waits(row)]:
            actions = np.zeros(self.num_envs, np.int64)
            actions[waiting] = self._chosen(waiting)
            for row, found in super()._act(waiting, actions).items():
                outcomes[row] = _joined(outcomes.get(row), found)

    def _waits(self, row: int) -> bool:
        return self._episode(row).running and self._builders[row].level != self.level

    def _chosen(self, rows: Sequence[int]) -> Any:
        if isinstance(self.other, int | np.integer):
            return self.other
        seen: Mapping[str, Any] = {key: array[rows] for key, array in self._arrays.items()}
        return self.other.predict(seen, deterministic=True)[0]


def _joined(before: Outcome | None, found: Outcome) -> Outcome:
    """Return what two steps of an episode came to together."""
    if before is None:
        return found
    return Outcome(
        before.reward + found.reward,
        found.terminated,
        found.truncated,
        {**before.info, **found.info},
        found.observation,
    )
