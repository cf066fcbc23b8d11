"""Stable-Baselines3's agents learn, with real encodes and real gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.monitor import Monitor

from dmic_gym.tasks.data.phantoms.dataset import Phantoms
from tests.support import small_env

SETTINGS: dict[Any, dict[str, Any]] = {
    A2C: {"n_steps": 16},
    PPO: {"n_steps": 64, "batch_size": 32, "n_epochs": 1},
    DQN: {"learning_starts": 40, "batch_size": 8, "train_freq": 8, "buffer_size": 250},
}
POLICY = {"net_arch": [16], "features_extractor_kwargs": {"cnn_output_dim": 16}}


@pytest.mark.parametrize("ctu_size", [64, 16])
@pytest.mark.parametrize("algorithm", [A2C, PPO, DQN])
def test_it_learns(algorithm: Any, ctu_size: int, tmp_path: Path) -> None:
    env = Monitor(small_env(dataset=Phantoms(2, 130), ctu_size=ctu_size))
    model = algorithm(
        "MultiInputPolicy", env, seed=0, device="cpu", policy_kwargs=POLICY, **SETTINGS[algorithm]
    )
    extractor = (
        model.policy.q_net.features_extractor
        if algorithm is DQN
        else (model.policy.features_extractor)
    )
    # the three images go through convolutions, not through a flattening
    assert sum(isinstance(part, torch.nn.Conv2d) for part in extractor.modules()) == 9
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn(240)
    assert model.num_timesteps >= 240
    after = model.policy.state_dict()
    assert all(torch.isfinite(value).all() for value in after.values())
    still = [name for name, value in before.items() if torch.equal(value, after[name])]
    assert not [name for name in still if "target" not in name], "no gradient reached these"
    episodes = env.get_episode_lengths()
    assert len(episodes) >= 240 // (9 if ctu_size == 64 else 81) - 1
    assert set(episodes) == {9 if ctu_size == 64 else 81}
    observation, _ = env.reset(seed=1)
    action, _ = model.predict(observation, deterministic=True)
    model.save(tmp_path / "model")
    again, _ = algorithm.load(tmp_path / "model", device="cpu").predict(
        observation, deterministic=True
    )
    assert action == again
    assert env.action_space.contains(action)


def test_a_policy_finds_the_cheapest_action() -> None:
    """With bits alone for a reward, an agent must come to prefer high QPs."""
    from dmic_gym.envs.rewards import LinearReward

    env = small_env(
        dataset=Phantoms(1, 64),
        reward=LinearReward(dice_weight=0.0, rate_weight=10.0),
        qp_offsets=(-10, 0, 20),
        base_qps=(27,),
    )
    settings: dict[str, Any] = {
        "n_steps": 64,
        "batch_size": 32,
        "n_epochs": 4,
        "learning_rate": 2e-3,
    }
    model: Any = PPO(
        "MultiInputPolicy", env, seed=0, device="cpu", policy_kwargs=POLICY, gamma=1.0, **settings
    )
    model.learn(384)
    observation, _ = env.reset(seed=0)
    assert np.asarray(model.predict(observation, deterministic=True)[0]) == 2
