"""The HRLVSC network as a Stable-Baselines3 policy.

A convolutional trunk sees the CTU, the picture and the decisions so far; an actor-critic head
chooses the QP offset and estimates the return. DMIC (Xie, Li, Pan, Chen, arXiv 2310.13250) trains
the trunk on HRLVSC's natural images (Xie et al., arXiv 2208.11529) and tunes the head alone, 2.7 %
of the parameters, on one medical image. Neither paper publishes layers or weights; the layers
here are ours, sized to that share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import Tensor, nn
from torch.nn import functional as F

from dmic_gym.errors import InvalidInputError

HEAD = ("mlp_extractor", "action_net", "value_net")
"""Module prefixes of the actor-critic head; all other parameters are the trunk."""

CRITIC = ("mlp_extractor.value_net.", "value_net.")
"""Beginnings of the names of the tensors that estimate the return and choose nothing."""

WARM_STARTED_PARTS = ("features_extractor.merge", *HEAD)
"""Module prefixes that the warm start trains where all may be trained. It leaves the convolutions
over the pictures out: a few hundred pictures are too few for them."""

KEYS = ("ctu", "features", "frame", "progress")
"""The observation keys the trunk reads; see `CodingEnv`."""

_FRAME_STRIDE = 8
_HEAD_WIDTH = 32
_SEEN = 64 + 2 * 32
_MIDDLE, _GAIN = 0.3, 4.0
"""Mean of the scalar features and the inverse of their spread, roughly."""


class HRLVSCTrunk(BaseFeaturesExtractor):
    """Features of one CTU in its picture; no BatchNorm, no dropout.

    A small convolutional network reads the CTU's window. Another reads picture, importance and
    decisions so far at 64x64; what it says of the picture is taken at the current CTU (the mean
    over its cell) and over the whole picture, so that a CTU's place does not change how it is
    seen. Both are gated and join the scalar features in three dense layers. The gates begin at 0
    (ReZero, Bachlechner et al., arXiv 2003.04887): a policy begins with the features, and A2C
    takes from the pictures what helps beyond them.

    Args:
        observation_space: `CodingEnv`'s; other keys are ignored.
        features_dim: length of the result.

    Input: a dict of float tensors, images (N, 2, 64, 64) in 0..1 and features (N, F). Output:
    float (N, features_dim), 0 or above.

    Raises:
        InvalidInputError: the observation space lacks a key.
    """

    def __init__(self, observation_space: spaces.Dict, features_dim: int = 64) -> None:
        super().__init__(observation_space, features_dim)
        if missing := [key for key in KEYS if key not in observation_space.spaces]:
            raise InvalidInputError(
                f"HRLVSCPolicy needs the observation keys {', '.join(KEYS)}; {missing} are not "
                'there. Use gym.make("CodingEnv-v0") or make_sb3_vec().'
            )
        scalars = observation_space["features"].shape
        assert scalars is not None
        self.ctu = nn.Sequential(
            nn.Conv2d(2, 16, 8, stride=4, padding=2),
            nn.ReLU(),
            nn.Conv2d(16, 32, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 4 * 4, 64),
            nn.ReLU(),
        )
        self.frame = nn.Sequential(
            nn.Conv2d(4, 16, 4, stride=4),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=2, dilation=2),
            nn.ReLU(),
        )
        self.gates = nn.Parameter(torch.zeros(_SEEN))
        self.merge = nn.Sequential(
            nn.Linear(_SEEN + scalars[0], 288),
            nn.ReLU(),
            nn.Linear(288, 160),
            nn.ReLU(),
            nn.Linear(160, features_dim),
            nn.ReLU(),
        )

    def forward(self, observations: Mapping[str, Tensor]) -> Tensor:
        """Return float (N, features_dim)."""
        progress = observations["progress"]
        picture = self.frame(torch.cat([observations["frame"], progress], dim=1))
        here = F.avg_pool2d(progress[:, :1], _FRAME_STRIDE)
        weight = here / here.sum(dim=(2, 3), keepdim=True).clamp_min(1e-6)
        views = [
            self.ctu(observations["ctu"]),
            (picture * weight).sum(dim=(2, 3)),
            picture.mean(dim=(2, 3)),
        ]
        seen = self.gates * torch.cat(views, dim=1)
        known = _GAIN * (observations["features"] - _MIDDLE)
        features: Tensor = self.merge(torch.cat([seen, known], dim=1))
        return features


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


class HRLVSCPolicy(OrdinalPolicy):
    """`HRLVSCTrunk` and an actor-critic head that holds 2.7 % of the parameters.

    ``A2C(HRLVSCPolicy, env)`` and ``PPO(HRLVSCPolicy, env)`` work as with any policy of
    Stable-Baselines3, and all keyword arguments of its `ActorCriticPolicy` are taken.

    Args:
        observation_space: `CodingEnv`'s.
        action_space: Discrete, the table of QP offsets in ascending order; with 13 offsets the
            head has its 2.7 %.
        lr_schedule: learning rate from the remaining progress.
        **arguments: `ActorCriticPolicy`'s.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Callable[[float], float],
        **arguments: Any,
    ) -> None:
        arguments = with_trunk(HRLVSCTrunk, arguments)
        super().__init__(observation_space, action_space, lr_schedule, **arguments)


def with_trunk(trunk: type[BaseFeaturesExtractor], arguments: dict[str, Any]) -> dict[str, Any]:
    """Return an `ActorCriticPolicy`'s arguments with a trunk and the small head as defaults."""
    return {
        "features_extractor_class": trunk,
        "net_arch": {"pi": [_HEAD_WIDTH], "vf": [_HEAD_WIDTH]},
        "activation_fn": nn.ReLU,
        **arguments,
    }
