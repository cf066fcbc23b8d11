"""Coding a clip, group by group, to one row."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from dmic_gym.agents.video_planning import GopPlan, GopPlanner
from dmic_gym.bench.cells import Cell, Row
from dmic_gym.envs.parallel import processor_seconds
from dmic_gym.envs.results import Figures, encode_result
from dmic_gym.envs.video_evaluator import (
    GopReference,
    GopResult,
    VideoEvaluator,
)
from dmic_gym.envs.video_results import joined
from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.data.clip import Clip
from dmic_gym.tasks.segmenters.protocol import segmenter_for_clip


def code_clip(
    evaluator: VideoEvaluator,
    planner: GopPlanner,
    clip: Clip,
    cell: Cell,
    second: VideoEvaluator | None = None,
) -> Row:
    """Let a planner code a clip, one group of pictures after the other.

    Args:
        evaluator: encoder and segmenter.
        planner: chooses the QPs.
        clip: the frames.
        cell: base QP and length of the groups.
        second: scores the reconstructions with a segmenter that no agent asks; see `make_row`.

    Raises:
        CodecError: the encoder or decoder failed.
        SegmenterError: the segmenter failed.
    """
    references = references_of(evaluator, clip, cell)
    begin = processor_seconds()
    plans = [planner.plan(evaluator, reference, cell.point) for reference in references]
    seconds = processor_seconds() - begin + sum(plan.seconds_saved for plan in plans)
    return _row(references, plans, seconds, second)


def replay_clip(
    evaluator: VideoEvaluator,
    clip: Clip,
    cell: Cell,
    qp_maps: Sequence[Any],
    second: VideoEvaluator | None = None,
) -> Row:
    """Code a clip with given maps, one a frame; see `code_clip`.

    Raises:
        InvalidInputError: the maps do not fit the clip.
    """
    references = references_of(evaluator, clip, cell)
    begin = processor_seconds()
    results = list(coded_groups(evaluator, references, cell.point, qp_maps))
    plans = [GopPlan(result, 1) for result in results]
    return _row(references, plans, processor_seconds() - begin, second)


def references_of(evaluator: VideoEvaluator, clip: Clip, cell: Cell) -> list[GopReference]:
    """Return what is known of a clip's groups before coding them."""
    assert cell.gop is not None
    return [evaluator.reference(gop) for gop in clip.gops(cell.gop)]


def coded_groups(
    evaluator: VideoEvaluator,
    references: Sequence[GopReference],
    base_qp: int,
    qp_maps: Sequence[Any],
) -> Iterator[GopResult]:
    """Code all groups of a clip with given maps, one a frame of the clip.

    Raises:
        InvalidInputError: the maps do not fit the clip.
    """
    clip = references[0].gop.clip
    if len(qp_maps) != len(clip):
        raise InvalidInputError(
            f"{clip.name} has {len(clip)} frames, got {len(qp_maps)} QP maps: pass one a frame."
        )
    for reference in references:
        gop = reference.gop
        maps = [np.array(qp_map) for qp_map in qp_maps[gop.start : gop.stop]]
        yield evaluator.score(reference, base_qp, maps)


def _row(
    references: Sequence[GopReference],
    plans: Sequence[GopPlan],
    seconds: float,
    second: VideoEvaluator | None,
) -> Row:
    results = [plan.result for plan in plans]
    scored = np.concatenate([reference.scored for reference in references])
    counted = scored if scored.any() else ~scored
    figures = joined([frame.figures for result in results for frame in result.frames], counted)
    seen = None
    if second is not None:
        pairs = zip(references, results, strict=True)
        seen = joined([one for pair in pairs for one in _seen_by(second, *pair)], counted)
    lengths = [len(reference.gop) for reference in references]
    return Row(
        second_dice=None if seen is None else seen.dice,
        second_consistency_dice=None if seen is None else seen.consistency_dice,
        encodes=float(np.average([plan.encodes for plan in plans], weights=lengths)),
        seconds=seconds,
        qp_map=np.concatenate([result.qp_maps for result in results]).tolist(),
        sha256=hashlib.sha256(b"".join(result.bitstream for result in results)).hexdigest(),
        **asdict(figures),
    )


def _seen_by(
    second: VideoEvaluator, reference: GopReference, result: GopResult
) -> Iterator[Figures]:
    segmenter = segmenter_for_clip(second.segmenter, reference.gop.clip)
    own = second.reference(reference.gop)
    for index, frame in enumerate(result.frames):
        probability = second.segment(segmenter, frame.encoded.reconstruction)
        yield encode_result(own.frame(index), frame.encoded, probability, frame.qp_map).figures
