"""What an episode came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np

from dmic_gym.envs.evaluator import Anchors, EncodeResult, Figures, ToolError
from dmic_gym.types import CTURewards, QPMap

Info = dict[str, Any]


@dataclass(frozen=True)
class Verdict:
    """What an episode came to.

    Attributes:
        reward: of its last step.
        truncated: whether a tool failed; otherwise the episode terminated.
        info: of its last step.
        result: the encode; None if there is none.
    """

    reward: float
    truncated: bool
    info: Info
    result: EncodeResult | None


_NOTHING = Figures(nan, nan, nan, nan, nan, nan)  # type: ignore[arg-type]
"""Of an episode without an encode."""


def end_info(
    anchors: Anchors, result: EncodeResult, terms: Mapping[str, float], credit: CTURewards
) -> Info:
    """Return the info of an episode that ended with an encode; `CodingEnv` documents it."""
    info = _info(anchors, result.qp_map, result.figures, anchors.base, terms)
    return {**info, "ctu_rewards": credit}


def failure_info(anchors: Anchors, qp_map: QPMap, error: ToolError) -> Info:
    """Return the same keys for an episode that a tool's failure has ended, and ``error``."""
    info = _info(anchors, qp_map, _NOTHING, _NOTHING, {})
    unknown = np.full(qp_map.shape, nan, np.float32)
    return {**info, "ctu_rewards": unknown, "error": f"{type(error).__name__}: {error}"}


def _info(
    anchors: Anchors, qp_map: QPMap, figures: Figures, base: Figures, terms: Mapping[str, float]
) -> Info:
    return {
        "sample": anchors.reference.name,
        "base_qp": anchors.base_qp,
        "bits": float(figures.bits),
        "slice_bits": float(figures.slice_bits),
        "dice": figures.dice,
        "consistency_dice": figures.consistency_dice,
        "psnr": figures.psnr,
        "anchor_bits": float(base.bits),
        "anchor_dice": base.dice,
        "qp_map": qp_map.copy(),
        "encodes": 1,
        "reward_terms": dict(terms),
    }
