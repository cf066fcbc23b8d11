"""What policies for QP offsets share: the parts of the network, and how they choose.

A trunk makes features of what is observed; an actor-critic head chooses the QP offset and estimates
the return. DMIC (Xie, Li, Pan, Chen, arXiv 2310.13250) trains the trunk on HRLVSC's natural images
(Xie et al., arXiv 2208.11529) and tunes the head alone, 2.7 % of the parameters, on one medical
image. Neither paper publishes layers or weights; the layers here are ours, sized to that share.
"""

from __future__ import annotations

from typing import Any

import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import Tensor

HEAD = ("mlp_extractor", "action_net", "value_net")
"""Module prefixes of the actor-critic head; all other parameters are the trunk."""

CRITIC = ("mlp_extractor.value_net.", "value_net.")
"""Beginnings of the names of the tensors that estimate the return and choose nothing."""

KEYS = ("ctu", "features", "frame", "progress")
"""The observation keys the trunk reads; see `CodingEnv`."""


class OrdinalPolicy(ActorCriticPolicy):
    """A policy for actions in an order, such as QP offsets."""

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        """Return actions, integers (N,): drawn, or where `deterministic` the mean action.

        QP offsets are ordered, so between two actions that are likely lies a compromise, which the
        most likely action is not.
        """
        distribution: Any = self.get_distribution(observation)
        if not deterministic:
            drawn: Tensor = distribution.get_actions()
            return drawn
        probabilities: Tensor = distribution.distribution.probs
        order = torch.arange(probabilities.shape[1], device=probabilities.device)
        return torch.round(probabilities @ order.to(probabilities.dtype)).long()
