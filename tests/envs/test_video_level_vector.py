"""Each level of many episodes is what it is one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dmic_gym.envs.sb3 import make_sb3_video_vec
from dmic_gym.envs.video_level_vector import VideoLevelVectorEnv
from dmic_gym.envs.video_levels import CtuLevelEnv, FrameLevelEnv
from dmic_gym.envs.video_observations import CTU_LEVEL, FRAME_LEVEL
from tests.envs.video_support import moving_clip, small_video_env
from tests.support import vesselness

CLIPS = [moving_clip(5), moving_clip(2, seed=1, name="short")]
SETTINGS: dict[str, Any] = {
    "dataset": CLIPS,
    "segmenter": vesselness,
    "ctu_size": 32,
    "preset": "ultrafast",
    "gop": 3,
}


class Mixed:
    """A policy whose actions differ from place to place and from frame to frame."""

    def predict(self, observation: Any, *, deterministic: bool) -> tuple[Any, Any]:
        assert deterministic
        shown = np.atleast_2d(observation["features"]), np.atleast_2d(observation["video"])
        total = sum(np.abs(each).sum(axis=1) for each in shown)
        return (1000 * np.asarray(total)).astype(np.int64) % 13, None


@pytest.mark.parametrize(
    ("level", "single", "steps"), [(FRAME_LEVEL, FrameLevelEnv, 5), (CTU_LEVEL, CtuLevelEnv, 20)]
)
def test_rows_are_the_episodes_of_single_environments(level: int, single: Any, steps: int) -> None:
    many = VideoLevelVectorEnv(level, Mixed(), 2, workers=2, **SETTINGS)
    ones = [single(small_video_env(dataset=CLIPS), Mixed()) for _ in range(2)]
    found, _ = many.reset(seed=5)
    for n, env in enumerate(ones):
        observation, _ = env.reset(seed=5 + n)
        assert all((found[key][n] == observation[key]).all() for key in observation)
    for actions in np.random.default_rng(0).integers(0, 13, (steps, 2)):
        found, rewards, terminated, _, infos = many.step(actions)
        for n, env in enumerate(ones):
            observation, reward, over, _, info = env.step(int(actions[n]))
            assert (rewards[n], terminated[n]) == (pytest.approx(reward), over)
            if over:
                np.testing.assert_array_equal(infos["final_info"]["qp_maps"][n], info["qp_maps"])
                observation, _ = env.reset()
            assert all((found[key][n] == observation[key]).all() for key in observation)
    many.close()
    for env in ones:
        env.close()


def test_maps_of_one_group_are_made_side_by_side() -> None:
    env = make_sb3_video_vec(4, maps_per_image=2, seed=3, base_qps=range(26, 48), **SETTINGS)
    env.reset()
    a, b, c, d = ((info["sample"], info["base_qp"]) for info in env.reset_infos)
    assert a == b
    assert c == d
    assert a != c
    env.close()
