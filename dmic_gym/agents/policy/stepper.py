"""Stepping a `DMICPolicy` through a picture: static features once, then small steps.

The actions are those of ``policy.predict(observation, deterministic=True)``. Adding up in another
order moves a mean action by about 1e-6; one that lies within `MARGIN` of the border between two
actions is left to ``predict``.
"""

from __future__ import annotations

import zlib
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import Tensor, nn

from dmic_gym.agents.policy.step_network import Array, StepNetwork
from dmic_gym.agents.policy.trunk import STILL, CTUTrunk, DMICPolicy
from dmic_gym.envs.image_view import SIDE, ImageView
from dmic_gym.envs.observations import ObservationBuilder
from dmic_gym.envs.video_observations import CTU_LEVEL
from dmic_gym.envs.video_view import FrameView

MARGIN = 1e-3
"""In widths of an action."""

_BATCH = 64

_static: WeakKeyDictionary[ImageView, tuple[int, Array, Array]] = WeakKeyDictionary()
"""Of each view, a checksum of the weights that last looked at it, and what they saw."""


class PolicyStepper:
    """Chooses the actions of one episode, in order.

    Args:
        policy: that `policy_stepper` accepts.
    """

    def __init__(self, policy: DMICPolicy) -> None:
        self._policy, self._network = policy, StepNetwork(policy)
        self._view: ImageView | None = None
        self._index = 0

    def action(self, builder: ObservationBuilder) -> Any:
        """Return the action for what `builder` shows."""
        if getattr(builder, "level", CTU_LEVEL) == CTU_LEVEL:
            mean = self._mean(builder)
            if abs(mean % 1.0 - 0.5) > MARGIN:
                return round(mean)
        return self._policy.predict(builder.observation(), deterministic=True)[0]

    def _mean(self, builder: ObservationBuilder) -> float:
        view, index, progress = builder.view, builder.index, builder.shown("progress")
        if view is self._view and index == self._index + 1:
            self._network.update(progress, _joined(view.cell(index - 1), view.cell(index)))
        else:
            seen = _static_features(self._policy, view, "previous" in builder.arrays)
            self._network.begin(*seen, view)
            self._network.update(progress, (slice(0, SIDE), slice(0, SIDE)))
        self._view, self._index = view, index
        video = builder.shown("video") if "video" in builder.arrays else STILL
        return self._network.mean_action(index, np.append(builder.shown("features"), video))


def policy_stepper(agent: Any) -> PolicyStepper | None:
    """Return what steps `agent` if it is a `DMICPolicy`, or a model with one, as it was built here.

    None for policies of another class or with layers of one's own.
    """
    of_model = isinstance(agent, BaseAlgorithm) and type(agent).predict is BaseAlgorithm.predict
    policy: Any = agent.policy if of_model else agent
    if type(policy) is not DMICPolicy or type(policy.features_extractor) is not CTUTrunk:
        return None
    plain = all(isinstance(layer, nn.Linear | nn.ReLU) for layer in policy.mlp_extractor.policy_net)
    sees = policy.features_extractor.inputs != "numbers"
    return PolicyStepper(policy) if plain and sees and policy.normalize_images else None


def _static_features(policy: DMICPolicy, view: ImageView, previous: bool) -> tuple[Array, Array]:
    """Return what the trunk makes of a view, float (CTUs, 128) and (32, 8, 8)."""
    trunk: Any = policy.features_extractor
    checksum = _checksum(trunk.ctu, trunk.frame)
    kept = _static.get(view)
    if kept is None or kept[0] != checksum:
        with torch.inference_mode():
            seen = [
                trunk.static(_observed(view, first, policy.device, previous))
                for first in range(0, view.count, _BATCH)
            ]
        ctus = torch.cat([part.ctus for part in seen]).cpu().numpy()
        kept = _static[view] = checksum, ctus, seen[0].frames[0].cpu().numpy()
    return kept[1:]


def _observed(
    view: ImageView, first: int, device: torch.device, previous: bool
) -> dict[str, Tensor]:
    """Return the planes of a batch of CTUs from `first` on, and those of the picture."""
    chosen = range(first, min(first + _BATCH, view.count))
    planes = {"ctu": [view.window(index) for index in chosen], "frame": [view.frame]}
    if previous:
        assert isinstance(view, FrameView)
        planes["previous_ctu"] = [view.previous_window(index) for index in chosen]
        planes["previous"] = [view.previous]
    return {key: torch.from_numpy(np.stack(value)).to(device) for key, value in planes.items()}


def _checksum(*modules: nn.Module) -> int:
    found = 0
    for parameter in nn.ModuleList(modules).parameters():
        found = zlib.crc32(parameter.detach().cpu().numpy().tobytes(), found)
    return found


def _joined(one: tuple[slice, slice], other: tuple[slice, slice]) -> tuple[slice, slice]:
    """Return the rectangle around two."""
    rows, cols = (
        slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True)
    )
    return rows, cols
