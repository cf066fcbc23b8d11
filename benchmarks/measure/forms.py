"""(c, d) Steps a second and memory of the ways to run many environments."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from stable_baselines3.common.vec_env import SubprocVecEnv

from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.envs.vector_env import CodingVectorEnv
from measure.common import (
    BASE_QP,
    Row,
    Scale,
    interleave,
    median,
    network,
    random_actions,
    ratio,
    samples,
)
from measure.floor import CTUS

IMAGES = 2


def arguments() -> dict[str, Any]:
    """Few images and one anchor each: caches are soon full, so that only steps are measured."""
    return {
        "dataset": samples(IMAGES),
        "segmenter": network(),
        "base_qps": (BASE_QP,),
        "reward": "linear",
        "preset": "ultrafast",
    }


def make_single() -> CodingEnv:
    return CodingEnv(**arguments())


def forms(scale: Scale) -> tuple[list[Row], list[Row]]:
    """Return the tables of steps a second and of memory."""
    count = scale.envs
    actions = random_actions(CTUS, count)
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"  # of the child processes: their best case
    shared = arguments()
    made: dict[str, Any] = {
        "CodingVectorEnv": CodingVectorEnv(count, **shared),
        "SyncVectorEnv": SyncVectorEnv([partial(CodingEnv, **shared)] * count),
        "AsyncVectorEnv": AsyncVectorEnv([make_single] * count, context="spawn"),
        "SubprocVecEnv": SubprocVecEnv([make_single] * count, start_method="spawn"),
    }
    _restore("OMP_NUM_THREADS", before)
    runs = {name: partial(_play, env, actions) for name, env in made.items()}
    for name, env in made.items():
        _fill_caches(env, runs[name])
    times = interleave(runs, max(2, scale.rounds // 2))
    memory = _memory(scale, made)
    for env in made.values():
        env.close()
    speed = [
        {
            "form": name,
            "envs": count,
            "steps a second": count * CTUS / median(taken),
            "time over CodingVectorEnv": ratio(taken, times["CodingVectorEnv"]),
        }
        for name, taken in times.items()
    ]
    return speed, memory


def _restore(name: str, value: str | None) -> None:
    del os.environ[name]
    if value is not None:
        os.environ[name] = value


def _play(env: Any, actions: Any) -> None:
    env.reset()
    for chosen in actions:
        env.step(chosen)


def _fill_caches(env: Any, run: Callable[[], None]) -> None:
    for image in range(IMAGES):
        if isinstance(env, SubprocVecEnv):
            env.set_options({"sample": image})
            env.reset()
        else:
            env.reset(options={"sample": image})
    for _ in range(2):
        run()


def _memory(scale: Scale, made: dict[str, Any]) -> list[Row]:
    """Proportional set size of the child processes; growth of one process with its rows."""
    processes = {
        "AsyncVectorEnv": made["AsyncVectorEnv"].processes,
        "SubprocVecEnv": made["SubprocVecEnv"].processes,
    }
    rows = [
        {"form": name, "MB an environment": np.mean([_pss(child.pid) for child in children]) / 1e6}
        for name, children in processes.items()
    ]
    if not scale.all_memory:
        return rows
    few, many = scale.envs, 9 * scale.envs
    context = multiprocessing.get_context("spawn")
    for name in ("CodingVectorEnv", "SyncVectorEnv"):
        sizes = []
        for count in (few, many):
            with ProcessPoolExecutor(1, context) as alone:
                sizes.append(alone.submit(_size_of, name, count).result())
        grown = (sizes[1] - sizes[0]) / (many - few)
        rows.append({"form": name, "MB an environment": grown / 1e6})
    return rows


def _size_of(name: str, count: int) -> int:
    """Resident bytes of this process with a form of `count` environments that has stepped."""
    shared = arguments()
    env: Any = (
        CodingVectorEnv(count, **shared)
        if name == "CodingVectorEnv"
        else SyncVectorEnv([partial(CodingEnv, **shared)] * count)
    )
    _play(env, random_actions(CTUS - 1, count))
    size = _pss(os.getpid())
    env.close()
    return size


def _pss(pid: int | None) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
