"""Each level of HRLVSC as an environment of its own."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import A2C
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from dmic_gym.envs.video_levels import CtuLevelEnv, FrameLevelEnv
from dmic_gym.errors import InvalidInputError
from tests.envs.video_support import play_video, small_video_env
from tests.support import small_env

START: dict[str, Any] = {"options": {"clip": 0, "start": 1, "base_qp": 32}}
KEEP = 3


class Counting:
    """A policy that remembers what it saw."""

    def __init__(self, action: int) -> None:
        self.action, self.levels = action, list[float]()

    def predict(self, observation: Any, *, deterministic: bool) -> tuple[Any, Any]:
        assert deterministic
        self.levels.append(float(observation["video"][0]))
        return np.array(self.action), None


def at_random(seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return lambda _: int(rng.integers(13))


def test_a_step_of_the_frame_level_codes_a_frame() -> None:
    lower = Counting(4)
    ends = play_video(FrameLevelEnv(small_video_env(), lower), lambda _: 5, **START)
    assert lower.levels == [1.0] * 18
    assert len(ends) == 3
    np.testing.assert_array_equal(ends[-1][1]["qp_maps"], np.full((3, 2, 3), 32 + 3 + 6))


def test_a_step_of_the_ctu_level_sets_a_ctu() -> None:
    upper = Counting(4)
    env = CtuLevelEnv(small_video_env(), upper)
    steps: list[Any] = []

    def choose(observation: Any) -> int:
        steps.append(observation)
        return 5

    ends = play_video(env, choose, **START)
    assert upper.levels == [0.0] * 3
    assert [float(step["video"][0]) for step in steps] == [1.0] * 18
    np.testing.assert_array_equal(ends[-1][1]["qp_maps"], np.full((3, 2, 3), 32 + 3 + 6))


@pytest.mark.parametrize("level", [FrameLevelEnv, CtuLevelEnv])
def test_rewards_are_those_of_both_levels_together(level: Any) -> None:
    ends = play_video(level(small_video_env(), 5), at_random(1), **START)
    info = ends[-1][1]
    assert sum(reward for reward, _ in ends) == pytest.approx(sum(info["frame_rewards"]))
    assert any(reward for reward, _ in ends[:-1])


def test_the_ctu_level_alone_is_mode_ctu() -> None:
    ends = play_video(CtuLevelEnv(small_video_env()), at_random(2), **START)
    alone = play_video(small_video_env(mode="ctu"), at_random(2), **START)
    np.testing.assert_array_equal(ends[-1][1]["qp_maps"], alone[-1][1]["qp_maps"])
    assert [reward for reward, _ in ends] == [reward for reward, _ in alone]


@pytest.mark.parametrize("level", [FrameLevelEnv, CtuLevelEnv])
def test_the_checker_is_silent(level: Any) -> None:
    env = level(small_video_env(gop=2), KEEP)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sb3_check_env(env)


def test_levels_train_in_turns() -> None:
    ctus = A2C("MultiInputPolicy", CtuLevelEnv(small_video_env()), n_steps=6, seed=0)
    ctus.learn(12)
    frames = A2C("MultiInputPolicy", FrameLevelEnv(small_video_env(), ctus), n_steps=3, seed=0)
    frames.learn(3)
    info = play_video(
        FrameLevelEnv(small_video_env(), ctus),
        lambda observation: int(frames.predict(observation)[0]),
        **START,
    )[-1][1]
    assert np.isfinite(info["bits"])


def test_masks_are_those_of_the_next_action() -> None:
    env = FrameLevelEnv(small_video_env(), KEEP)
    env.reset(options={"base_qp": 50})
    assert env.action_masks().sum() == 5  # 40, 44, 47, 50 and 51


@pytest.mark.parametrize("make", [lambda: small_video_env(mode="ctu"), small_env])
def test_an_environment_without_both_levels_is_refused(make: Any) -> None:
    env: gym.Env[Any, Any] = make()
    with pytest.raises(InvalidInputError, match='mode="hierarchical"'):
        FrameLevelEnv(env, KEEP)
