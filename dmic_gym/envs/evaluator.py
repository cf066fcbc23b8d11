"""The coding evaluator: what a QP map costs and what the segmenter still sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dmic_gym.codecs.base import Codec, map_shape, uniform_map
from dmic_gym.envs.cache import ByteBoundedCache
from dmic_gym.envs.results import (
    PSNR_CAP,
    EncodeResult,
    Figures,
    Mask,
    Reference,
    encode_result,
    psnr,
    sample_key,
)
from dmic_gym.errors import CodecError, DmicError, SegmenterError
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.segmenters.protocol import Segmenter, check_probabilities

__all__ = [
    "CURVE_QPS",
    "PSNR_CAP",
    "Anchors",
    "EncodeResult",
    "Evaluator",
    "Figures",
    "Mask",
    "Reference",
    "encode_result",
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
Job: TypeAlias = tuple[Reference, npt.NDArray[np.integer[Any]]]
"""An image and the QP map to code it with."""


class Evaluator:
    """Codes images with QP maps and asks the segmenter what is left.

    Importance maps and anchor encodes are computed once per image and kept, the importance maps
    up to `cache_bytes` (least recently used first out), anchors up to 20 000 encodes.

    Args:
        codec: the encoder.
        segmenter: the diagnosis network.
        cache_bytes: bound on the kept references; one takes 6 bytes a pixel.
    """

    def __init__(self, codec: Codec, segmenter: Segmenter, cache_bytes: int = 256 << 20) -> None:
        self.codec = codec
        self.segmenter = segmenter
        self._references = ByteBoundedCache(cache_bytes, _reference_bytes)
        self._anchors = ByteBoundedCache(20_000 * 200, _anchor_bytes)

    def reference(self, sample: Sample) -> Reference:
        """Return what is known of `sample` before coding; its importance map is kept.

        Raises:
            SegmenterError: the segmenter failed.
        """
        return self.references([sample])[0]

    def references(self, samples: Sequence[Sample]) -> list[Reference]:
        """Return what is known of `samples` before coding; see `reference`."""
        keys = [sample_key(sample) for sample in samples]

        def segmented(missing: list[int]) -> list[Reference]:
            importance = self._segment_all([samples[n].image for n in missing])
            return [
                Reference(samples[n], keys[n], _checked(probability).copy())
                for n, probability in zip(missing, importance, strict=True)
            ]

        return self._references.get_all(keys, segmented)

    def score(self, reference: Reference, qp_map: npt.NDArray[np.integer[Any]]) -> EncodeResult:
        """Encode, decode and segment: one encode.

        Raises:
            InvalidInputError: the map does not fit the image, or the segmenter's output is wrong.
            CodecError: the codec failed.
            SegmenterError: the segmenter failed.
        """
        encoded = self.codec.encode(reference.sample.image, qp_map)
        probability = self.segment([encoded.reconstruction])[0]
        return encode_result(reference, encoded, probability, qp_map)

    def score_all(self, jobs: Sequence[Job]) -> list[EncodeResult | ToolError]:
        """Do many times what `score` does; a tool's failure stands in the place of its result.

        Raises:
            InvalidInputError: as `score`.
        """
        return [self._attempt(job) for job in jobs]

    def anchor(self, reference: Reference, qp: int) -> Figures:
        """Return the anchor's figures at constant `qp`; each is encoded once."""
        return self.anchors(reference, [qp])[0]

    def anchors(self, reference: Reference, qps: Sequence[int]) -> list[Figures]:
        """Return the anchor's figures at each of the constant `qps`; see `anchor`.

        Raises:
            CodecError: the codec failed.
            SegmenterError: the segmenter failed.
        """

        def encoded(missing: list[int]) -> list[Figures]:
            shape, ctu_size = reference.sample.image.shape, self.codec.ctu_size
            maps = [uniform_map(shape, ctu_size, qps[n]) for n in missing]
            results = self.score_all([(reference, qp_map) for qp_map in maps])
            return [_checked(found).figures for found in results]

        return self._anchors.get_all([(reference.key, qp) for qp in qps], encoded)

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

    def _attempt(self, job: Job) -> EncodeResult | ToolError:
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
    """One image at constant QPs; every encode is made once and kept by the evaluator."""

    evaluator: Evaluator
    reference: Reference
    base_qp: int

    @property
    def base(self) -> Figures:
        """The anchor at the episode's base QP."""
        return self.evaluator.anchor(self.reference, self.base_qp)

    @property
    def curve(self) -> list[Figures]:
        """The anchor at `CURVE_QPS`."""
        return self.evaluator.anchors(self.reference, [*CURVE_QPS, self.base_qp])[:-1]


def _reference_bytes(reference: Reference) -> int:
    return 6 * reference.importance.size  # image, mask and float32 importance


def _anchor_bytes(_: Figures) -> int:
    return 200


def _checked(found: Any) -> Any:
    """Return a result, or raise the failure that stands in its place."""
    if isinstance(found, TOOL_ERRORS):
        raise found
    return found
