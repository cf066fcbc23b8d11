"""Agents that learn nothing, for every table: anchor, random, region of interest."""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from dmic_gym.envs.observations import FEATURES

Observation = Mapping[str, npt.NDArray[Any]]


@runtime_checkable
class Agent(Protocol):
    """Anything with the `predict` of Stable-Baselines3's models."""

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[Any, Any]:
        """Return (action, next state) for one observation."""
        ...


class ObservationAgent:
    """An agent whose ``predict`` takes the observation alone.

    Args:
        agent: its ``predict`` returns an action, or action and state.
    """

    def __init__(self, agent: Any) -> None:
        self.agent = agent

    def predict(
        self,
        observation: Observation,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[Any, Any]:
        """Return the agent's action."""
        found = self.agent.predict(observation)
        return found if isinstance(found, tuple) else (found, state)


def full_agent(agent: Any) -> Agent:
    """Return an agent whose ``predict`` takes what Stable-Baselines3's do, `agent` if it does."""
    try:
        inspect.signature(agent.predict).bind({}, state=None, deterministic=True)
    except TypeError:
        return ObservationAgent(agent)
    return agent  # type: ignore[no-any-return]


def nearest_action(qp_offsets: Sequence[int], offset: int) -> int:
    """Return the index of the offset nearest to `offset`, the lower of two equally near."""
    return min(range(len(qp_offsets)), key=lambda i: (abs(qp_offsets[i] - offset), qp_offsets[i]))


class FixedOffsetAgent:
    """The same offset everywhere; 0 is the anchor itself."""

    def __init__(self, qp_offsets: Sequence[int], offset: int = 0) -> None:
        self._action = nearest_action(qp_offsets, offset)

    def predict(
        self,
        observation: Observation,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[int, Any]:
        """Return the fixed action."""
        return self._action, state


class RandomAgent:
    """A uniformly random offset in every CTU.

    Seeded at the start of an episode by what is observed then, so that results do not depend on
    the order in which images are coded.
    """

    def __init__(self, qp_offsets: Sequence[int], seed: int = 0) -> None:
        self._count = len(qp_offsets)
        self._seed = seed

    def predict(
        self,
        observation: Observation,
        state: np.random.Generator | None = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[int, np.random.Generator]:
        """Return a random action; `state` is the episode's generator, None at its start."""
        if state is None:
            seen = observation["frame"].tobytes() + observation["features"].tobytes()
            state = np.random.default_rng([self._seed, zlib.crc32(seen)])
        return int(state.integers(self._count)), state


class ROIAgent:
    """Region of interest: keep the base QP where the segmenter sees the structure, spare elsewhere.

    A CTU is of interest where the importance reaches `threshold` anywhere in it.

    Args:
        qp_offsets: the action table.
        background_offset: QP offset elsewhere; the nearest of the table is taken.
        threshold: probability, 0..1.
    """

    def __init__(
        self, qp_offsets: Sequence[int], background_offset: int = 12, threshold: float = 0.5
    ) -> None:
        self._keep = nearest_action(qp_offsets, 0)
        self._spare = nearest_action(qp_offsets, background_offset)
        self._threshold = threshold
        self._feature = FEATURES.index("importance_max")

    def predict(
        self,
        observation: Observation,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[int, Any]:
        """Return the action for the CTU at hand."""
        important = observation["features"][self._feature] >= self._threshold
        return (self._keep if important else self._spare), state
