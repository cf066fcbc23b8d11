"""What a benchmark run was made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dmic_gym.codecs.hevc.params import x265_params
from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.io import versions_of
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.segmenters.find import describe_segmenter

PROTOCOL = 1
"""Raised by hand whenever a change makes old and new figures incomparable."""

ANCHOR = "anchor"
"""The agent that all others are compared with."""

STANDARD_QPS = (22, 27, 32, 37)
LOW_RATE_QPS = (32, 37, 42, 47)

PACKAGES = (
    "dmic_gym",
    "av",
    "bjontegaard",
    "gymnasium",
    "numpy",
    "opencv-python-headless",
    "torch",
)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that influence a result."""
    return versions_of(PACKAGES)


def split_by_use(samples: Sequence[Sample]) -> tuple[list[Sample], list[str]]:
    """Return the samples to code, and the names of those left out: their expert mask is empty.

    A Dice against an empty mask is 0 or 1 whatever the image, so it says nothing of a codec.
    """
    empty = [s.name for s in samples if s.mask is not None and not np.any(s.mask)]
    return [s for s in samples if s.name not in empty], empty


def describe(
    env: CodingEnv,
    *,
    data: str,
    qp_sets: Mapping[str, Sequence[int]],
    used: Sequence[Sample],
    left_out: Sequence[str],
    second: Any,
    command: str,
) -> dict[str, Any]:
    """Return the ``protocol`` part of ``results.json``: all it takes to run it again."""
    codec = env.evaluator.codec
    overrides = getattr(codec, "x265_params", None)
    return {
        "protocol": PROTOCOL,
        "data": data,
        "images": len(used),
        "left_out_empty_mask": list(left_out),
        "base_qps": sorted({qp for qps in qp_sets.values() for qp in qps}),
        "qp_sets": {name: list(qps) for name, qps in qp_sets.items()},
        "ctu_size": codec.ctu_size,
        "preset": getattr(codec, "preset", None),
        "codec": repr(codec),
        "x265_params": x265_params(0, codec.ctu_size, overrides).replace("crf=0", "crf=QP"),
        "qp_offsets": list(env.qp_offsets),
        "segmenter": describe_segmenter(env.evaluator.segmenter),
        "second_segmenter": None if second is None else describe_segmenter(second),
        "quality": "Dice against the expert mask; mean bits against mean Dice over images",
        "bd_rate": "bjontegaard, pchip on log rate, non-dominated points, total bits",
        "interval": "95 % percentile bootstrap over images, 1000 resamples, seed 0",
        "versions": versions(),
        "command": command,
    }
