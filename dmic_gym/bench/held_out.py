"""A policy's BD-rate on a few images, while it is being trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm

from dmic_gym.agents.planning import SteppingPlanner
from dmic_gym.bench.bdrate import RDCurve, bd_rate
from dmic_gym.bench.protocol import LOW_RATE_QPS
from dmic_gym.envs.evaluator import Evaluator, Figures
from dmic_gym.envs.settings import DEFAULT_QP_OFFSETS
from dmic_gym.tasks.data.sample import Sample


def held_out_judge(
    evaluator: Evaluator, samples: Sequence[Sample]
) -> Callable[[BaseAlgorithm], dict[str, Any]]:
    """Return what codes `samples` by a model's map at each of `LOW_RATE_QPS`, one encode each.

    It returns ``bd_rate`` (percent against the anchor, None where undefined), and the mean ``bits``
    and ``dice`` (consistency Dice without expert mask) at each base QP.

    Args:
        evaluator: encoder and segmenter; the anchors' figures are kept there.
        samples: images that the model does not learn from.
    """

    def judge(model: BaseAlgorithm) -> dict[str, Any]:
        planner = SteppingPlanner(model, DEFAULT_QP_OFFSETS)
        references = [evaluator.reference(sample) for sample in samples]
        own, anchor = (
            _curve([[figures(reference, qp) for reference in references] for qp in LOW_RATE_QPS])
            for figures in (
                lambda reference, qp: planner.plan(evaluator, reference, qp).result.figures,
                evaluator.anchor,
            )
        )
        return {
            "bd_rate": bd_rate(anchor, own).percent,
            "bits": own.bits.round().tolist(),
            "dice": own.quality.round(4).tolist(),
        }

    return judge


def _curve(figures: Sequence[Sequence[Figures]]) -> RDCurve:
    """Return the mean bits and quality at each base QP."""
    return RDCurve(
        np.array([np.mean([one.bits for one in at_qp]) for at_qp in figures]),
        np.array([np.mean([one.quality for one in at_qp]) for at_qp in figures]),
    )
