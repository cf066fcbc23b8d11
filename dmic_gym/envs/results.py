"""What an image is before coding, and what one encode of it came to."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol
from weakref import WeakKeyDictionary

import numpy as np

from dmic_gym.codecs.base import Encoded
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.metrics import binarize, dice, iou, psnr
from dmic_gym.types import AnyQPMap, Mask, Probability, QPMap


@dataclass(frozen=True)
class Figures:
    """The numbers of one encode.

    Attributes:
        bits: length of the stream, parameter sets included.
        slice_bits: bits of the coded slices alone.
        dice: Dice of the decoded image's mask against the expert mask; None without one.
        consistency_dice: the same against the segmenter's mask of the reference.
        psnr: of the decoded image, dB, at most `dmic_gym.tasks.metrics.PSNR_CAP`.
        iou: intersection over union against the expert mask; None without one.
    """

    bits: int
    slice_bits: int
    dice: float | None
    consistency_dice: float
    psnr: float
    iou: float | None = None

    @property
    def quality(self) -> float:
        """Dice where there is an expert mask, else consistency Dice."""
        return self.consistency_dice if self.dice is None else self.dice


@dataclass(frozen=True, eq=False)
class EncodeResult:
    """One encode: its numbers and what they came from.

    Attributes:
        figures: the numbers.
        encoded: bitstream and reconstruction.
        mask: bool (H, W), the segmenter's on the reconstruction.
        qp_map: int16 (rows, cols), absolute QPs.
    """

    figures: Figures
    encoded: Encoded
    mask: Mask
    qp_map: QPMap


class Coded(Protocol):
    """What is coded in one go, an image or a group of pictures, before coding."""

    @property
    def name(self) -> str:
        """What tables and `info` call it."""
        ...

    @property
    def pixels(self) -> int:
        """How many pixels it has."""
        ...


@dataclass(frozen=True, eq=False)
class Reference:
    """What the encoder knows of an image before coding it.

    Attributes:
        sample: the image.
        key: digest of image and expert mask.
        importance: float32 (H, W), the segmenter's probability on the reference.
    """

    sample: Sample
    key: bytes
    importance: Probability

    @property
    def name(self) -> str:
        """The sample's name."""
        return self.sample.name

    @property
    def pixels(self) -> int:
        """How many pixels the image has."""
        return int(self.sample.image.size)

    @cached_property
    def mask(self) -> Mask:
        """The segmenter's mask on the reference, bool (H, W)."""
        return binarize(self.importance)

    @property
    def truth(self) -> Mask:
        """The expert's mask, or the segmenter's on the reference without one, bool (H, W)."""
        return self.mask if self.sample.mask is None else self.sample.mask


_keys: WeakKeyDictionary[Sample, bytes] = WeakKeyDictionary()


def sample_key(sample: Sample) -> bytes:
    """Return a digest of a sample's shape, image and mask.

    Computed once per `Sample` object, which is immutable: a changed image is a new `Sample`.
    """
    key = _keys.get(sample)
    if key is None:
        key = _keys[sample] = _digest(sample)
    return key


def _digest(sample: Sample) -> bytes:
    digest = hashlib.blake2b(repr(sample.image.shape).encode(), digest_size=16)
    digest.update(sample.image.tobytes())
    if sample.mask is not None:
        digest.update(np.packbits(sample.mask).tobytes() + b"mask")
    return digest.digest()


def encode_result(
    reference: Reference,
    encoded: Encoded,
    probability: Probability,
    qp_map: AnyQPMap,
) -> EncodeResult:
    """Compare what the segmenter sees in the reconstruction with the masks of the reference."""
    mask = binarize(probability)
    sample = reference.sample
    figures = Figures(
        bits=encoded.bits,
        slice_bits=encoded.slice_bits,
        dice=None if sample.mask is None else dice(mask, sample.mask),
        consistency_dice=dice(mask, reference.mask),
        psnr=psnr(sample.image, encoded.reconstruction),
        iou=None if sample.mask is None else iou(mask, sample.mask),
    )
    return EncodeResult(figures, encoded, mask, np.array(qp_map, dtype=np.int16))
