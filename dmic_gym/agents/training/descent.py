"""How a supervised warm start changes a policy's parameters."""

from __future__ import annotations

import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor

_WEIGHT_DECAY = 1e-2
_CLIPPED_AT = 1.0
"""Largest norm of the gradient."""


class Descent:
    """AdamW with one cycle of its rate, on the parameters of a policy that require a gradient.

    Args:
        policy: to be changed, in place.
        rate: the peak of the cycle.
        steps: how many there will be.

    Attributes:
        optimizer, schedule: what they have come to.
    """

    def __init__(self, policy: ActorCriticPolicy, rate: float, steps: int) -> None:
        self._tuned = [parameter for parameter in policy.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(self._tuned, rate, weight_decay=_WEIGHT_DECAY)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, rate, max(steps, 2))

    def step(self, loss: Tensor) -> None:
        """Go down the gradient of a loss."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._tuned, _CLIPPED_AT)
        self.optimizer.step()
        self.schedule.step()
