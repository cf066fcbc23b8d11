"""What all environments share: encoder, action table, reward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.envs.registration import EnvSpec

from dmic_gym.envs.failures import ToolFailures
from dmic_gym.envs.rewards import Reward, make_reward
from dmic_gym.envs.settings import EncoderSettings, check_base_qps, check_qp_offsets, make_codec
from dmic_gym.types import QPMap

SETTABLE = ("base_qps", "dataset", "reward")
"""Attributes that may be set: they count for episodes that begin later, the reward for any."""

Ints = npt.NDArray[np.integer[Any]]


class EncoderSetup:
    """Owns the encoder, turns actions into QPs, and knows base QPs and reward.

    Args:
        settings: what the user chose.
    """

    render_mode: str | None
    _spec: EnvSpec | None = None

    def __init__(self, settings: EncoderSettings) -> None:
        self._owns_codec = isinstance(settings.codec, str)
        self._failures = ToolFailures(settings.max_failures)
        self._codec = make_codec(settings.codec, settings.ctu_size, settings.preset)
        self._qp_range = low, high = self._codec.qp_range
        self._qp_offsets = check_qp_offsets(settings.qp_offsets, self._qp_range)
        self.base_qps = settings.base_qps
        self.reward = settings.reward
        self._qps: QPMap = np.stack(
            [np.clip(qp + np.array(self._qp_offsets), low, high) for qp in range(low, high + 1)]
        ).astype(np.int16)
        self._masks = np.stack([_first_of_equals(qps, self._qp_offsets) for qps in self._qps])

    @property
    def spec(self) -> EnvSpec | None:
        """What `gym.make` was told; copies of it share its objects."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        self._spec = spec
        if spec is not None:
            spec.kwargs = SharedArguments(spec.kwargs)

    @property
    def base_qps(self) -> tuple[int, ...]:
        """The QPs that episodes draw from."""
        return self._base_qps

    @base_qps.setter
    def base_qps(self, base_qps: Sequence[int]) -> None:
        self._base_qps = check_base_qps(base_qps, self._qp_range)

    @property
    def reward(self) -> Reward:
        """Judges an encode."""
        return self._reward

    @reward.setter
    def reward(self, reward: Reward | str) -> None:
        self._reward = make_reward(reward)

    @property
    def qp_offsets(self) -> tuple[int, ...]:
        """The action table."""
        return self._qp_offsets

    @property
    def ctu_size(self) -> int:
        """Side of a CTU in luma samples."""
        return self._codec.ctu_size

    def _qps_of(self, base_qp: int | Ints) -> QPMap:
        """Return the QP that each action comes to, int16 (n,), or (N, n) for N base QPs."""
        qps: QPMap = self._qps[base_qp - self._qp_range[0]]
        return qps

    def _masks_of(self, base_qp: int | Ints) -> npt.NDArray[np.bool_]:
        """Return the action masks of a base QP, bool (n,), or (N, n) for N base QPs."""
        masks: npt.NDArray[np.bool_] = self._masks[base_qp - self._qp_range[0]]
        return masks.copy()

    def _free(self) -> None:
        """Close the codec if this environment made it."""
        if self._owns_codec:
            self._codec.close()


class SharedArguments(dict[str, Any]):
    """Arguments of which a deep copy holds the same objects.

    Gymnasium's wrappers copy the ``spec`` of an environment deeply, data set and networks included.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> SharedArguments:
        return SharedArguments(self)


def raise_closed() -> None:
    """Say that an environment is closed."""
    raise gym.error.ClosedEnvironmentError("This environment is closed: make a new one.")


def _first_of_equals(qps: QPMap, offsets: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Mark, of the offsets that come to the same QP, the one nearest to 0."""
    nearest = sorted(range(len(offsets)), key=lambda n: abs(offsets[n]))
    kept = {int(qps[n]): n for n in reversed(nearest)}.values()
    return np.isin(np.arange(len(offsets)), list(kept))
