"""A tool that fails is heard of, and one that fails for good ends the run."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv
from stable_baselines3 import A2C
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from dmic_gym import make_sb3_vec
from dmic_gym.codecs import X265Codec
from dmic_gym.codecs.base import Encoded
from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.envs.map_env import CodingMapEnv
from dmic_gym.errors import EncodeError, SegmenterError
from dmic_gym.tasks.data.sample import Sample
from tests.support import phantoms, play, small_env, texture, vesselness


class Failing(X265Codec):
    """Fails in the encodes of the given numbers, in all without numbers."""

    def __init__(self, *numbers: int) -> None:
        super().__init__(64, "ultrafast")
        self.numbers, self.count = numbers, 0

    def encode(self, frames: Any, qp_maps: Any) -> list[Encoded]:
        self.count += 1
        if not self.numbers or self.count in self.numbers:
            raise EncodeError("out of order")
        return super().encode(frames, qp_maps)


ONE_STEP: dict[str, Any] = {
    "dataset": phantoms(2, 64),
    "segmenter": vesselness,
    "reward": "linear",
    "base_qps": (32,),
}


def test_the_first_failure_is_warned_of_and_the_tenth_raised() -> None:
    env = CodingEnv(codec=Failing(), **ONE_STEP)
    env.reset(seed=0)
    with pytest.warns(RuntimeWarning, match=r"reward 0: EncodeError: out of order.*After 10"):
        assert env.step(3)[3]
    for _ in range(8):
        env.reset()
        assert env.step(3)[3]
    env.reset()
    with pytest.raises(EncodeError, match=r"10 episodes in a row failed.*out of order"):
        env.step(3)


@pytest.mark.parametrize("make", [CodingMapEnv, CodingEnv])
def test_max_failures_says_how_many(make: Any) -> None:
    env = make(codec=Failing(), max_failures=2, **ONE_STEP)
    env.reset(seed=0)
    action = [3] if make is CodingMapEnv else 3
    with pytest.warns(RuntimeWarning, match="After 2"):
        env.step(action)
    env.reset()
    with pytest.raises(EncodeError, match="2 episodes in a row"):
        env.step(action)


def test_an_episode_that_goes_well_ends_the_row() -> None:
    env = CodingEnv(codec=Failing(1, 4, 5), max_failures=3, **ONE_STEP)
    ends = []
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        for _ in range(5):
            env.reset(options={"sample": 0})
            ends.append(env.step(3)[3])
    assert ends == [True, False, True, True, False]  # encodes 1, 2 (and its anchor 3), 4, 5, 6
    assert len(heard) == 1


def test_a_failed_episode_has_the_usual_keys() -> None:
    env = CodingEnv(codec=Failing(1), **ONE_STEP)
    with pytest.warns(RuntimeWarning):
        _, failed = play(env, lambda _: 4, seed=0)
    _, info = play(env, lambda _: 3)
    assert set(failed) == {*info, "error"}
    for key in ("bits", "slice_bits", "dice", "consistency_dice", "psnr", "anchor_bits"):
        assert np.isnan(failed[key]), key
        assert np.isfinite(info[key]), key
    assert failed["qp_map"].tolist() == [[35]]
    assert failed["reward_terms"] == {}


def test_monitored_training_goes_on_after_a_failure() -> None:
    for vec in (
        make_sb3_vec(2, codec=Failing(3), **ONE_STEP),
        DummyVecEnv([lambda: CodingEnv(codec=Failing(3), **ONE_STEP)] * 2),
    ):
        monitored = VecMonitor(vec, info_keywords=("bits", "dice"))
        model = A2C("MultiInputPolicy", monitored, n_steps=4, seed=0)
        with pytest.warns(RuntimeWarning, match="out of order"):
            model.learn(16)
        bits = [episode["bits"] for episode in model.ep_info_buffer or []]
        assert 0 < np.isnan(bits).sum() < len(bits)
        vec.close()


def test_gymnasium_gathers_failures_and_encodes() -> None:
    envs = SyncVectorEnv(
        [
            lambda: CodingEnv(codec=Failing(100), **ONE_STEP),
            lambda: CodingEnv(codec=Failing(1), **ONE_STEP),
        ]
    )
    envs.reset(seed=0)
    with pytest.warns(RuntimeWarning):
        *_, infos = envs.step(np.array([3, 3]))
    assert np.isnan(infos["bits"]).tolist() == [False, True]
    envs.close()


def test_a_segmenter_that_fails_for_good_is_raised() -> None:
    def tired(images: Any, /) -> Any:
        if any((image != texture((64, 64))).any() for image in images):
            raise MemoryError("no room")
        return vesselness(images)

    env = small_env(dataset=[Sample(texture((64, 64)))], segmenter=tired, max_failures=1)
    env.reset(seed=0)
    with pytest.raises(SegmenterError, match=r"1 episodes in a row failed.*no room"):
        env.step(12)
