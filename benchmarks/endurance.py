"""Play many episodes in one process and watch its memory.

python benchmarks/endurance.py --episodes 2000 --json benchmarks/results/endurance.json
"""

from __future__ import annotations

import argparse
import json
import os
import threading
from pathlib import Path

import gymnasium as gym

import dmic_gym  # noqa: F401
from dmic_gym.data import Phantoms

_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_mb() -> float:
    """Return the resident memory of this process in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE / 1e6


def state(episode: int) -> dict[str, float]:
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    return {
        "episode": episode,
        "resident_mb": round(resident_mb(), 1),
        "descriptors": descriptors,
        "threads": threading.active_count(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=2000)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--ctu", type=int, default=64)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    data = Phantoms(count=options.images, size=options.size, seed=0)
    env = gym.make("CodingEnv-v0", dataset=data, ctu_size=options.ctu)
    env.action_space.seed(0)
    env.reset(seed=0)
    rows = []
    for episode in range(options.episodes + 1):
        if episode % max(1, options.episodes // 10) == 0:
            rows.append(state(episode))
            print(rows[-1], flush=True)
        over = False
        while not over:
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            over = terminated or truncated
        env.reset()
    env.close()
    if options.json:
        settings = {"size": options.size, "images": options.images, "ctu_size": options.ctu}
        options.json.write_text(json.dumps({**settings, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
