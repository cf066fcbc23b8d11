"""What a group of pictures is before coding, and what one encode of it came to."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from dmic_gym.envs.results import EncodeResult, Figures, Reference
from dmic_gym.tasks.data.clip import Clip, Gop
from dmic_gym.tasks.metrics import binarize
from dmic_gym.types import Masks, Probabilities, Probability, QPMap


@dataclass(frozen=True, eq=False)
class GopReference:
    """What is known of a group of pictures before coding it.

    Attributes:
        gop: the frames.
        key: digest of the clip and of which frames of it these are.
        importance: float32 (T, H, W), the segmenter's probability on the original frames.
    """

    gop: Gop
    key: bytes
    importance: Probabilities

    @property
    def name(self) -> str:
        """The clip's name and the index of the first frame."""
        return self.gop.name

    @property
    def pixels(self) -> int:
        """How many pixels all frames have."""
        return int(self.importance.size)

    @cached_property
    def masks(self) -> Masks:
        """The segmenter's masks on the original frames, bool (T, H, W)."""
        return binarize(self.importance)

    @property
    def scored(self) -> npt.NDArray[np.bool_]:
        """Which frames count, bool (T,): all but a clip's first where its mask was given."""
        scored = np.ones(len(self.gop), np.bool_)
        scored[0] = self.gop.start > 0 or self.gop.clip.first_mask is None
        return scored

    @property
    def counted(self) -> npt.NDArray[np.bool_]:
        """Which frames the group's Dice is a mean of, bool (T,): those scored, or all if none."""
        scored = self.scored
        return scored if scored.any() else ~scored

    def frame(self, index: int) -> Reference:
        """Return what is known of frame `index`, 0..T-1, as of an image."""
        gop = self.gop
        return Reference(
            sample=gop.clip.sample(gop.start + index),
            key=self.key + index.to_bytes(4, "big"),
            importance=self.importance[index],
        )


@dataclass(frozen=True, eq=False)
class FrameResult(EncodeResult):
    """One frame of an encode: its numbers and what they came from.

    Attributes:
        figures: the numbers of this frame alone.
        encoded: bitstream and reconstruction.
        mask: bool (H, W), the segmenter's on the reconstruction.
        qp_map: int16 (rows, cols), absolute QPs.
        probability: float32 (H, W), the segmenter's on the reconstruction.
    """

    probability: Probability


@dataclass(frozen=True, eq=False)
class GopResult:
    """One encode of a group of pictures.

    Attributes:
        figures: bits of all frames together; PSNR is the mean over all of them, every other figure
            the mean over those that are scored (over all where none is).
        frames: one result a frame.
    """

    figures: Figures
    frames: tuple[FrameResult, ...]

    @cached_property
    def qp_maps(self) -> QPMap:
        """Absolute QPs, int16 (T, rows, cols)."""
        return np.stack([frame.qp_map for frame in self.frames])

    @property
    def bitstream(self) -> bytes:
        """The frames' bitstreams joined: one valid stream."""
        return b"".join(frame.encoded.bitstream for frame in self.frames)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it takes."""
        return sum(
            frame.encoded.reconstruction.nbytes + frame.mask.nbytes + frame.probability.nbytes
            for frame in self.frames
        )


@dataclass(frozen=True, eq=False)
class GopAnchor:
    """What is kept of a group coded at a constant QP.

    Attributes:
        figures: of the group.
        frames: of each frame alone.
        packed_masks: uint8 (T, ceil(H * W / 8)), the segmenter's masks, eight pixels a byte.
        shape: (H, W).
    """

    figures: Figures
    frames: tuple[Figures, ...]
    packed_masks: npt.NDArray[np.uint8]
    shape: tuple[int, int]

    @classmethod
    def of(cls, result: GopResult) -> GopAnchor:
        """Keep the numbers and masks of an encode."""
        masks = np.stack([frame.mask for frame in result.frames])
        packed = np.packbits(masks.reshape(len(masks), -1), axis=1)
        height, width = masks.shape[1:]
        frames = tuple(frame.figures for frame in result.frames)
        return cls(result.figures, frames, packed, (height, width))

    @property
    def masks(self) -> Masks:
        """The segmenter's masks on the reconstructions, bool (T, H, W)."""
        height, width = self.shape
        bits = np.unpackbits(self.packed_masks, axis=1, count=height * width)
        return bits.astype(np.bool_).reshape(-1, height, width)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it takes, about."""
        return self.packed_masks.nbytes + 200 * (1 + len(self.frames))


def gop_result(reference: GopReference, frames: Sequence[FrameResult]) -> GopResult:
    """Join the results of a group's frames."""
    figures = joined([frame.figures for frame in frames], reference.counted)
    return GopResult(figures, tuple(frames))


def joined(figures: Sequence[Figures], counted: npt.NDArray[np.bool_]) -> Figures:
    """Return the figures of several frames together.

    Args:
        figures: of each frame.
        counted: bool (T,), which frames Dice, consistency Dice and IoU are the means of.
    """
    kept = [one for one, counts in zip(figures, counted, strict=True) if counts]
    return Figures(
        bits=sum(one.bits for one in figures),
        slice_bits=sum(one.slice_bits for one in figures),
        dice=_mean([one.dice for one in kept]),
        consistency_dice=float(np.mean([one.consistency_dice for one in kept])),
        psnr=float(np.mean([one.psnr for one in figures])),
        iou=_mean([one.iou for one in kept]),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


_keys: WeakKeyDictionary[Clip, bytes] = WeakKeyDictionary()


def clip_key(clip: Clip) -> bytes:
    """Return a digest of a clip's name, frames and masks.

    Computed once per `Clip` object, which is immutable. The name is part of it because clips may
    have segmenters of their own.
    """
    key = _keys.get(clip)
    if key is None:
        key = _keys[clip] = _digest(clip)
    return key


def _digest(clip: Clip) -> bytes:
    digest = hashlib.blake2b(repr((clip.name, clip.frames.shape)).encode(), digest_size=16)
    digest.update(clip.frames.tobytes())
    for kind, masks in ((b"masks", clip.masks), (b"first", clip.first_mask)):
        if masks is not None:
            digest.update(kind + np.packbits(masks).tobytes())
    return digest.digest()


def gop_key(gop: Gop) -> bytes:
    """Return a digest of a group's clip and place in it."""
    return clip_key(gop.clip) + b"%d:%d" % (gop.start, gop.stop)
