"""What grows with what: time and memory against pixels, CTU size, environments, jobs, images.

    python benchmarks/scaling.py [--quick] --out benchmarks/results/scaling

Every row is measured in a process of its own, so that its peak of memory is its own. Writes
OUT.json and OUT.md. Phantoms, preset medium, one torch thread a process. The nodes of the Ray
cluster have one CPU each and are on this machine; their memory and processor time are not seen.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from measure.common import BASE_QP, Row, machine, markdown, network, random_actions, samples

from dmic_gym import X265Codec
from dmic_gym.bench.definition import Definition
from dmic_gym.bench.engines import make_engine
from dmic_gym.bench.plan import Engine
from dmic_gym.bench.runner import run_sweep
from dmic_gym.bench.store import Store
from dmic_gym.codecs.base import uniform_map
from dmic_gym.envs.evaluator import Evaluator
from dmic_gym.envs.parallel import processor_seconds
from dmic_gym.envs.vector_env import CodingVectorEnv

_QPS = [27, 32, 37]


@dataclass(frozen=True)
class Extent:
    """How far to go.

    Attributes:
        sides: of the pictures.
        envs: numbers of environments.
        jobs: numbers of processes.
        nodes: numbers of nodes of a Ray cluster; none where Ray is not installed.
        images: of the sweeps at one process.
    """

    sides: tuple[int, ...] = (256, 512, 1024, 2048, 4096)
    envs: tuple[int, ...] = (1, 4, 16, 64, 256)
    jobs: tuple[int, ...] = (1, 2)
    nodes: tuple[int, ...] = (1, 2) if find_spec("ray") else ()
    images: tuple[int, ...] = (10, 100, 1000)


QUICK = Extent((256, 512), (1, 4), (1, 2), (), (5, 20))


def one_encode(side: int, ctu_size: int) -> Row:
    """Encode, decode and segment a picture once; the first call sets things up."""
    evaluator = Evaluator(X265Codec(ctu_size), network())
    reference = evaluator.reference(samples(1, side)[0])
    begin = _clock()
    evaluator.score(reference, uniform_map((side, side), ctu_size, BASE_QP))
    return _told(begin, 1)


def steps(count: int) -> Row:
    """Step environments through two episodes of four CTUs."""
    env = CodingVectorEnv(
        count, dataset=samples(2, 128), segmenter=network(), base_qps=(BASE_QP,), reward="linear"
    )
    env.reset(seed=0)
    actions = random_actions(8, count)
    begin = _clock()
    for chosen in actions:
        env.step(chosen)
    return _told(begin, actions.size)


def sweep(images: int, jobs: int) -> Row:
    """Code small phantoms by two agents at three QPs, rows kept in memory."""
    return _swept(images, make_engine(jobs))


def cluster(images: int, nodes: int) -> Row:
    """Code the same on a Ray cluster of nodes with one CPU each."""
    from ray.cluster_utils import Cluster

    started: Any = Cluster()
    try:
        for _ in range(nodes):
            started.add_node(num_cpus=1)
        row = _swept(images, make_engine(ray=started.address))
    finally:
        started.shutdown()
    return {**row, "processor ms each": None, "peak MB": None, "of a worker": None}


def _swept(images: int, engine: Engine) -> Row:
    definition = Definition.of(
        {"data": [f"phantoms?count={images}&size=64"], "agents": ["roi"], "base_qps": _QPS}
    )
    begin = _clock()
    with Store.in_memory() as store:
        run_sweep(definition, store, engine)
    return _told(begin, images * 2 * len(_QPS))


def _clock() -> tuple[float, float]:
    return time.perf_counter(), processor_seconds()


def _told(begin: tuple[float, float], count: int) -> Row:
    """Return the time since `begin` by unit of work, and the peak of memory."""
    wall, processor = (now - then for now, then in zip(_clock(), begin, strict=True))
    peaks = [
        resource.getrusage(who).ru_maxrss / 1024
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    return {
        "of": count,
        "wall ms each": 1e3 * wall / count,
        "processor ms each": 1e3 * processor / count,
        "peak MB": peaks[0],
        "of a worker": peaks[1] or None,
    }


def _alone(function: Callable[..., Row], *arguments: int) -> Row:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        return pool.submit(function, *arguments).result()


def rows(extent: Extent) -> Iterator[Row]:
    """Yield the table, row by row."""
    for ctu_size in (64, 32, 16):
        for side in extent.sides:
            what = f"encode + segment, {side}x{side}, CTU {ctu_size}"
            yield {"what": what, **_alone(one_encode, side, ctu_size)}
    for count in extent.envs:
        yield {"what": f"a CTU step, {count} environments", **_alone(steps, count)}
    for jobs in extent.jobs:
        what = f"a cell, {extent.images[1]} images, {jobs} jobs"
        yield {"what": what, **_alone(sweep, extent.images[1], jobs)}
    for nodes in extent.nodes:
        what = f"a cell, {extent.images[1]} images, Ray, {nodes} nodes"
        yield {"what": what, **_alone(cluster, extent.images[1], nodes)}
    for images in extent.images:
        yield {"what": f"a cell, {images} images, 1 job", **_alone(sweep, images, 1)}


def growth(table: list[Row], ctu_size: int) -> float:
    """Return the exponent of processor time in the number of pixels; 1 is linear."""
    chosen = [row for row in table if row["what"].endswith(f"CTU {ctu_size}")]
    sides = [int(row["what"].split()[3].split("x")[0]) for row in chosen]
    times = [row["processor ms each"] for row in chosen]
    return float(np.polyfit(2 * np.log(sides), np.log(times), 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small one")
    parser.add_argument("--out", type=Path, required=True, help="where to write, without suffix")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that are started
    table: list[Row] = []
    for row in rows(QUICK if given.quick else Extent()):
        print(row, flush=True)
        table.append(row)
    exponents = {size: round(growth(table, size), 2) for size in (64, 32, 16)}
    about = machine()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    record = {"machine": about, "exponent_in_pixels": exponents, "rows": table}
    given.out.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    words = [
        "# Scaling",
        f"Exponent of processor time in the number of pixels, by CTU size: {exponents}.",
        "\n".join(f"- {name}: {value}" for name, value in about.items()),
        markdown(table),
    ]
    given.out.with_suffix(".md").write_text("\n\n".join(words) + "\n")


if __name__ == "__main__":
    main()
