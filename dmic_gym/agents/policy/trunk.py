"""A policy whose trunk sees: convolutions over the CTU and over the picture with its decisions.

The family's pattern (Li, Shi, Chen, "Region-of-interest and semantic coding", arXiv 2106.03511): a
64x64 window of pixels and importance, four convolutions, two dense layers, numbers beside. Sized
for a CPU, with planes for a previous frame, so that one set of weights acts in `CodingEnv` and in
`VideoCodingEnv`. The actor-critic head holds 2.7 % of the parameters, as DMIC's (Xie, Li, Pan,
Chen, arXiv 2310.13250).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, MlpExtractor
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import Tensor, nn
from torch.nn import functional as F

from dmic_gym.agents.policy.network import KEYS, OrdinalPolicy
from dmic_gym.envs.observations import BASE_QP, FEATURES, PROGRESS
from dmic_gym.envs.video_observations import CTU_LEVEL, VIDEO_FEATURES, VideoFeatures
from dmic_gym.errors import InvalidInputError, unknown_name

INPUTS = ("pixels", "numbers", "both")
"""What the trunk looks at: the pictures, with only those numbers that they cannot show; the numbers
alone; or both."""

STILL = VideoFeatures(CTU_LEVEL, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
"""The entries of ``video`` where the environment has none: the first frame of a group."""

VIDEO_KEYS = ("previous", "previous_ctu", "video")
"""Keys of the observation that `CodingEnv` lacks and the trunk can do without."""

GAIN, MIDDLE = 2.0, 0.5
"""Numbers are shown as ``GAIN * (number - MIDDLE)``."""

SEEN_ONCE = ("ctu", "frame", "previous", "previous_ctu")
"""Pictures that no decision changes; they may be uint8 or float."""

_SEEN, _SURVEYED = 128, 32
_FRAME_STRIDE = 8
_HEAD_WIDTH = 32
_INVISIBLE = (BASE_QP, PROGRESS, FEATURES.index("ctu_size"))
_WIDTHS = {"pixels": 300, "both": 300}
_WIDTHS_OF_NUMBERS = (640, 380)


@dataclass(frozen=True, eq=False)
class StaticFeatures:
    """What the trunk makes of N pictures' CTUs that no decision within the frame changes.

    Attributes:
        ctus: float (N, 128), of each CTU's window.
        frames: float (N, 32, 8, 8), of the picture it lies in, before the activation.
    """

    ctus: Tensor
    frames: Tensor


class CTUTrunk(BaseFeaturesExtractor):
    """Features of a CTU from its window, the picture, the decisions so far, and numbers.

    ``forward(observations)`` is ``step(static(observations), observations)``. Within a frame only
    `progress` and five of the numbers change, so that whoever steps through a picture computes
    `static` once, for all its CTUs, and then `step` alone.

    Where the observation space lacks `VIDEO_KEYS`, their planes are 0 and their numbers those of
    `STILL`.

    Args:
        observation_space: of `CodingEnv` or `VideoCodingEnv`.
        features_dim: size of the result.
        inputs: one of `INPUTS`.

    Raises:
        InvalidInputError: the space lacks a key, or there are no such inputs.
    """

    def __init__(
        self, observation_space: spaces.Space[Any], features_dim: int = 128, inputs: str = "both"
    ) -> None:
        super().__init__(observation_space, features_dim)
        if not isinstance(observation_space, spaces.Dict) or set(KEYS) - set(observation_space):
            raise InvalidInputError(
                f"The policy needs the observation keys {', '.join(KEYS)}: make the environment by "
                'gym.make("CodingEnv-v0") or gym.make("VideoCodingEnv-v0").'
            )
        if inputs not in INPUTS:
            raise unknown_name("inputs", inputs, INPUTS)
        self.inputs = inputs
        numbers = len(FEATURES) + len(VIDEO_FEATURES)
        shown = torch.zeros(numbers) if inputs == "pixels" else torch.ones(numbers)
        shown[list(_INVISIBLE)] = shown[len(FEATURES) :] = 1.0
        self.shown: Tensor
        self.register_buffer("shown", shown, persistent=False)
        if inputs == "numbers":
            self.merge = _dense(numbers, *_WIDTHS_OF_NUMBERS, features_dim)
            return
        self.ctu = nn.Sequential(
            _FirstConv(4, 16, 8, stride=4, padding=2),
            nn.ReLU(),
            nn.Conv2d(16, 32, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64 * 4 * 4, _SEEN),
            nn.ReLU(),
        )
        self.frame = nn.Sequential(
            _FirstConv(4, 16, 4, stride=4),
            nn.ReLU(),
            nn.Conv2d(16, _SURVEYED, 3, stride=2, padding=1),
        )
        self.decisions = nn.Sequential(
            nn.Conv2d(2, 8, 4, stride=4),
            nn.ReLU(),
            nn.Conv2d(8, _SURVEYED, 3, stride=2, padding=1),
        )
        self.survey = nn.Sequential(nn.ReLU(), nn.Conv2d(_SURVEYED, _SURVEYED, 1), nn.ReLU())
        self.merge = _dense(_SEEN + 2 * _SURVEYED + numbers, _WIDTHS[inputs], features_dim)

    def forward(self, observations: Mapping[str, Tensor]) -> Tensor:
        """Return float (N, features_dim) of observations.

        Pictures are float of 0..1; those of `SEEN_ONCE` may be uint8 of 0..255.
        """
        return self.step(self.static(observations), observations)

    def static(self, observations: Mapping[str, Tensor]) -> StaticFeatures | None:
        """Return what `ctu`, `frame` and their previous planes show; None for numbers alone."""
        if self.inputs == "numbers":
            return None
        return StaticFeatures(
            ctus=_seen_once(self.ctu, observations, "ctu", "previous_ctu"),
            frames=_seen_once(self.frame, observations, "frame", "previous"),
        )

    def step(self, static: StaticFeatures | None, observations: Mapping[str, Tensor]) -> Tensor:
        """Return float (N, features_dim) from static features, `progress` and the numbers."""
        numbers = self._numbers(observations)
        if static is None:
            alone: Tensor = self.merge(numbers)
            return alone
        progress = observations["progress"]
        picture = self.survey(static.frames + self.decisions(progress))
        here = F.avg_pool2d(progress[:, :1], _FRAME_STRIDE)
        weight = here / here.sum(dim=(2, 3), keepdim=True).clamp_min(1e-6)
        near, far = (picture * weight).sum(dim=(2, 3)), picture.mean(dim=(2, 3))
        features: Tensor = self.merge(torch.cat([static.ctus, near, far, numbers], dim=1))
        return features

    def _numbers(self, observations: Mapping[str, Tensor]) -> Tensor:
        known = observations["features"]
        video = observations.get("video")
        if video is None:
            video = known.new_tensor(STILL).expand(len(known), -1)
        centred = GAIN * (torch.cat([known, video], dim=1) - MIDDLE)
        return centred * self.shown


class _Head(MlpExtractor):
    """An actor-critic head whose critic reads the trunk's features at unit scale and leaves them.

    A critic that is new on a trained trunk has a gradient hundreds of times the actor's: it would
    take the trunk, and all of what gradient clipping leaves.
    """

    def forward_critic(self, features: Tensor) -> Tensor:
        """Return float (N, width) of features (N, features_dim)."""
        return super().forward_critic(F.layer_norm(features.detach(), features.shape[-1:]))


class DMICPolicy(OrdinalPolicy):
    """`CTUTrunk` and an actor-critic head that holds 2.7 % of the parameters.

    The trunk is trained by the actor alone: no gradient of the critic reaches it.

    ``A2C(DMICPolicy, env)`` and ``PPO(DMICPolicy, env)`` work as with any policy of
    Stable-Baselines3, and all keyword arguments of its `ActorCriticPolicy` are taken; with
    ``policy_kwargs={"features_extractor_kwargs": {"inputs": "pixels"}}`` the trunk sees the
    pictures alone.

    Args:
        observation_space: of `CodingEnv` or `VideoCodingEnv`.
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
        usual = {
            "features_extractor_class": CTUTrunk,
            "net_arch": {"pi": [_HEAD_WIDTH], "vf": [_HEAD_WIDTH]},
            "activation_fn": nn.ReLU,
        }
        super().__init__(observation_space, action_space, lr_schedule, **{**usual, **arguments})

    def extract_features(
        self, obs: PyTorchObs, features_extractor: BaseFeaturesExtractor | None = None
    ) -> Any:
        """Return what the trunk makes of observations; it scales the pictures that it sees once."""
        trunk = features_extractor or self.features_extractor
        if not (
            isinstance(trunk, CTUTrunk) and self.share_features_extractor and self.normalize_images
        ):
            return super().extract_features(obs, features_extractor)
        assert isinstance(obs, dict)
        pictures = {key: obs[key] for key in SEEN_ONCE if key in obs}
        others = {key: value for key, value in obs.items() if key not in pictures}
        return trunk({**preprocess_obs(others, self.observation_space), **pictures})  # type: ignore[dict-item]

    def _build_mlp_extractor(self) -> None:
        sizes = self.features_dim, self.net_arch
        self.mlp_extractor = _Head(*sizes, self.activation_fn, self.device)


