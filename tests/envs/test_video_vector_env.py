"""Many episodes of video in lockstep are what they are one by one."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from stable_baselines3 import A2C
from stable_baselines3.common.vec_env import VecMonitor

import dmic_gym
from dmic_gym.agents.training.credit import CreditCallback
from dmic_gym.envs import VIDEO_ENV_ID
from dmic_gym.envs.video_vector_env import VideoCodingVectorEnv
from dmic_gym.errors import InvalidInputError
from tests.envs.test_video_env import Failing
from tests.envs.video_support import moving_clip, small_video_env
from tests.support import vesselness

CLIPS = [moving_clip(5), moving_clip(2, seed=1, name="short")]
SETTINGS: dict[str, Any] = {
    "dataset": CLIPS,
    "segmenter": vesselness,
    "ctu_size": 32,
    "preset": "ultrafast",
    "gop": 3,
    "mode": "frame",
}


def actions_of(seed: int, steps: int) -> Any:
    return np.random.default_rng(seed).integers(0, 13, (steps, 3))


@pytest.mark.parametrize(("mode", "workers"), [("frame", 1), ("frame", 2), ("hierarchical", 2)])
def test_rows_are_the_episodes_of_single_environments(mode: Any, workers: int) -> None:
    many: Any = gym.make_vec(VIDEO_ENV_ID, 3, **(SETTINGS | {"mode": mode}), workers=workers)
    assert isinstance(many, VideoCodingVectorEnv)
    ones = [small_video_env(dataset=CLIPS, mode=mode) for _ in range(3)]
    found, infos = many.reset(seed=5)
    singles = [env.reset(seed=5 + n) for n, env in enumerate(ones)]
    assert infos["sample"].tolist() == [info["sample"] for _, info in singles]
    for actions in actions_of(0, 5 if mode == "frame" else 24):
        found, rewards, terminated, truncated, infos = many.step(actions)
        for n, env in enumerate(ones):
            observation, reward, over, failed, info = env.step(int(actions[n]))
            assert (rewards[n], terminated[n], truncated[n]) == (reward, over, failed)
            if over:
                last, result = infos["final_obs"][n], many.results[n]
                assert all((last[key] == observation[key]).all() for key in observation)
                assert infos["final_info"]["bits"][n] == info["bits"]
                assert env.result is not None
                assert result is not None
                assert result.bitstream == env.result.bitstream
                observation, _ = env.reset()
            elif info:
                assert infos["frame_reward"][n] == info["frame_reward"]
            assert all((found[key][n] == observation[key]).all() for key in observation)
            np.testing.assert_array_equal(many.action_masks()[n], env.action_masks())
    many.close()


def test_episodes_that_wait_are_left_alone() -> None:
    many = VideoCodingVectorEnv(2, autoreset_mode=AutoresetMode.DISABLED, **SETTINGS)
    many.reset(options={"clip": ["moving", "short"], "start": 0, "base_qp": 32})
    many.step([3, 3])
    assert many.step([3, 3])[2].tolist() == [False, True]
    with pytest.raises(gym.error.ResetNeeded, match=r"rows \[1\]"):
        many.step([3, 3])
    many.reset(options={"reset_mask": np.array([False, True]), "clip": "short"})
    assert many.step([3, 3])[2].tolist() == [True, False]


def test_a_failure_ends_one_row_alone() -> None:
    settings = {key: SETTINGS[key] for key in ("dataset", "segmenter", "gop", "mode")}
    many = VideoCodingVectorEnv(2, codec=Failing(6), base_qps=(32,), workers=1, **settings)
    many.reset(options={"clip": "moving", "start": 0})
    # frames 1..3 are the anchor's, 4 row 0's; 5 row 1's first, 6 row 0's second
    assert not many.step([4, 4])[3].any()
    with pytest.warns(RuntimeWarning, match="out of order"):
        _, rewards, _, truncated, infos = many.step([4, 4])
    assert truncated.tolist() == [True, False]
    assert rewards[0] == 0.0
    assert infos["final_info"]["error"][0] == "EncodeError: out of order"


def test_segmenters_are_called_by_one_thread_at_a_time() -> None:
    inside: list[int] = []

    def alone(images: Any) -> Any:
        assert not inside
        inside.append(1)
        found = vesselness(images)
        inside.pop()
        return found

    many = VideoCodingVectorEnv(4, workers=4, **(SETTINGS | {"segmenter": alone}))
    many.reset(seed=0)
    for _ in range(3):
        many.step([3] * 4)
    many.close()
    with pytest.raises(gym.error.ClosedEnvironmentError):
        many.reset()


def test_a2c_learns_on_the_sb3_form() -> None:
    vec = dmic_gym.make_sb3_video_vec(2, seed=0, **SETTINGS)
    first = vec.reset()
    assert vec.reset_infos[0].keys() == {"sample", "clip", "start", "base_qp"}
    assert first["video"].shape == (2, 9)
    assert vec.get_attr("base_qp") == list(vec.env.episode_base_qps)
    _, rewards, dones, infos = vec.step(np.array([5, 5]))
    assert [info["frame_reward"] for info in infos] == pytest.approx(rewards.tolist())
    assert not dones.any()
    model = A2C("MultiInputPolicy", VecMonitor(vec), n_steps=4, seed=0)
    model.learn(16)
    assert model.ep_info_buffer
    vec.close()


def test_maps_of_the_same_frames_side_by_side_teach_each_other() -> None:
    """What `CreditCallback` compares: maps of the same frames at the same base QP."""
    settings = SETTINGS | {"mode": "ctu", "dataset": CLIPS[:1]}
    vec = dmic_gym.make_sb3_video_vec(4, maps_per_image=2, seed=1, **settings)
    vec.reset()
    infos = vec.reset_infos
    assert infos[0] == infos[1]
    assert infos[2] == infos[3]
    assert infos[0] != infos[2]
    credit = CreditCallback()
    model = A2C("MultiInputPolicy", vec, n_steps=18, seed=0)
    model.learn(72, callback=credit)
    assert len(credit._ended) == 4
    assert all(len(episode.returns) == 18 for episode in credit._ended)
    assert model.rollout_buffer.advantages.any(axis=1).all()
    vec.close()


def test_arguments_are_checked() -> None:
    with pytest.raises(InvalidInputError, match="num_envs"):
        VideoCodingVectorEnv(0, **SETTINGS)
    with pytest.raises(InvalidInputError, match="no multiple of maps_per_image=2"):
        VideoCodingVectorEnv(3, maps_per_image=2, **SETTINGS)
    with pytest.raises(InvalidInputError, match="autoreset_mode"):
        VideoCodingVectorEnv(1, autoreset_mode="LATER", **SETTINGS)
