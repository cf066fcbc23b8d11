"""Credit in video: a group's reward decomposed over the CTUs of all frames."""

from __future__ import annotations

import numpy as np

from dmic_gym.codecs.base import uniform_map
from dmic_gym.envs.bit_model import BitModel
from dmic_gym.envs.credit import Prices, dice_gains, share_out
from dmic_gym.envs.evaluator import Anchors
from dmic_gym.envs.rewards import Reward
from dmic_gym.envs.video_evaluator import GopReference, GopResult, VideoEvaluator
from dmic_gym.types import CTURewards, CTUTable, Image, Samples

_GREY = 128


def gop_ctu_rewards(
    evaluator: VideoEvaluator,
    reference: GopReference,
    base_qp: int,
    reward: Reward,
    total: float,
    result: GopResult,
) -> CTURewards:
    """Decompose the reward of an episode over its CTUs, as `dmic_gym.envs.credit` does of images.

    Dice gained counts by the number of frames that the group's Dice is a mean of. Slice bits of a
    predicted frame are shared by a model of its difference to the previous reconstruction. What a
    CTU does for the frames after its own is paid to these, not to it.

    Args:
        evaluator: that made the encode.
        reference: the group.
        base_qp: of the episode.
        reward: that judged the encode; it is asked about four more pairs of Dice and bits.
        total: what it paid in all.
        result: the encode.

    Returns:
        float32 (T, rows, cols); the sum is `total`, up to float32's rounding.

    Raises:
        CodecError, SegmenterError: the anchor was not kept and cannot be made again.
    """
    prices = Prices.of(reward, result.figures, Anchors(evaluator, reference, base_qp))
    dice = _dice(evaluator, reference, base_qp, result)
    saved = _saved(evaluator, reference, base_qp, result)
    return share_out(total, prices, dice, saved)


def _dice(
    evaluator: VideoEvaluator, reference: GopReference, base_qp: int, result: GopResult
) -> CTUTable:
    """Return what each CTU adds to the group's Dice, float (T, rows, cols)."""
    size, counted = evaluator.codec.ctu_size, reference.counted
    masks = evaluator.gop_anchor(reference, base_qp).masks
    gains = [
        dice_gains(frame.mask, masks[n], reference.frame(n).truth, size) * counted[n]
        for n, frame in enumerate(result.frames)
    ]
    return np.asarray(np.stack(gains) / counted.sum())


def _saved(
    evaluator: VideoEvaluator, reference: GopReference, base_qp: int, result: GopResult
) -> CTUTable:
    """Return the bits that each CTU takes less than the anchor's, float (T, rows, cols)."""
    size, gop = evaluator.codec.ctu_size, reference.gop
    anchor = evaluator.gop_anchor(reference, base_qp)
    uniform = uniform_map(gop.clip.shape, size, base_qp)
    saved, previous = [], None
    for image, frame, base in zip(gop.frames, result.frames, anchor.frames, strict=True):
        model = BitModel(_coded(image, previous), size)
        before = model.bits(uniform, base.slice_bits)
        saved.append(before - model.bits(frame.qp_map, frame.figures.slice_bits))
        previous = frame.encoded.reconstruction
    return np.stack(saved)


def _coded(image: Image, previous: Samples | None) -> Image:
    """Return what is left to code of a frame, as an image: its difference to the one before."""
    if previous is None:
        return image
    difference = image.astype(np.int16) - previous + _GREY
    return np.asarray(np.clip(difference, 0, 255), np.uint8)
