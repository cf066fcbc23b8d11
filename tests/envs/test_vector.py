"""Several environments at once: in this process, in others, and from other processes."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

from dmic_gym.envs.observations import PROGRESS
from dmic_gym.tasks.data.phantoms.dataset import Phantoms
from tests.support import python, small_env, trajectory, vesselness

KWARGS: dict[str, Any] = {
    "dataset": Phantoms(2, 70),
    "segmenter": vesselness,
    "preset": "ultrafast",
    "reward": "linear",
}
MAKERS = [partial(gym.make, "dmic_gym:CodingEnv-v0", **KWARGS) for _ in range(2)]


def run(envs: Any, steps: int = 9) -> list[Any]:
    """Step both environments with the same actions; collect what they show."""
    observation, _ = envs.reset(seed=[1, 2])
    rng = np.random.default_rng(0)
    seen: list[Any] = [{k: v.copy() for k, v in observation.items()}]
    for _ in range(steps):
        observation, reward, terminated, truncated, info = envs.step(rng.integers(13, size=2))
        assert not truncated.any()
        seen += [{k: v.copy() for k, v in observation.items()}, reward, terminated]
        final = info.get("final_info", info)
        seen += [final["bits"]] if "bits" in final else []
    return seen


def assert_same(one: list[Any], other: list[Any]) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        if isinstance(a, dict):
            assert a.keys() == b.keys()
            for key in a:
                np.testing.assert_array_equal(a[key], b[key])
        else:
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("context", ["spawn", "forkserver"])
def test_other_processes_see_what_this_one_sees(context: str) -> None:
    with_processes = AsyncVectorEnv(MAKERS, context=context)
    here = SyncVectorEnv(MAKERS)
    try:
        seen = run(with_processes)
        assert_same(seen, run(here))
    finally:
        with_processes.close()
        here.close()
    assert any(isinstance(part, np.ndarray) and part.dtype == bool and part.all() for part in seen)


def test_make_vec() -> None:
    envs = gym.make_vec("dmic_gym:CodingEnv-v0", num_envs=2, vectorization_mode="sync", **KWARGS)
    here = SyncVectorEnv(MAKERS)
    assert envs.single_action_space == gym.spaces.Discrete(13)
    assert_same(run(envs), run(here))
    envs.close()
    here.close()


def test_same_step_autoreset_keeps_the_last_info() -> None:
    envs = SyncVectorEnv(MAKERS, autoreset_mode=AutoresetMode.SAME_STEP)
    envs.reset(seed=0)
    for _ in range(4):
        observation, reward, terminated, _, info = envs.step(np.array([3, 5]))
    assert terminated.all()
    assert set(info["final_info"]) >= {"bits", "dice", "qp_map"}
    assert (observation["features"][:, PROGRESS] == 0).all()  # the next episode has begun
    np.testing.assert_array_equal(info["final_info"]["encodes"], [1, 1])
    assert reward[0] == 0.0
    envs.close()


def sb3_run(envs: Any, steps: int = 6) -> list[Any]:
    envs.seed(3)
    seen: list[Any] = [envs.reset()]
    for _ in range(steps):
        observation, reward, done, infos = envs.step(np.array([2, 9]))
        seen += [observation, reward.astype(np.float32), done, [info.get("bits") for info in infos]]
    return seen


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_stable_baselines_vectors(method: str) -> None:
    here, there = DummyVecEnv(MAKERS), SubprocVecEnv(MAKERS, start_method=method)  # type: ignore[arg-type]
    try:
        assert_same(sb3_run(here), sb3_run(there))
    finally:
        here.close()
        there.close()


def test_same_seed_same_trajectory() -> None:
    assert trajectory(7) == trajectory(7) != trajectory(8)


def test_same_trajectory_in_other_processes() -> None:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        assert pool.submit(trajectory, 11).result() == trajectory(11)
    code = "from tests.support import trajectory; print(trajectory(11))"
    for hash_seed in ("0", "1"):
        done = python("-c", code, PYTHONHASHSEED=hash_seed)
        assert done.stdout.strip() == trajectory(11), done.stderr


def test_a_trajectory_depends_on_no_other_episode() -> None:
    env = small_env()
    for seed in (3, 4, 3):
        env.reset(seed=seed)
        for action in (0, 12, 5):
            env.step(action)
    assert trajectory(7) == trajectory(7)
    observation, info = env.reset(seed=9)
    fresh, fresh_info = small_env().reset(seed=9)
    assert info == fresh_info
    assert_same([observation], [fresh])


@pytest.mark.slow
def test_memory_stays_flat_over_many_episodes() -> None:
    import resource

    env = gym.make("dmic_gym:CodingEnv-v0", **{**KWARGS, "reward": "rate_saving"})

    def episodes(count: int) -> int:
        for seed in range(count):
            env.reset(seed=seed)
            while not env.step(env.action_space.sample())[2]:
                pass
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = episodes(600)  # x265's encoders and the allocator have settled, within some 20 MB
    assert episodes(1400) - before < 40_000  # kB
