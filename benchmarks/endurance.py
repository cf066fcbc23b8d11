"""Run for long in one process, or in several, and watch memory, descriptors and threads.

    python benchmarks/endurance.py --episodes 2000 --json benchmarks/results/endurance.json
    python benchmarks/endurance.py --cycles 10000 --processes 2 \
        --json benchmarks/results/endurance-cycles.json

An episode is one of CodingEnv on phantoms of one size. A cycle codes a picture of random size,
depth and QP into a random format, decodes it, compares, and segments what was decoded. The more
sizes there are, the longer memory takes to level off: PyTorch keeps what it prepared for each.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import dmic_gym  # noqa: F401
from dmic_gym.codecs import X265Codec, uniform_map
from dmic_gym.tasks.data import Phantoms

_PAGE = os.sysconf("SC_PAGE_SIZE")
_FORMATS = (("x265", 8), ("hevc", 8), ("hevc", 10), ("hevc", 12), ("mp4", 8), ("mp4", 10))
_LEAST, _MOST = 64, 192


def resident_mb() -> float:
    """Return the resident memory of this process in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE / 1e6


def state(done: int) -> dict[str, float]:
    return {
        "done": done,
        "resident_mb": round(resident_mb(), 1),
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "threads": len(list(Path("/proc/self/task").iterdir())),
    }


def watch(steps: Iterator[None], count: int, say: Callable[[str], None]) -> list[dict[str, float]]:
    """Take `count` steps; return the process's state at twenty moments."""
    rows = []
    for done in range(count + 1):
        if done % max(1, count // 20) == 0:
            rows.append(state(done))
            say(str(rows[-1]))
        next(steps)
    return rows


def episodes(options: argparse.Namespace) -> Iterator[None]:
    data = Phantoms(count=options.images, size=options.size, seed=0)
    env = gym.make("CodingEnv-v0", dataset=data, ctu_size=options.ctu)
    env.action_space.seed(0)
    env.reset(seed=0)
    while True:
        over = False
        while not over:
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            over = terminated or truncated
        env.reset()
        yield


def cycles(seed: int, sizes: int) -> Iterator[None]:
    from dmic_gym.deploy.coder import Coder, Settings
    from dmic_gym.deploy.decoding import decode_picture
    from dmic_gym.deploy.pictures import Picture
    from dmic_gym.tasks.segmenters.network import load_segmenter

    rng = np.random.default_rng(seed)
    segment = load_segmenter()
    codec = X265Codec(64, "ultrafast")
    images = [sample.image for sample in Phantoms(count=8, size=_MOST, seed=seed)]
    sides = rng.integers(_LEAST, _MOST + 1, (sizes, 2))
    while True:
        height, width = map(int, sides[rng.integers(sizes)])
        image = images[int(rng.integers(len(images)))][:height, :width]
        qp, (form, depth) = int(rng.integers(52)), _FORMATS[int(rng.integers(len(_FORMATS)))]
        if form == "x265":
            encoded = codec.encode([image], [uniform_map(image.shape, 64, qp)])[0]
            decoded, expected = codec.decode(encoded.bitstream)[0], encoded.reconstruction
        else:
            samples = image if depth == 8 else image.astype(np.uint16) << (depth - 8)
            with Coder(Settings("anchor", qp, preset="ultrafast")) as coder:
                made = coder.encode(Picture(np.ascontiguousarray(samples), depth), form)
            picture = decode_picture(made.data)
            decoded, expected = picture.eight_bit[0], made.reconstruction.eight_bit[0]
        if not np.array_equal(decoded, expected) or decoded.shape != image.shape:
            raise AssertionError(f"{form} of {depth} bits at QP {qp} came back as another picture")
        segment(decoded[None])
        yield


def run_cycles(count: int, seed: int, sizes: int) -> list[dict[str, float]]:
    import torch

    torch.set_num_threads(1)
    return watch(cycles(seed, sizes), count, lambda row: print(f"{seed}: {row}", flush=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=2000)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--ctu", type=int, default=64)
    parser.add_argument("--cycles", type=int, help="in place of episodes, in each process")
    parser.add_argument("--sizes", type=int, default=16, help="of the pictures of cycles")
    parser.add_argument("--processes", type=int, default=1, help="that run cycles at once")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    record: dict[str, Any]
    if options.cycles:
        jobs = [(options.cycles, seed, options.sizes) for seed in range(options.processes)]
        with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
            rows = pool.starmap(run_cycles, jobs)
        sides = {"sizes": options.sizes, "sides": [_LEAST, _MOST]}
        record = {"cycles": options.cycles, **sides, "processes": rows}
    else:
        rows_of_one = watch(episodes(options), options.episodes, lambda row: print(row, flush=True))
        settings = {"size": options.size, "images": options.images, "ctu_size": options.ctu}
        record = {**settings, "rows": rows_of_one}
    if options.json:
        options.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
