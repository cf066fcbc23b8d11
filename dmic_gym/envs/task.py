"""The coding task: what a QP map costs and what the segmenter still sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dmic_gym.codec.base import Codec, map_shape, uniform_map
from dmic_gym.data.sample import Sample
from dmic_gym.diagnosis.segmenter import Segmenter, check_probabilities
from dmic_gym.envs.cache import ByteBoundedCache
from dmic_gym.envs.outcome import (
    PSNR_CAP,
    Figures,
    Mask,
    Original,
    Outcome,
    outcome,
    psnr,
    sample_key,
)
from dmic_gym.errors import CodecError, DmicError, SegmenterError

__all__ = [
    "CURVE_QPS",
    "PSNR_CAP",
    "Anchors",
    "CodingTask",
    "Figures",
    "Mask",
    "Original",
    "Outcome",
    "outcome",
    "psnr",
    "sample_key",
]

CURVE_QPS = (*range(15, 51, 3), 51)
"""QPs of an image's anchor curve."""

ToolError: TypeAlias = CodecError | SegmenterError
TOOL_ERRORS = (CodecError, SegmenterError)
"""Failures of a tool, which end an episode; every other error is a user's and is raised."""

Image = npt.NDArray[np.uint8]
Probability = npt.NDArray[np.float32]
Job: TypeAlias = tuple[Original, npt.NDArray[np.integer[Any]]]
"""An image and the QP map to code it with."""


class CodingTask:
    """Codes images with QP maps and asks the segmenter what is left.

    Importance maps and anchor encodes are computed once per image and kept, the importance maps
    up to `cache_bytes` (least recently used first out), anchors up to 20 000 encodes.

    Args:
        codec: the encoder.
        segmenter: the diagnosis network.
        cache_bytes: bound on the kept originals; one takes 6 bytes a pixel.
    """

    def __init__(self, codec: Codec, segmenter: Segmenter, cache_bytes: int = 256 << 20) -> None:
        self.codec = codec
        self.segmenter = segmenter
        self._originals = ByteBoundedCache(cache_bytes, _original_bytes)
        self._anchors = ByteBoundedCache(20_000 * 200, _anchor_bytes)

    def original(self, sample: Sample) -> Original:
        """Return what is known of `sample` before coding; its importance map is kept.

        Raises:
            SegmenterError: the segmenter failed.
        """
        return self.originals([sample])[0]

    def originals(self, samples: Sequence[Sample]) -> list[Original]:
        """Return what is known of `samples` before coding; see `original`."""
        keys = [sample_key(sample) for sample in samples]

        def segmented(missing: list[int]) -> list[Original]:
            importance = self._segment_all([samples[n].image for n in missing])
            return [
                Original(samples[n], keys[n], _checked(probability).copy())
                for n, probability in zip(missing, importance, strict=True)
            ]

        return self._originals.get_all(keys, segmented)

    def score(self, original: Original, qp_map: npt.NDArray[np.integer[Any]]) -> Outcome:
        """Encode, decode and segment: one encode.

        Raises:
            InvalidInputError: the map does not fit the image, or the segmenter's output is wrong.
            CodecError: the codec failed.
            SegmenterError: the segmenter failed.
        """
        encoded = self.codec.encode(original.sample.image, qp_map)
        probability = self.segment([encoded.reconstruction])[0]
        return outcome(original, encoded, probability, qp_map)

    def score_all(self, jobs: Sequence[Job]) -> list[Outcome | ToolError]:
        """Do many times what `score` does; a tool's failure stands in the place of its outcome.

        Raises:
            InvalidInputError: as `score`.
        """
        return [self._attempt(job) for job in jobs]

    def anchor(self, original: Original, qp: int) -> Figures:
        """Return the anchor's figures at constant `qp`; each is encoded once."""
        return self.anchors(original, [qp])[0]

    def anchors(self, original: Original, qps: Sequence[int]) -> list[Figures]:
        """Return the anchor's figures at each of the constant `qps`; see `anchor`.

        Raises:
            CodecError: the codec failed.
            SegmenterError: the segmenter failed.
        """

        def encoded(missing: list[int]) -> list[Figures]:
            shape, ctu_size = original.sample.image.shape, self.codec.ctu_size
            maps = [uniform_map(shape, ctu_size, qps[n]) for n in missing]
            outcomes = self.score_all([(original, qp_map) for qp_map in maps])
            return [_checked(found).figures for found in outcomes]

        return self._anchors.get_all([(original.key, qp) for qp in qps], encoded)

    def map_shape(self, sample: Sample) -> tuple[int, int]:
        """Return (rows, cols) of the sample's QP map."""
        return map_shape(sample.image.shape, self.codec.ctu_size)

    def segment(self, images: Sequence[Image]) -> Probability:
        """Return the segmenter's checked probabilities, float32 (N, H, W), of equal-sized images.

        Raises:
            InvalidInputError: the segmenter returned another shape, type or range.
            SegmenterError: the segmenter failed.
        """
        batch = np.stack(images)
        try:
            probabilities = self.segmenter(batch)
        except DmicError:
            raise
        except Exception as error:
            raise SegmenterError(
                f"The segmenter failed on {batch.shape}: {type(error).__name__}: {error}"
            ) from error
        return check_probabilities(probabilities, batch)

    def close(self) -> None:
        """Close the codec."""
        self.codec.close()

    def _segment_all(self, images: Sequence[Image]) -> list[Probability | ToolError]:
        """Segment images of any sizes; a failure stands in the place of its result."""
        return [self._attempt_segment(image) for image in images]

    def _attempt(self, job: Job) -> Outcome | ToolError:
        try:
            return self.score(*job)
        except TOOL_ERRORS as error:
            return error

    def _attempt_segment(self, image: Image) -> Probability | ToolError:
        try:
            probability: Probability = self.segment([image])[0]
            return probability
        except TOOL_ERRORS as error:
            return error


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
        return self.task.anchors(self.original, [*CURVE_QPS, self.base_qp])[:-1]


def _original_bytes(original: Original) -> int:
    return 6 * original.importance.size  # image, mask and float32 importance


def _anchor_bytes(_: Figures) -> int:
    return 200


def _checked(found: Any) -> Any:
    """Return a result, or raise the failure that stands in its place."""
    if isinstance(found, TOOL_ERRORS):
        raise found
    return found
