"""Small environments and models for the tests of policies."""

from __future__ import annotations

from typing import Any

import torch
from stable_baselines3 import A2C
from torch import Tensor

from dmic_gym.agents.policy.trunk import DMICPolicy
from dmic_gym.envs.sb3 import SB3CodingVecEnv, make_sb3_vec
from tests.support import phantoms, vesselness

SETTINGS: dict[str, Any] = {
    "dataset": phantoms(2, 96),
    "segmenter": vesselness,
    "preset": "ultrafast",
    "reward": "linear",
}


def small_vec(**arguments: Any) -> SB3CodingVecEnv:
    """Two episodes of four steps each."""
    return make_sb3_vec(num_envs=2, seed=0, workers=1, **(SETTINGS | arguments))


def small_model(seed: int = 0, **arguments: Any) -> A2C:
    settings: dict[str, Any] = {"policy": DMICPolicy, "env": small_vec()}
    return A2C(**(settings | arguments), seed=seed, n_steps=4, device="cpu")


def tensors_of(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
