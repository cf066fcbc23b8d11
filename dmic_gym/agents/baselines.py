"""Agents that learn nothing, for every table: anchor, random, region of interest."""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable, Mapping, Sequence
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
    """An agent that decides by the observation alone.

    Args:
        decide: returns an action, or action and state, for an observation.
    """

    def __init__(self, decide: Callable[[Observation], Any]) -> None:
        self._decide = decide

    def predict(
        self,
        observation: Observation,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[Any, Any]:
        """Return the action for the CTU at hand."""
        found = self._decide(observation)
        return found if isinstance(found, tuple) else (found, state)


def full_agent(agent: Any) -> Agent:
    """Return an agent whose ``predict`` takes what Stable-Baselines3's do, `agent` if it does."""
    try:
        inspect.signature(agent.predict).bind({}, state=None, deterministic=True)
    except TypeError:
        return ObservationAgent(agent.predict)
    return agent  # type: ignore[no-any-return]


def nearest_action(qp_offsets: Sequence[int], offset: int) -> int:
    """Return the index of the offset nearest to `offset`, the lower of two equally near."""
    return min(range(len(qp_offsets)), key=lambda i: (abs(qp_offsets[i] - offset), qp_offsets[i]))


class FixedOffsetAgent(ObservationAgent):
    """The same offset everywhere; 0 is the anchor itself."""

    def __init__(self, qp_offsets: Sequence[int], offset: int = 0) -> None:
        action = nearest_action(qp_offsets, offset)
        super().__init__(lambda _: action)


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


class ROIAgent(ObservationAgent):
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
        keep, spare = (nearest_action(qp_offsets, offset) for offset in (0, background_offset))
        highest = FEATURES.index("importance_max")
        super().__init__(lambda seen: keep if seen["features"][highest] >= threshold else spare)
