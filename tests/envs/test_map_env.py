from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3 import A2C
from stable_baselines3.common.env_checker import check_env as check_env_sb3

import dmic_gym  # noqa: F401
from dmic_gym.codecs import X265Codec
from dmic_gym.codecs.base import Encoded
from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.envs.map_env import CodingMapEnv
from dmic_gym.errors import EncodeError, InvalidInputError
from dmic_gym.tasks.data import Phantoms
from tests.support import phantoms, play, vesselness

SETTINGS: dict[str, Any] = {"segmenter": vesselness, "preset": "ultrafast"}


@pytest.fixture
def env() -> Iterator[CodingMapEnv]:
    made = CodingMapEnv(phantoms(3, (130, 70)), **SETTINGS)
    yield made
    made.close()


def test_spaces(env: CodingMapEnv) -> None:
    assert env.map_shape == (3, 2)
    assert env.action_space == gym.spaces.MultiDiscrete([13] * 6)
    observation, info = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    assert observation["ctus"].shape == (6 * 24,)
    assert observation["base_qp"] == pytest.approx(info["base_qp"] / 51)


def test_same_as_the_stepwise_environment(env: CodingMapEnv) -> None:
    """The same map makes the same stream, reward and info; the features are those of the steps."""
    stepwise = CodingEnv(phantoms(3, (130, 70)), **SETTINGS)
    env.action_space.seed(0)
    for seed in range(3):
        action = env.action_space.sample()
        mapped, _ = env.reset(seed=seed)
        _, reward, terminated, truncated, info = env.step(action)
        assert (terminated, truncated) == (True, False)
        seen, _ = stepwise.reset(seed=seed)
        for ctu, index in enumerate(action):
            assert np.array_equal(mapped["ctus"].reshape(-1, 24)[ctu], seen["features"][2:26])
            assert np.array_equal(mapped["frame"], seen["frame"])
            seen, expected, _, _, theirs = stepwise.step(index)
        assert reward == expected
        for key in ("qp_map", "ctu_rewards"):
            assert info.pop(key).tolist() == theirs.pop(key).tolist()
        assert info == theirs
        assert env.result is not None
        assert stepwise.result is not None
        assert env.result.encoded.bitstream == stepwise.result.encoded.bitstream
    stepwise.close()


def test_zero_offsets_are_the_anchor(env: CodingMapEnv) -> None:
    env.reset(options={"sample": 0, "base_qp": 30})
    zero = env.qp_offsets.index(0)
    _, reward, *_, info = env.step(np.full((3, 2), zero))
    assert info["bits"] == info["anchor_bits"]
    assert reward == pytest.approx(0, abs=1e-9)


def test_checkers_are_silent() -> None:
    env = gym.make("CodingMapEnv-v0", dataset=phantoms(2, 70), **SETTINGS)
    check_env(env.unwrapped, skip_render_check=True)
    check_env_sb3(env.unwrapped)
    env.close()


def test_sb3_learns() -> None:
    env = gym.make("CodingMapEnv-v0", dataset=phantoms(2, 70), reward="linear", **SETTINGS)
    model = A2C("MultiInputPolicy", env, n_steps=8, seed=0)
    before = [parameter.clone() for parameter in model.policy.parameters()]
    model.learn(16)
    after = list(model.policy.parameters())
    assert any((one != other).any() for one, other in zip(before, after, strict=True))
    env.close()


def test_images_of_one_map_shape_may_differ_in_size() -> None:
    env = CodingMapEnv([*phantoms(1, 130), *phantoms(1, 190)], **SETTINGS)
    for index in (0, 1):
        env.reset(options={"sample": index})
        assert env.step(env.action_space.sample())[4]["qp_map"].shape == (3, 3)
    env.close()


def test_other_map_shapes_are_refused() -> None:
    mixed = [*phantoms(1, 130), *phantoms(1, 70)]
    with pytest.raises(InvalidInputError, match=r"2x2 CTUs.*maps of 3x3.*CodingEnv-v0"):
        CodingMapEnv(mixed, **SETTINGS)
    lazy = CodingMapEnv(Phantoms(2, 130), **SETTINGS)
    with pytest.raises(InvalidInputError, match="2x2 CTUs"):
        lazy.reset(options={"sample": mixed[1]})
    with pytest.raises(InvalidInputError, match="3x3 CTUs"):
        CodingMapEnv(mixed[:1], map_shape=(2, 2), **SETTINGS)
    for wrong in ((3,), (3, 0), (3.0, 2.0), "33"):
        with pytest.raises(InvalidInputError, match="map_shape"):
            CodingMapEnv(mixed[:1], map_shape=wrong, **SETTINGS)  # type: ignore[arg-type]
    lazy.close()


@pytest.mark.parametrize("action", [[3] * 5, [13] * 6, [-1] * 6, [0.0] * 6, [[3] * 3] * 2, 3])
def test_wrong_actions(env: CodingMapEnv, action: Any) -> None:
    env.reset(seed=0)
    with pytest.raises(InvalidInputError, match=r"3 x 2 integer indices"):
        env.step(action)


def test_reset_is_needed(env: CodingMapEnv) -> None:
    with pytest.raises(gym.error.ResetNeeded):
        env.step(env.action_space.sample())
    env.reset(seed=0)
    env.step(env.action_space.sample())
    with pytest.raises(gym.error.ResetNeeded):
        env.step(env.action_space.sample())


class Broken(X265Codec):
    def encode(self, frames: Any, qp_maps: Any) -> list[Encoded]:
        raise EncodeError("broken")


def test_a_failure_truncates() -> None:
    env = CodingMapEnv(phantoms(1, 70), segmenter=vesselness, codec=Broken())
    env.reset(seed=0)
    with pytest.warns(RuntimeWarning, match="broken"):
        _, reward, terminated, truncated, info = env.step(env.action_space.sample())
    assert (reward, terminated, truncated) == (0.0, False, True)
    assert info["error"] == "EncodeError: broken"
    env.close()


def test_render() -> None:
    env = CodingMapEnv(phantoms(1, 130), render_mode="rgb_array", **SETTINGS)
    env.reset(seed=0)
    before = env.render()
    env.step(env.action_space.sample())
    after = env.render()
    assert before is not None
    assert after is not None
    assert before.shape == after.shape
    assert (before != after).any()
    env.close()


def test_pickle_and_deepcopy(env: CodingMapEnv) -> None:
    expected = play(env, lambda _: np.arange(6), seed=3)  # type: ignore[arg-type,return-value]
    for other in (copy.deepcopy(env), pickle.loads(pickle.dumps(env))):
        reward, info = play(other, lambda _: np.arange(6), seed=3)  # type: ignore[arg-type,return-value]
        assert reward == expected[0]
        assert info["bits"] == expected[1]["bits"]