class _FirstConv(nn.Conv2d):
    """A convolution for which last planes that are missing are 0."""

    def forward(self, planes: Tensor) -> Tensor:
        weight = self.weight[:, : planes.shape[1]]
        return F.conv2d(planes, weight, self.bias, self.stride, self.padding)


def _seen_once(
    network: nn.Module, observations: Mapping[str, Tensor], now: str, before: str
) -> Tensor:
    """Apply a network to image, importance, previous reconstruction and difference.

    Equal rows are seen once: all steps on a picture show one frame, and the maps of one image that
    are tried side by side show one CTU.

    Returns:
        What the network makes of float (N, 4, 64, 64), the last two planes 0 where they lack.
    """
    shown = [observations[key] for key in (now, before) if key in observations]
    rows = _equal_rows(shown)
    if rows is not None:
        shown = [planes[rows[0]] for planes in shown]
    shown = [_scaled(planes) for planes in shown]
    shown[0] = GAIN * shown[0]
    planes = torch.cat(shown, dim=1).contiguous(memory_format=torch.channels_last)
    seen: Tensor = network(planes)
    return seen if rows is None else seen[rows[1]]


def _scaled(planes: Tensor) -> Tensor:
    """Return planes of 0..255 or 0..1 as float of 0..1."""
    return planes.float() / 255.0 if planes.dtype == torch.uint8 else planes


def _equal_rows(planes: Sequence[Tensor]) -> tuple[Tensor, Tensor] | None:
    """Return the first of each kind of rows and the kind of each row; None if most are unlike."""
    count = len(planes[0])
    words = [rows.flatten(1).contiguous().view(torch.int64) for rows in planes]
    joined = torch.cat(words, dim=1)
    sums = (joined * _signs(joined.shape[1]).to(joined)).sum(dim=1)
    kinds, kind = torch.unique(sums, return_inverse=True)
    if len(kinds) > count // 2:
        return None
    places = torch.arange(count, device=kind.device)
    first = places.new_full((len(kinds),), count).scatter_reduce(0, kind, places, "amin")
    return (first, kind) if torch.equal(joined, joined[first[kind]]) else None


@lru_cache(maxsize=4)
def _signs(size: int) -> Tensor:
    """Return fixed odd weights whose sums tell pictures apart."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(-(1 << 62), 1 << 62, (size,), generator=generator) * 2 + 1


def _dense(*widths: int) -> nn.Sequential:
    layers = [[nn.Linear(a, b), nn.ReLU()] for a, b in pairwise(widths)]
    return nn.Sequential(*[layer for pair in layers for layer in pair])
