"""Libraries of reinforcement learning, with the line that each needs (docs/compatibility.md)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from torch import nn
from torch.distributions import Categorical

import dmic_gym
from tests.support import ROOT, vesselness

SMALL: dict[str, Any] = {
    "dataset": "phantoms?count=2&size=96",
    "segmenter": vesselness,
    "preset": "ultrafast",
    "reward": "priced",
}
STEPS = 4  # 2 x 2 CTUs of 64


def numbers_only() -> gym.Env[Any, Any]:
    """The 29 numbers of each CTU as one vector, for networks that take no dict."""
    env = gym.make("dmic_gym:CodingEnv-v0", **SMALL)
    numbers: Any = gym.wrappers.FilterObservation(env, ["features"])
    return gym.wrappers.FlattenObservation(numbers)


@pytest.mark.parametrize(
    "wrap",
    [
        gym.wrappers.RecordEpisodeStatistics,
        gym.wrappers.NormalizeReward,
        lambda env: gym.wrappers.TransformReward(env, lambda reward: 2 * float(reward)),
        lambda env: gym.wrappers.FilterObservation(env, ["ctu", "features"]),
        gym.wrappers.FlattenObservation,
        lambda env: gym.wrappers.FrameStackObservation(gym.wrappers.FlattenObservation(env), 2),
        lambda env: gym.wrappers.TimeLimit(env, 100),
    ],
    ids=["statistics", "normalize", "transform", "filter", "flatten", "stack", "limit"],
)
def test_wrappers_of_gymnasium(wrap: Callable[[Any], gym.Env[Any, Any]]) -> None:
    env = wrap(gym.make("CodingEnv-v0", **SMALL))
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    for step in range(STEPS):
        observation, _, terminated, truncated, info = env.step(env.action_space.sample())
        assert env.observation_space.contains(observation)
        assert (terminated, truncated) == (step == STEPS - 1, False)
    assert info["bits"] > 0
    env.close()


def test_a_loop_as_in_cleanrl() -> None:
    """One file, one network, rollouts of a vector environment, clipped policy gradient."""
    torch.manual_seed(0)
    envs: Any = gym.make_vec(
        "CodingEnv-v0", num_envs=4, autoreset_mode=AutoresetMode.SAME_STEP, **SMALL
    )
    envs = gym.wrappers.vector.RecordEpisodeStatistics(envs)
    net = nn.Sequential(nn.Linear(29, 32), nn.Tanh(), nn.Linear(32, 13 + 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    observation, _ = envs.reset(seed=0)
    before = [parameter.clone() for parameter in net.parameters()]
    seen, actions, logs, rewards = [], [], [], np.zeros((STEPS, 4), np.float32)
    for step in range(STEPS):
        features = torch.as_tensor(observation["features"])
        with torch.no_grad():
            chosen = Categorical(logits=net(features)[:, :-1])
            action = chosen.sample()  # type: ignore[no-untyped-call]
        logs.append(chosen.log_prob(action))  # type: ignore[no-untyped-call]
        observation, rewards[step], terminated, _, infos = envs.step(action.numpy())
        seen.append(features)
        actions.append(action)
    assert terminated.all()
    assert (infos["episode"]["l"] == STEPS).all()
    returns = torch.as_tensor(np.cumsum(rewards[::-1], axis=0)[::-1].copy()).ravel()
    out = net(torch.cat(seen))
    ratio = torch.exp(
        Categorical(logits=out[:, :-1]).log_prob(torch.cat(actions)) - torch.cat(logs)  # type: ignore[no-untyped-call]
    )
    advantage = returns - out[:, -1].detach()
    clipped = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
    loss = (out[:, -1] - returns).square().mean() - clipped.mean()
    loss.backward()
    optimizer.step()
    assert all((a != b).any() for a, b in zip(before, net.parameters(), strict=True))
    envs.close()


def test_recurrent_ppo_of_sb3_contrib() -> None:
    contrib = pytest.importorskip("sb3_contrib")
    vec = dmic_gym.make_sb3_vec(2, **SMALL)
    model = contrib.RecurrentPPO(
        "MultiInputLstmPolicy", vec, n_steps=4, batch_size=8, n_epochs=1, device="cpu"
    )
    model.learn(8)
    assert model.num_timesteps == 8
    vec.close()


def test_sb3_makes_its_own_vectors() -> None:
    from stable_baselines3 import A2C
    from stable_baselines3.common.env_util import make_vec_env

    vec = make_vec_env("dmic_gym:CodingEnv-v0", n_envs=2, env_kwargs=SMALL)
    model = A2C("MultiInputPolicy", vec, n_steps=4, device="cpu").learn(8)
    assert model.num_timesteps == 8
    vec.close()


@pytest.mark.slow
def test_tianshou() -> None:
    pytest.importorskip("tianshou")
    from tianshou.algorithm import A2C
    from tianshou.algorithm.algorithm_base import policy_within_training_step
    from tianshou.algorithm.modelfree.reinforce import ProbabilisticActorPolicy
    from tianshou.algorithm.optim import AdamOptimizerFactory
    from tianshou.data import Collector, VectorReplayBuffer
    from tianshou.env import DummyVectorEnv
    from tianshou.utils.net.common import Net
    from tianshou.utils.net.discrete import DiscreteActor, DiscreteCritic

    envs = DummyVectorEnv([numbers_only] * 2)
    env = numbers_only()
    net = Net(state_shape=env.observation_space.shape, hidden_sizes=[32])
    policy = ProbabilisticActorPolicy(
        actor=DiscreteActor(preprocess_net=net, action_shape=13, softmax_output=False),
        dist_fn=lambda logits: Categorical(logits=logits),
        action_space=env.action_space,
        action_scaling=False,
    )
    critic = DiscreteCritic(preprocess_net=net)
    algorithm = A2C(policy=policy, critic=critic, optim=AdamOptimizerFactory(lr=1e-3))
    collector = Collector(algorithm, envs, VectorReplayBuffer(64, 2))
    collector.reset()
    found = collector.collect(n_episode=4)
    assert found.n_collected_steps == 4 * STEPS
    with policy_within_training_step(algorithm.policy):
        algorithm.update(buffer=collector.buffer, batch_size=8, repeat=1)


@pytest.mark.slow
def test_rl_zoo(tmp_path: Path) -> None:
    pytest.importorskip("rl_zoo3")
    (tmp_path / "a2c.yml").write_text(
        "CodingEnv-v0:\n  policy: MultiInputPolicy\n  n_timesteps: 16\n  n_steps: 4\n"
    )
    command = [sys.executable, "-m", "rl_zoo3.train", "--algo", "a2c", "--env", "CodingEnv-v0"]
    command += ["--gym-packages", "dmic_gym", "--conf-file", "a2c.yml", "--eval-freq", "-1"]
    command += ["--env-kwargs", "dataset:'phantoms?count=2&size=96'", "preset:'ultrafast'"]
    command += ["--log-folder", "logs", "--device", "cpu"]
    done = subprocess.run(
        command, cwd=tmp_path, env=_here(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert list(tmp_path.glob("logs/a2c/CodingEnv-v0_1/CodingEnv-v0.zip"))


def _here() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}
