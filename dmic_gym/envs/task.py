"""The coding task: what a QP map costs and what the segmenter still sees."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from dmic_gym.codec.base import Codec, Encoded, map_shape, uniform_map
from dmic_gym.data.sample import Sample
from dmic_gym.diagnosis.metrics import binarize, dice
from dmic_gym.diagnosis.segmenter import Segmenter, check_probabilities
from dmic_gym.envs.cache import ByteBoundedCache

PSNR_CAP = 100.0
"""PSNR given to identical pictures, in dB."""

CURVE_QPS = (*range(15, 51, 3), 51)
"""QPs of an image's anchor curve."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Figures:
    """The numbers of one encode.

    Attributes:
        bits: length of the stream, parameter sets included.
        slice_bits: bits of the coded slices alone.
        dice: Dice of the decoded image's mask against the expert mask; None without one.
        consistency_dice: the same against the segmenter's mask of the original.
        psnr: of the decoded image, dB, at most `PSNR_CAP`.
    """

    bits: int
    slice_bits: int
    dice: float | None
    consistency_dice: float
    psnr: float

    @property
    def quality(self) -> float:
        """Dice where there is an expert mask, else consistency Dice."""
        return self.consistency_dice if self.dice is None else self.dice


@dataclass(frozen=True, eq=False)
class Outcome:
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
    qp_map: npt.NDArray[np.int16]


@dataclass(frozen=True, eq=False)
class Original:
    """What the encoder knows of an image before coding it.

    Attributes:
        sample: the image.
        key: digest of image and expert mask.
        importance: float32 (H, W), the segmenter's probability on the original.
    """

    sample: Sample
    key: bytes
    importance: npt.NDArray[np.float32]

    @cached_property
    def mask(self) -> Mask:
        """The segmenter's mask on the original, bool (H, W)."""
        return binarize(self.importance)


def _original_bytes(original: Original) -> int:
    return 6 * original.importance.size  # image, mask and float32 importance


def _anchor_bytes(_: Figures) -> int:
    return 200


def sample_key(sample: Sample) -> bytes:
    """Return a digest of a sample's shape, image and mask."""
    digest = hashlib.blake2b(repr(sample.image.shape).encode(), digest_size=16)
    digest.update(sample.image.tobytes())
    if sample.mask is not None:
        digest.update(np.packbits(sample.mask).tobytes() + b"mask")
    return digest.digest()


def psnr(image: npt.NDArray[np.uint8], reconstruction: npt.NDArray[np.uint8]) -> float:
    """Return the peak signal-to-noise ratio of 8-bit images in dB, at most `PSNR_CAP`."""
    error = float(np.mean((image.astype(np.float32) - reconstruction) ** 2))
    return PSNR_CAP if error == 0 else min(PSNR_CAP, 10 * float(np.log10(255**2 / error)))


class CodingTask:
    """Codes images with QP maps and asks the segmenter what is left.

    Importance maps and anchor encodes are computed once per image and kept, the importance maps
    up to `cache_bytes` (least recently used first out), anchors up to 20 000 encodes.

    Args:
        codec: the encoder.
        segmenter: the diagnosis network.
        cache_bytes: bound on the kept originals.
    """

    def __init__(self, codec: Codec, segmenter: Segmenter, cache_bytes: int = 64 << 20) -> None:
        self.codec = codec
        self.segmenter = segmenter
        self._originals = ByteBoundedCache(cache_bytes, _original_bytes)
        self._anchors = ByteBoundedCache(20_000 * 200, _anchor_bytes)

    def original(self, sample: Sample) -> Original:
        """Return what is known of `sample` before coding; its importance map is kept."""
        key = sample_key(sample)
        return self._originals.get(
            key, lambda: Original(sample, key, self.segment([sample.image])[0])
        )

    def score(self, original: Original, qp_map: npt.NDArray[np.integer[Any]]) -> Outcome:
        """Encode, decode and segment: one encode.

        Raises:
            InvalidInputError: the map does not fit the image, or the segmenter's output is wrong.
            CodecError: the codec failed.
        """
        encoded = self.codec.encode(original.sample.image, qp_map)
        probability = self.segment([encoded.reconstruction])[0]
        return outcome(original, encoded, probability, qp_map)

    def anchor(self, original: Original, qp: int) -> Figures:
        """Return the anchor's figures at constant `qp`; each is encoded once."""
        return self._anchors.get((original.key, qp), lambda: self._anchor(original, qp))

    def map_shape(self, sample: Sample) -> tuple[int, int]:
        """Return (rows, cols) of the sample's QP map."""
        return map_shape(sample.image.shape, self.codec.ctu_size)

    def segment(self, images: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        """Return the segmenter's checked probabilities, float32 (N, H, W), of equal-sized images.

        Raises:
            InvalidInputError: the segmenter returned another shape, type or range.
        """
        batch = np.stack(images)
        return check_probabilities(self.segmenter(batch), batch)

    def close(self) -> None:
        """Close the codec."""
        self.codec.close()

    def _anchor(self, original: Original, qp: int) -> Figures:
        qp_map = uniform_map(original.sample.image.shape, self.codec.ctu_size, qp)
        return self.score(original, qp_map).figures


@dataclass(frozen=True, eq=False)
class Anchors:
    """One image at constant QPs; every encode is made once and kept by the task."""

    task: CodingTask
    original: Original
    base_qp: int

    @property
    def base(self) -> Figures:
        """The anchor at the episode's base QP."""
        return self.task.anchor(self.original, self.base_qp)

    @property
    def curve(self) -> list[Figures]:
        """The anchor at `CURVE_QPS`."""
        return [self.task.anchor(self.original, qp) for qp in CURVE_QPS]


def outcome(
    original: Original,
    encoded: Encoded,
    probability: npt.NDArray[np.float32],
    qp_map: npt.NDArray[np.integer[Any]],
) -> Outcome:
    """Compare what the segmenter sees in the reconstruction with the masks of the original."""
    mask = binarize(probability)
    sample = original.sample
    figures = Figures(
        bits=encoded.bits,
        slice_bits=encoded.slice_bits,
        dice=None if sample.mask is None else dice(mask, sample.mask),
        consistency_dice=dice(mask, original.mask),
        psnr=psnr(sample.image, encoded.reconstruction),
    )
    return Outcome(figures, encoded, mask, np.asarray(qp_map, dtype=np.int16))
