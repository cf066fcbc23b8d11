"""What all measurements share: images, networks, interleaved timing, tables."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dmic_gym.envs.settings import DEFAULT_QP_OFFSETS
from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.data import Phantoms, Sample
from dmic_gym.tasks.segmenters.architectures import build
from dmic_gym.tasks.segmenters.network import NetworkSegmenter, load_segmenter

Row = dict[str, Any]
BASE_QP = 32


@dataclass(frozen=True)
class Scale:
    """How much to measure.

    Attributes:
        rounds: repetitions of each timing.
        images: images of the floor ratios.
        envs: sub-environments of the vector forms.
        sides: image sides of the size table.
        learn_steps: steps of the training loop, per sub-environment.
        presets: of the floor ratios, the first for the headline.
        all_memory: also start processes only to see how they grow with environments.
    """

    rounds: int = 9
    images: int = 16
    envs: int = 8
    sides: tuple[int, ...] = (128, 256, 512, 1024, 2048)
    learn_steps: int = 200
    presets: tuple[str, ...] = ("ultrafast", "medium")
    all_memory: bool = True


QUICK = Scale(
    rounds=2,
    images=4,
    envs=2,
    sides=(128, 256),
    learn_steps=25,
    presets=("ultrafast",),
    all_memory=False,
)


def samples(count: int, size: int = 300) -> list[Sample]:
    return list(Phantoms(count, size))


def network(device: str = "auto") -> NetworkSegmenter:
    """The shipped network, or one of its cost with random weights where none is shipped."""
    try:
        return load_segmenter("unet", device)
    except InvalidInputError:
        torch.manual_seed(0)
        return NetworkSegmenter(build("unet"), device)


def random_actions(steps: int, envs: int, seed: int = 0) -> npt.NDArray[np.int64]:
    """Actions (steps, envs), uniform over the default table."""
    return np.random.default_rng(seed).integers(0, len(DEFAULT_QP_OFFSETS), (steps, envs))


def seconds(function: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def interleave(functions: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Time the functions in turns, so that other load hits all alike; the first turn is dropped."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    order = list(functions)
    for turn in range(rounds + 1):
        for name in order if turn % 2 else order[::-1]:
            times[name].append(seconds(functions[name]))
    return {name: taken[1:] for name, taken in times.items()}


def median(times: Sequence[float]) -> float:
    return statistics.median(times)


def ratio(times: Sequence[float], floor: Sequence[float]) -> float:
    """Median over the turns of time over floor."""
    return statistics.median(a / b for a, b in zip(times, floor, strict=True))


def machine() -> Row:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    cuda = torch.cuda.is_available()
    return {
        "processor": model,
        "processors": len(os.sched_getaffinity(0)),
        "gpu": torch.cuda.get_device_name() if cuda else "none",
        "load_average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{name: version(name) for name in ("av", "gymnasium", "numpy", "stable_baselines3")},
        "torch": torch.__version__,
        "segmenter": repr(network()),
    }


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table; numbers with three significant digits."""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(_text(row.get(name)) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return "" if value is None else str(value)
