"""Credit: an episode's reward decomposed over its CTUs, so that each is paid for what it did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from dmic_gym.codecs.base import uniform_map
from dmic_gym.envs.bit_model import bit_model_of
from dmic_gym.envs.evaluator import Anchors, EncodeResult, Evaluator, Figures, Reference
from dmic_gym.envs.rewards import Reward, paid
from dmic_gym.types import CTURewards, CTUTable, Mask

_LEAST_DICE = 0.02
_LEAST_BITS = 0.02


@dataclass(frozen=True)
class Prices:
    """What a reward pays, between the anchor's figures and an encode's own.

    Attributes:
        dice: reward for a rise of Dice by 1.
        bits: reward for a bit saved.
    """

    dice: float
    bits: float

    @classmethod
    def of(cls, reward: Reward, figures: Figures, anchors: Anchors) -> Prices:
        """Measure the slopes of a reward by asking it about Dice and bits in between.

        The slope for Dice is that of the chord from the anchor's Dice to the encode's, at the
        encode's bits; for bits that from the anchor's bits to the encode's, at the anchor's Dice.
        Chords narrower than 0.02 of Dice or 2 % of the bits are widened.
        """
        base = anchors.base

        def pays(quality: float, bits: float) -> float:
            return sum(paid(reward, _with(figures, quality, bits), anchors).values())

        low, high = _chord(base.quality, figures.quality, _LEAST_DICE)
        low, high = max(low, 0.0), min(high, 1.0)
        few, many = _chord(base.bits, figures.bits, _LEAST_BITS * base.bits)
        few, many = max(round(few), 1), round(many)
        return cls(
            _slope(lambda quality: pays(quality, figures.bits), low, high),
            -_slope(lambda bits: pays(base.quality, bits), few, many),
        )


def dice_gains(mask: Mask, anchor_mask: Mask, truth: Mask, ctu_size: int) -> CTUTable:
    """Return what each CTU adds to the Dice of `mask` over that of `anchor_mask`.

    The sum over a CTU's pixels of ``(mask - anchor) * (2 truth - d) / (|mask| + |truth|)``, d being
    the anchor's Dice. The parts sum to the difference of the two Dice exactly, unless `mask` and
    `truth` are both empty; then they are 0.

    Args:
        mask: bool (H, W), the segmenter's on the reconstruction.
        anchor_mask: bool (H, W), the same on the anchor's.
        truth: bool (H, W), the expert's mask, or the segmenter's on the original.
        ctu_size: side of a CTU in luma samples.

    Returns:
        float64 (rows, cols).
    """
    height, width = mask.shape
    rows, cols = -(-height // ctu_size), -(-width // ctu_size)
    area = int(np.count_nonzero(truth))
    total, before = np.count_nonzero(mask) + area, np.count_nonzero(anchor_mask) + area
    if total == 0:
        return np.zeros((rows, cols))
    anchor_dice = 2.0 * np.count_nonzero(anchor_mask & truth) / before if before else 1.0
    y, x = np.nonzero(mask != anchor_mask)
    worth = np.where(mask[y, x], 1.0, -1.0) * (2.0 * truth[y, x] - anchor_dice) / total
    places = (y // ctu_size) * cols + x // ctu_size
    gains = np.bincount(places, worth, rows * cols).astype(np.float64)  # integers where empty
    return gains.reshape(rows, cols)


def share_out(reward: float, prices: Prices, dice: CTUTable, bits_saved: CTUTable) -> CTURewards:
    """Pay CTUs for Dice gained and bits saved; spread what is left of the reward evenly.

    Args:
        reward: to share out.
        prices: of Dice and bits.
        dice: float (..., rows, cols), each CTU's part of the gain in Dice over the anchor's.
        bits_saved: of the same shape, the anchor's bits there less those spent.

    Returns:
        float32 of the same shape; the sum is `reward`, up to float32's rounding.
    """
    parts = prices.dice * dice + prices.bits * bits_saved
    return np.asarray(parts + (reward - parts.sum()) / parts.size, np.float32)


def ctu_rewards(
    evaluator: Evaluator,
    reference: Reference,
    base_qp: int,
    reward: Reward,
    total: float,
    result: EncodeResult,
) -> CTURewards:
    """Decompose the reward of an episode over its CTUs.

    Each CTU is paid its part of the change of Dice (`dice_gains`) and of the slice bits
    (`BitModel`), against the anchor at the base QP, at the slopes of the reward (`Prices`). What
    the slopes leave, such as what a reward pays for the anchor itself or clips, is spread evenly.

    Args:
        evaluator: that made the encode.
        reference: the image.
        base_qp: of the episode.
        reward: that judged the encode; it is asked about four more pairs of Dice and bits.
        total: what it paid in all.
        result: the encode.

    Returns:
        float32 (rows, cols); the sum is `total`, up to float32's rounding.

    Raises:
        CodecError, SegmenterError: the anchor's mask was not kept and cannot be made again.
    """
    size, sample = evaluator.codec.ctu_size, reference.sample
    anchors, truth = Anchors(evaluator, reference, base_qp), reference.truth
    model, uniform = bit_model_of(reference, size), uniform_map(sample.image.shape, size, base_qp)
    return share_out(
        total,
        Prices.of(reward, result.figures, anchors),
        dice_gains(result.mask, evaluator.anchor_mask(reference, base_qp), truth, size),
        model.bits(uniform, anchors.base.slice_bits)
        - model.bits(result.qp_map, result.figures.slice_bits),
    )


def _with(figures: Figures, quality: float, bits: float) -> Figures:
    """Return the figures of an encode of other quality and bits."""
    header = figures.bits - figures.slice_bits
    counted = replace(figures, bits=int(bits), slice_bits=int(bits) - header)
    if figures.dice is None:
        return replace(counted, consistency_dice=quality)
    return replace(counted, dice=quality)


def _chord(a: float, b: float, least: float) -> tuple[float, float]:
    """Return the interval between two numbers, widened to `least` around its middle."""
    low, high = min(a, b), max(a, b)
    more = max(least - (high - low), 0.0) / 2.0
    return low - more, high + more


def _slope(pays: Callable[[float], float], low: float, high: float) -> float:
    return (pays(high) - pays(low)) / (high - low)
