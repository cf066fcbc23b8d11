"""A2C and PPO learn from what each CTU earned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecMonitor

from dmic_gym.agents.policy.trunk import DMICPolicy
from dmic_gym.agents.training import CreditCallback, EntropySchedule
from dmic_gym.agents.training.credit import step_returns
from dmic_gym.envs.sb3 import SB3CodingVecEnv, make_sb3_vec
from dmic_gym.errors import InvalidInputError
from tests.support import phantoms, vesselness


def many(num_envs: int = 4, **arguments: Any) -> SB3CodingVecEnv:
    """Episodes of nine steps on small phantoms."""
    settings: dict[str, Any] = {
        "dataset": phantoms(3),
        "segmenter": vesselness,
        "preset": "ultrafast",
        "reward": "priced",
        "workers": 1,
        "seed": 0,
    }
    return make_sb3_vec(num_envs, **(settings | arguments))


class Seen(BaseCallback):
    """Keeps the infos and what the buffer holds before the model learns."""

    def __init__(self) -> None:
        super().__init__()
        self.infos: list[dict[str, Any]] = []
        self.advantages, self.returns = np.empty((0,)), np.empty((0,))

    def _on_step(self) -> bool:
        self.infos += [info for info in self.locals["infos"] if "ctu_rewards" in info]
        return True

    def _on_rollout_end(self) -> None:
        buffer = self.locals["rollout_buffer"]
        self.advantages, self.returns = buffer.advantages.copy(), buffer.returns.copy()


def learn(env: Any, *callbacks: BaseCallback, algorithm: Any = A2C, **arguments: Any) -> Seen:
    """Learn from one rollout of whole episodes."""
    settings: dict[str, Any] = {"n_steps": 9, "seed": 0}
    seen = Seen()
    model = algorithm(DMICPolicy, env, **(settings | arguments))
    model.learn(settings["n_steps"] * env.num_envs, [*callbacks, seen])
    return seen


@given(st.integers(0, 2**32 - 1), st.sampled_from([(1, 1), (2, 5), (3, 2, 4)]))
def test_a_step_is_paid_its_ctu_its_neighbours_and_the_picture(
    seed: int, shape: tuple[int, ...]
) -> None:
    rewards = np.random.default_rng(seed).normal(size=shape)
    assert np.allclose(step_returns(rewards, 0.0, 0.0), rewards.ravel())
    alone = np.zeros(shape)
    alone.flat[0] = 1.0
    shared = step_returns(alone, 0.3, 0.0).reshape(shape)
    near = np.max(np.indices(shape[-2:]), axis=0) == 1
    assert np.allclose(shared.reshape(-1, *shape[-2:])[0][near], 0.3)
    whole = step_returns(rewards, 0.3, 0.5) - step_returns(rewards, 0.3, 0.0)
    assert np.allclose(whole, 0.5 * rewards.sum() / np.sqrt(rewards.size))


def test_maps_of_one_image_are_compared_with_each_other() -> None:
    env = many(maps_per_image=2)
    seen = learn(env, CreditCallback())
    infos = seen.infos
    for a, b in ((0, 1), (2, 3)):
        assert infos[a]["sample"] == infos[b]["sample"]
        assert infos[a]["base_qp"] == infos[b]["base_qp"]
        assert np.allclose(seen.advantages[:, a], -seen.advantages[:, b], atol=1e-5)
    for row, info in enumerate(infos):
        expected = step_returns(info["ctu_rewards"], 0.3, 0.5)
        assert np.allclose(seen.returns[:, row], expected, atol=1e-5)
    assert np.abs(seen.advantages).max() <= 3.0
    assert seen.advantages.std() == pytest.approx(1.0, abs=0.1)
    env.close()


@pytest.mark.parametrize("algorithm", [A2C, PPO])
def test_the_critic_may_take_the_place_of_the_group(algorithm: Any) -> None:
    env = many()
    more = {"batch_size": 36} if algorithm is PPO else {}
    seen = learn(VecMonitor(env), CreditCallback("critic"), algorithm=algorithm, **more)
    assert seen.advantages.std() == pytest.approx(1.0, abs=0.1)
    assert len({info["sample"] + str(info["base_qp"]) for info in seen.infos}) > 1
    env.close()


def test_a_policy_learns_which_ctu_was_right() -> None:
    """The chosen actions of well-paid steps become likelier, the others rarer."""
    env = many(8, maps_per_image=4)
    model = A2C(DMICPolicy, env, n_steps=9, seed=0, learning_rate=1e-3, use_rms_prop=False)
    before: dict[str, Any] = {}

    class Keep(Seen):
        def _on_rollout_end(self) -> None:
            super()._on_rollout_end()
            buffer = self.locals["rollout_buffer"]
            before.update(
                observations={
                    k: v.reshape(-1, *v.shape[2:]) for k, v in buffer.observations.items()
                },
                actions=buffer.actions.ravel().copy(),
                log_probs=buffer.log_probs.ravel().copy(),
            )

    keep = Keep()
    model.learn(72, [CreditCallback(), keep])
    import torch

    tensors, _ = model.policy.obs_to_tensor(before["observations"])
    _, after, _ = model.policy.evaluate_actions(tensors, torch.as_tensor(before["actions"]))
    change = after.detach().numpy() - before["log_probs"]
    assert float(change @ keep.advantages.ravel()) > 0.0
    env.close()


def test_steps_of_unfinished_episodes_teach_nothing() -> None:
    env = many(maps_per_image=2)
    seen = learn(env, CreditCallback(), n_steps=12)
    assert (seen.advantages[:9] != 0.0).all()
    assert (seen.advantages[9:] == 0.0).all()
    env.close()


def test_errors_say_what_to_pass() -> None:
    with pytest.raises(InvalidInputError, match="group"):
        CreditCallback("grup")
    with pytest.raises(InvalidInputError, match="Nearest: num_envs=5"):
        many(4, maps_per_image=5)
    env = many(3, dataset=phantoms(3))
    env.set_options([{"sample": n, "base_qp": 32} for n in range(3)])
    with pytest.raises(InvalidInputError, match="maps_per_image=5"):
        learn(env, CreditCallback())
    env.close()


def test_the_weight_of_the_entropy_falls() -> None:
    env = many(2)
    model = A2C(DMICPolicy, env, n_steps=9, seed=0)
    model.learn(36, EntropySchedule(0.02, 0.0))
    assert model.ent_coef == pytest.approx(0.0)
    model.learn(36, [EntropySchedule(0.02, 0.01), StopAfter(1)])
    assert model.ent_coef == pytest.approx(0.015)
    env.close()


class StopAfter(BaseCallback):
    """Ends the training after some rollouts."""

    def __init__(self, rollouts: int) -> None:
        super().__init__()
        self._left = rollouts + 1

    def _on_rollout_start(self) -> None:
        self._left -= 1

    def _on_step(self) -> bool:
        return self._left > 0
