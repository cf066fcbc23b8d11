"""Rules for the QP maps of frames, which learn nothing: for every table of video."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dmic_gym.agents.video_planning import NextFrame
from dmic_gym.envs.complexity import ctu_max
from dmic_gym.errors import InvalidInputError
from dmic_gym.types import Mask, QPMap

HM_CASCADE = (3, 2, 3, 1)
"""QP offsets of predicted frames, in turn: encoder_lowdelay_P_main.cfg of HEVC's reference
software HM 16, whose intra frames have the base QP."""


def anchor_rule(frame: NextFrame) -> QPMap:
    """Return the base QP everywhere."""
    return np.full(frame.shape, frame.base_qp, np.int16)


@dataclass(frozen=True)
class RandomRule:
    """A uniformly random offset in every CTU of every frame.

    What is drawn depends on the frame's content, the base QP and the seed alone.

    Attributes:
        qp_offsets: the offsets to draw from.
        seed: of the draws.
    """

    qp_offsets: Sequence[int]
    seed: int = 0

    def __call__(self, frame: NextFrame) -> QPMap:
        """Draw a frame's QPs."""
        content = zlib.crc32(frame.image.tobytes())
        rng = np.random.default_rng([self.seed, frame.base_qp, frame.index, content])
        return _within(frame, frame.base_qp + rng.choice(self.qp_offsets, frame.shape))


@dataclass(frozen=True)
class ROIRule:
    """Region of interest: the base QP on the object and one CTU around it, spared elsewhere.

    A CTU belongs to the object where the importance reaches `threshold` anywhere in it.

    Attributes:
        background_offset: QP offset elsewhere.
        threshold: probability, 0..1.
    """

    background_offset: int = 12
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if not 0.0 <= self.threshold <= 1.0:
            raise InvalidInputError(
                f"The threshold {self.threshold} is outside 0..1. Write roi:4:0.3."
            )

    def __call__(self, frame: NextFrame) -> QPMap:
        """Keep the QP on the object."""
        kept = object_ctus(frame, self.threshold)
        return _within(frame, frame.base_qp + np.where(kept, 0, self.background_offset))


@dataclass(frozen=True)
class CapRule:
    """Region of interest whose background is never coded more coarsely than at a certain QP.

    CTUs that the object touches keep the base QP, those around it do not; all others have
    `background_offset` more, but at most `cap`, and never less than the base QP.

    Attributes:
        background_offset: QP offset elsewhere, 0 or more.
        cap: the highest QP that it leads to.
    """

    background_offset: int = 10
    cap: int = 36

    def __call__(self, frame: NextFrame) -> QPMap:
        """Keep the QP on the object, raise it elsewhere up to the cap."""
        spared = max(frame.base_qp, min(frame.base_qp + self.background_offset, self.cap))
        return _within(frame, np.where(object_ctus(frame, dilation=0), frame.base_qp, spared))


@dataclass(frozen=True)
class GradedRule:
    """Region of interest in three grades: the object, the CTUs around it, and all others.

    CTUs that the object touches keep the base QP, those around it have `ring_offset` more, and all
    others `background_offset` more, or what `CapRule` gives them where that is more.

    Attributes:
        ring_offset: QP offset of the CTUs around the object.
        background_offset: least QP offset elsewhere.
    """

    ring_offset: int = 2
    background_offset: int = 4

    def __call__(self, frame: NextFrame) -> QPMap:
        """Raise the QP with the distance from the object."""
        spared = np.maximum(CapRule()(frame), frame.base_qp + self.background_offset)
        ring = np.where(object_ctus(frame), frame.base_qp + self.ring_offset, spared)
        return _within(frame, np.where(object_ctus(frame, dilation=0), frame.base_qp, ring))


def cascade_rule(frame: NextFrame) -> QPMap:
    """Return the QPs of `HM_CASCADE`: the same in all CTUs of a frame, finer in every fourth."""
    offset = HM_CASCADE[(frame.index - 1) % len(HM_CASCADE)] if frame.index else 0
    return _within(frame, np.full(frame.shape, frame.base_qp + offset))


def object_ctus(frame: NextFrame, threshold: float = 0.5, dilation: int = 1) -> Mask:
    """Return where the object is, bool (rows, cols).

    Args:
        frame: with its importance map.
        threshold: probability that a pixel of the CTU has to reach.
        dilation: CTUs by which the region is grown in every direction.
    """
    found = ctu_max(frame.importance, frame.codec.ctu_size) >= threshold
    side = 2 * dilation + 1
    return np.asarray(cv2.dilate(found.astype(np.uint8), np.ones((side, side), np.uint8)) > 0)


def _within(frame: NextFrame, qps: npt.NDArray[np.integer[Any]]) -> QPMap:
    return np.asarray(np.clip(qps, *frame.codec.qp_range), np.int16)
