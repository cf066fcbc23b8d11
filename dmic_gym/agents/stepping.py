"""Asking an agent for one action after the other."""

from __future__ import annotations

import sys
from typing import Any, Protocol

from dmic_gym.agents.baselines import Agent, full_agent
from dmic_gym.envs.observations import ObservationBuilder


class Stepper(Protocol):
    """Chooses the actions of one episode, in order."""

    def action(self, builder: ObservationBuilder) -> Any:
        """Return the action for what `builder` shows."""
        ...


class PredictStepper:
    """Asks ``predict`` with a copy of the observation, and keeps the agent's state.

    Args:
        agent: chooses an index into the action table.
    """

    def __init__(self, agent: Agent) -> None:
        self._predict = full_agent(agent).predict
        self._state: Any = None

    def action(self, builder: ObservationBuilder) -> Any:
        """Return the agent's action."""
        seen = builder.observation()
        action, self._state = self._predict(seen, state=self._state, deterministic=True)
        return action


def stepper_of(agent: Agent) -> Stepper:
    """Return who asks `agent` in an episode: `PolicyStepper` where that knows its network."""
    if "dmic_gym.agents.policy.trunk" in sys.modules:  # else the agent needs no torch
        from dmic_gym.agents.policy.stepper import policy_stepper

        return policy_stepper(agent) or PredictStepper(agent)
    return PredictStepper(agent)
