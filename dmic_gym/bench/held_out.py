"""A policy's BD-rate on a few images or clips, while it is being trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm

from dmic_gym.agents.baselines import Agent
from dmic_gym.agents.planning import SteppingPlanner
from dmic_gym.agents.video_stepping import GopSteppingPlanner
from dmic_gym.bench.bdrate import RDCurve, bd_rate
from dmic_gym.bench.protocol import LOW_RATE_QPS
from dmic_gym.envs.evaluator import Evaluator, Figures
from dmic_gym.envs.settings import DEFAULT_QP_OFFSETS
from dmic_gym.envs.video_evaluator import VideoEvaluator
from dmic_gym.envs.video_settings import DEFAULT_GOP, Mode
from dmic_gym.tasks.data.clip import Clip
from dmic_gym.tasks.data.sample import Sample


def held_out_judge(
    evaluator: Evaluator, samples: Sequence[Sample]
) -> Callable[[BaseAlgorithm], dict[str, Any]]:
    """Return what codes `samples` by a model's map at each of `LOW_RATE_QPS`, one encode each.

    It returns ``bd_rate`` (percent against the anchor, None where undefined), the same on
    consistency Dice as ``bd_rate_consistency``, and the mean ``bits`` and ``dice`` (consistency
    Dice without expert mask) at each base QP.

    Args:
        evaluator: encoder and segmenter; the anchors' figures are kept there.
        samples: images that the model does not learn from.
    """

    def judge(model: BaseAlgorithm) -> dict[str, Any]:
        planner = SteppingPlanner(model, DEFAULT_QP_OFFSETS)
        return _figures(evaluator, planner, [evaluator.reference(sample) for sample in samples])

    return judge


def held_out_clips_judge(
    evaluator: VideoEvaluator, clips: Sequence[Clip], mode: Mode, other: Agent | None
) -> Callable[[BaseAlgorithm], dict[str, Any]]:
    """Return what codes clips as `held_out_judge` codes images, in groups of `DEFAULT_GOP` frames.

    Args:
        evaluator: encoder and segmenter.
        clips: that the model does not learn from.
        mode: what the model decides.
        other: decides the level that the model does not.
    """
    references = [gop for clip in clips for gop in clip.gops(DEFAULT_GOP)]

    def judge(model: BaseAlgorithm) -> dict[str, Any]:
        agents = {"frame": (model, other), "ctu": (other, model), "hierarchical": (model, model)}
        planner = GopSteppingPlanner(*agents[mode], DEFAULT_QP_OFFSETS)
        return _figures(evaluator, planner, [evaluator.reference(gop) for gop in references])

    return judge


def _figures(evaluator: Any, planner: Any, references: Sequence[Any]) -> dict[str, Any]:
    own, anchor = (
        [[found(reference, qp) for reference in references] for qp in LOW_RATE_QPS]
        for found in (
            lambda reference, qp: planner.plan(evaluator, reference, qp).result.figures,
            evaluator.anchor,
        )
    )
    curve = _curve(own)
    return {
        "bd_rate": bd_rate(_curve(anchor), curve).percent,
        "bd_rate_consistency": bd_rate(
            _curve(anchor, "consistency_dice"), _curve(own, "consistency_dice")
        ).percent,
        "bits": curve.bits.round().tolist(),
        "dice": curve.quality.round(4).tolist(),
    }


def _curve(figures: Sequence[Sequence[Figures]], quality: str = "quality") -> RDCurve:
    """Return the mean bits and quality at each base QP."""
    return RDCurve(
        np.array([np.mean([one.bits for one in at_qp]) for at_qp in figures]),
        np.array([np.mean([getattr(one, quality) for one in at_qp]) for at_qp in figures]),
    )
