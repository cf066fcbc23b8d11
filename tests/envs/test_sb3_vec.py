from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize

import dmic_gym
from dmic_gym.codecs import X265Codec
from dmic_gym.codecs.base import Encoded
from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.envs.observations import PROGRESS
from dmic_gym.envs.sb3 import SB3CodingVecEnv
from dmic_gym.envs.vector_env import CodingVectorEnv
from dmic_gym.errors import EncodeError, InvalidInputError
from dmic_gym.tasks.data.sample import Sample
from tests.support import phantoms, texture, vesselness

SETTINGS: dict[str, Any] = {
    "dataset": [*phantoms(2, 130), *phantoms(1, (70, 130), seed=1)],
    "segmenter": vesselness,
    "preset": "ultrafast",
    "reward": "linear",
}


@pytest.fixture
def vec() -> Iterator[SB3CodingVecEnv]:
    made = dmic_gym.make_sb3_vec(num_envs=3, seed=4, workers=2, **SETTINGS)
    yield made
    made.close()


def test_same_as_dummy_vec_env(vec: SB3CodingVecEnv) -> None:
    """Observations, rewards, dones, infos and terminal observations, through several episodes."""
    dummy = DummyVecEnv([lambda: CodingEnv(**SETTINGS)] * 3)
    dummy.seed(4)
    _assert_equal(vec.reset(), dummy.reset())
    rng = np.random.default_rng(0)
    ended = 0
    for _ in range(20):
        chosen = rng.integers(0, 13, 3)
        observations, rewards, dones, infos = vec.step(chosen)
        theirs = dummy.step(chosen)
        _assert_equal(observations, theirs[0])
        np.testing.assert_allclose(rewards, theirs[1], atol=1e-3)
        assert rewards.dtype == theirs[1].dtype
        np.testing.assert_array_equal(dones, theirs[2])
        for one, other in zip(infos, theirs[3], strict=True):
            _assert_equal(one, other)
            ended += "terminal_observation" in one
        _assert_equal(vec.reset_infos, dummy.reset_infos)
    assert ended >= 6
    dummy.close()


def _assert_equal(one: Any, other: Any) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            _assert_equal(one[key], other[key])
    elif isinstance(one, list):
        for a, b in zip(one, other, strict=True):
            _assert_equal(a, b)
    else:
        np.testing.assert_array_equal(one, other)


def test_terminal_observation_is_the_last_one(vec: SB3CodingVecEnv) -> None:
    vec.set_options({"sample": 0, "base_qp": 32})
    vec.reset()
    for _ in range(9):
        observations, _, dones, infos = vec.step(np.array([3, 3, 3]))
    assert dones.all()
    assert isinstance(observations, dict)
    for row, info in enumerate(infos):
        last = info["terminal_observation"]
        assert last["features"][PROGRESS] == 1.0  # all CTUs decided
        assert observations["features"][row, PROGRESS] == 0.0
        assert (last["progress"][1] > 0).all()
        assert not observations["progress"][row, 1].any()


def test_seeds_and_options_count_once(vec: SB3CodingVecEnv) -> None:
    vec.set_options([{"sample": 2}, {"sample": 1, "base_qp": 37}, {}])
    first = vec.reset()
    names = [info["sample"] for info in vec.reset_infos]
    assert names[:2] == [SETTINGS["dataset"][2].name, SETTINGS["dataset"][1].name]
    assert vec.reset_infos[1]["base_qp"] == 37
    vec.seed(4)
    again = vec.reset()
    assert isinstance(first, dict)
    assert isinstance(again, dict)
    assert not np.array_equal(first["features"], again["features"])


def test_monitor_and_normalize_while_learning(vec: SB3CodingVecEnv) -> None:
    wrapped = VecNormalize(VecMonitor(vec), norm_obs=True, norm_obs_keys=["features"])
    model = A2C("MultiInputPolicy", wrapped, n_steps=6, seed=0)
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn(72)
    assert any((value != before[name]).any() for name, value in model.policy.state_dict().items())
    episodes = list(model.ep_info_buffer or [])
    assert episodes
    assert {episode["l"] for episode in episodes} <= {6, 9}
    assert wrapped.obs_rms["features"].count > 72
    observations = wrapped.reset()
    assert isinstance(observations, dict)
    assert np.abs(observations["features"]).max() <= 10


def test_ppo_learns(vec: SB3CodingVecEnv) -> None:
    model = PPO("MultiInputPolicy", vec, n_steps=9, batch_size=27, n_epochs=1, seed=0)
    before = [parameter.clone() for parameter in model.policy.parameters()]
    model.learn(54)
    after = list(model.policy.parameters())
    assert any((one != other).any() for one, other in zip(before, after, strict=True))


class Broken(X265Codec):
    def encode(self, frames: Any, qp_maps: Any) -> list[Encoded]:
        raise EncodeError("broken")


def test_a_failure_is_a_truncation() -> None:
    data = [Sample(texture((64, 64)))]
    vec = dmic_gym.make_sb3_vec(2, dataset=data, segmenter=vesselness, codec=Broken())
    vec.reset()
    with pytest.warns(RuntimeWarning, match="broken"):
        _, rewards, dones, infos = vec.step(np.array([0, 0]))
    assert dones.all()
    assert not rewards.any()
    assert all(info["TimeLimit.truncated"] for info in infos)
    assert all(info["error"] == "EncodeError: broken" for info in infos)
    vec.close()


def test_attributes(vec: SB3CodingVecEnv) -> None:
    vec.reset()
    assert vec.get_attr("qp_offsets") == [vec.env.qp_offsets] * 3
    assert [one.sample for one in vec.get_attr("reference", [0, 2])] == [
        vec.env.references[0].sample,
        vec.env.references[2].sample,
    ]
    assert vec.get_attr("result") == [None] * 3
    assert not vec.has_attr("colour")
    vec.set_attr("base_qps", (51,))
    vec.reset()
    assert vec.get_attr("base_qp") == [51] * 3
    with pytest.raises(InvalidInputError, match="indices"):
        vec.set_attr("base_qps", (22,), indices=[1])
    with pytest.raises(InvalidInputError, match="step"):
        vec.env_method("step", 0)
    assert vec.env_is_wrapped(VecMonitor) == [False] * 3  # type: ignore[arg-type]


def test_other_autoreset_modes_are_refused() -> None:
    env = CodingVectorEnv(1, autoreset_mode="DISABLED", workers=1, **SETTINGS)
    with pytest.raises(InvalidInputError, match="SAME_STEP, got DISABLED"):
        SB3CodingVecEnv(env)
    env.close()


def test_render() -> None:
    vec = dmic_gym.make_sb3_vec(2, render_mode="rgb_array", **SETTINGS)
    vec.set_options({"sample": 0})
    vec.reset()
    picture = vec.render()
    assert picture is not None
    assert picture.dtype == np.uint8
    vec.close()
