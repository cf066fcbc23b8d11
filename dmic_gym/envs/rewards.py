"""Rewards: diagnosis quality kept against bits spent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import log
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from dmic_gym.envs.evaluator import Anchors, Figures
from dmic_gym.errors import InvalidInputError, unknown_name
from dmic_gym.types import Floats

Terms = Mapping[str, float]

_REFERENCE_QP = 38.5
_PRICE_AT_REFERENCE = 2.4
_OCTAVES_PER_QP = 0.42


def bit_price(base_qp: int) -> float:
    """Return the Dice that one bit per pixel has to buy, at a base QP.

    It doubles every 2.4 QPs, as the slope of the anchor's Dice against its bits does. At the price
    of 4 QPs above, a search just keeps the mean Dice that the anchor has at `base_qp`; at this one
    it keeps a little more, and search and policies alike have lower BD-rates on held-out training
    angiograms, at QP 22-37 and 32-47.
    """
    return float(_PRICE_AT_REFERENCE * 2 ** (_OCTAVES_PER_QP * (base_qp - _REFERENCE_QP)))


class Reward(Protocol):
    """Judges an encode. The terms are summed to the step's reward and shown in `info`."""

    def __call__(self, figures: Figures, anchors: Anchors) -> Terms:
        """Return named terms, each already weighted.

        Args:
            figures: of the agent's encode; `figures.quality` is Dice, or consistency Dice where
                the image has no expert mask.
            anchors: figures of the same image at constant QPs.
        """
        ...


class Slopes(NamedTuple):
    """What a reward pays, the same everywhere.

    Attributes:
        dice: reward for a rise of Dice by 1.
        bits: reward for a bit saved.
    """

    dice: float
    bits: float


@runtime_checkable
class SlopedReward(Protocol):
    """A reward that is linear in Dice and bits but for clipping, and 0 for the anchor.

    It can be paid in shares, as `VideoCodingEnv` pays each frame's when the frame is coded.
    """

    def slopes(self, anchors: Anchors) -> Slopes:
        """Return what it pays against the anchor of a base QP."""
        ...


def paid(reward: Reward, figures: Figures, anchors: Anchors) -> dict[str, float]:
    """Return the terms that `reward` pays; raise InvalidInputError if it names none."""
    terms: object = reward(figures, anchors)
    if not isinstance(terms, Mapping):
        raise InvalidInputError(
            f"The reward returned {terms!r}, but its terms are named and then summed: "
            f'return {{"gain": {terms!r}}}.'
        )
    return dict(terms)


@dataclass(frozen=True)
class LinearReward:
    """Weighted gain in Dice plus weighted share of bits saved, both against the anchor.

    ``dice_weight * (dice - anchor dice) + rate_weight * (1 - bits / anchor bits)``. The default
    weights trade 0.033 of Dice for all of the bits; ``benchmarks/reward_choice.py`` compares
    weights by how their means rank policies against BD-rates.
    """

    dice_weight: float = 30.0
    rate_weight: float = 1.0

    def __call__(self, figures: Figures, anchors: Anchors) -> Terms:
        """Return the terms ``dice`` and ``rate``; see the class."""
        base = anchors.base
        return {
            "dice": self.dice_weight * (figures.quality - base.quality),
            "rate": self.rate_weight * (1.0 - figures.bits / base.bits),
        }

    def slopes(self, anchors: Anchors) -> Slopes:
        """Return what Dice and bits are worth; see `SlopedReward`."""
        return Slopes(self.dice_weight, self.rate_weight / anchors.base.bits)


@dataclass(frozen=True)
class RateSavingReward:
    """Log of the bits the anchor needs for this Dice, minus log of the bits spent.

    What a BD-rate averages (Bjontegaard, VCEG-M33), for one encode: 0 on the image's own anchor
    curve, ``log(2)`` for half of the bits at equal Dice. The curve is made monotone, its ends
    are clamped, and the reward is clipped to +-`bound`.
    """

    bound: float = 2.0

    def __call__(self, figures: Figures, anchors: Anchors) -> Terms:
        """Return the term ``rate_saving``; see the class."""
        points = anchors.curve_up_to(figures.quality)
        curve = AnchorCurve.through([(anchor.bits, anchor.quality) for anchor in points])
        saving = log(curve.bits_for(figures.quality)) - log(figures.bits)
        return {"rate_saving": min(self.bound, max(-self.bound, saving))}


@dataclass(frozen=True)
class PricedReward:
    """Share of the anchor's bits saved, plus the gain in Dice paid in bits at `bit_price`.

    ``(dice - anchor dice) / (price * anchor bits per pixel) + 1 - bits / anchor bits``, clipped to
    +-`bound`: what `search:N` maximises, with the true Dice. A Dice below the anchor's has its
    price at every base QP, so that, other than with `RateSavingReward`, a policy gains nothing by
    coding everything coarsely.
    """

    bound: float = 3.0

    def __call__(self, figures: Figures, anchors: Anchors) -> Terms:
        """Return the terms ``dice`` and ``rate``; see the class."""
        base = anchors.base
        rate = 1.0 - figures.bits / base.bits
        dice = self.slopes(anchors).dice * (figures.quality - base.quality)
        total = min(self.bound, max(-self.bound, dice + rate))
        return {"dice": total - rate, "rate": rate}

    def slopes(self, anchors: Anchors) -> Slopes:
        """Return what Dice and bits are worth; see `SlopedReward`."""
        bits = anchors.base.bits
        worth = bit_price(anchors.base_qp) * bits / anchors.reference.pixels
        return Slopes(1.0 / worth, 1.0 / bits)


@dataclass(frozen=True, eq=False)
class AnchorCurve:
    """Quality against bits of one image, strictly rising in both.

    Attributes:
        log_bits: float64 (N,), natural log.
        quality: float64 (N,).
    """

    log_bits: Floats
    quality: Floats

    @classmethod
    def through(cls, points: list[tuple[int, float]]) -> AnchorCurve:
        """Build the curve of the points that no cheaper point equals or beats in quality."""
        kept: list[tuple[int, float]] = []
        for bits, quality in sorted(points, key=lambda point: (point[0], -point[1])):
            if not kept or quality > kept[-1][1]:
                kept.append((bits, quality))
        table = np.array(kept, dtype=np.float64)
        return cls(log_bits=np.log(table[:, 0]), quality=table[:, 1])

    def bits_for(self, quality: float) -> float:
        """Return the bits the anchor needs for `quality`, clamped to the ends of the curve."""
        return float(np.exp(np.interp(quality, self.quality, self.log_bits)))


REWARDS: dict[str, Callable[[], Reward]] = {
    "linear": LinearReward,
    "priced": PricedReward,
    "rate_saving": RateSavingReward,
}


def make_reward(reward: str | Reward) -> Reward:
    """Return the reward of that name, or `reward` itself if it is callable."""
    if isinstance(reward, str):
        if reward not in REWARDS:
            raise unknown_name("reward", reward, REWARDS)
        return REWARDS[reward]()
    if not callable(reward):
        raise InvalidInputError(
            f"reward must be one of {', '.join(sorted(REWARDS))} or a callable, "
            f"got {type(reward).__name__}."
        )
    return reward
