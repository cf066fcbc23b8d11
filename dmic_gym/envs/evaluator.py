"""The evaluator: what a QP map costs and what the segmenter still sees."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np

from dmic_gym.codecs.base import Codec, Encoded, map_shape, uniform_map
from dmic_gym.envs.attempts import TOOL_ERRORS, ToolError, attempt, checked, in_order
from dmic_gym.envs.batches import Batcher, Numbered
from dmic_gym.envs.cache import ByteBoundedCache
from dmic_gym.envs.mask_cache import MaskCache
from dmic_gym.envs.parallel import processor_seconds, start_pool
from dmic_gym.envs.results import (
    Coded,
    EncodeResult,
    Figures,
    Reference,
    encode_result,
    sample_key,
)
from dmic_gym.errors import DmicError, SegmenterError
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.segmenters.protocol import (
    PerSampleSegmenter,
    Segmenter,
    check_probabilities,
    segmenter_for,
)
from dmic_gym.types import AnyQPMap, Image, Images, Mask, Probabilities, Probability

__all__ = [
    "CURVE_QPS",
    "TOOL_ERRORS",
    "Anchors",
    "EncodeResult",
    "Evaluator",
    "Figures",
    "Reference",
    "ToolError",
    "encode_result",
    "sample_key",
]

CURVE_QPS = (*range(15, 51, 3), 51)
"""QPs of an image's anchor curve."""

Job: TypeAlias = tuple[Reference, AnyQPMap]
"""An image and the QP map to code it with."""

R = TypeVar("R")


class Evaluator:
    """Codes images with QP maps and asks the segmenter what is left.

    Importance maps and anchor encodes are computed once per image and kept, the importance maps
    up to `cache_bytes` (least recently used first out), anchors up to 20 000 encodes, their
    masks, packed, and whole uniform encodes up to 64 MB each.

    Encoder and decoder let other threads run, so with `workers` above 1 the encodes of many jobs
    go to a pool. Where the segmenter says ``in_parallel = True``, as networks on a CPU do, each
    thread of the pool segments what it has decoded. Every other segmenter is called from one
    thread while the pool goes on encoding. Batches hold equal-sized images in the order of the
    jobs, so that results do not depend on which encode ends first.

    Args:
        codec: the encoder.
        segmenter: the diagnosis network.
        workers: threads that encode; with 1 the caller's own. An evaluator with more cannot be
            pickled.
        batch: images that the segmenter gets at once where there are many; None measures it.
        cache_bytes: bound on the kept references; one takes up to 8 bytes a pixel.
    """

    def __init__(
        self,
        codec: Codec,
        segmenter: Segmenter,
        *,
        workers: int = 1,
        batch: int | None = 1,
        cache_bytes: int = 256 << 20,
    ) -> None:
        self.codec = codec
        self.segmenter = segmenter
        self.workers = workers
        self._in_parallel = bool(getattr(segmenter, "in_parallel", False))
        self._one_by_one = isinstance(segmenter, PerSampleSegmenter)
        self._batcher = Batcher(1 if self._in_parallel and batch is None else batch, self.segment)
        self._references = ByteBoundedCache(cache_bytes, _reference_bytes)
        self._anchors = ByteBoundedCache(20_000 * 200, _anchor_bytes)
        self._anchor_masks = MaskCache(64 << 20)
        self._uniform = ByteBoundedCache(64 << 20, _timed_bytes)
        self._pool = start_pool(workers) if workers > 1 else None

    def reference(self, sample: Sample) -> Reference:
        """Return what is known of `sample` before coding; its importance map is kept.

        Raises:
            SegmenterError: the segmenter failed.
        """
        return self.references([sample])[0]

    def references(self, samples: Sequence[Sample]) -> list[Reference]:
        """Return what is known of `samples` before coding; see `reference`."""
        keys = [sample_key(sample) for sample in samples]

        def made(missing: list[int]) -> list[Reference]:
            importance = self._segment_all([samples[n] for n in missing])
            return [
                Reference(samples[n], keys[n], checked(probability).copy())
                for n, probability in zip(missing, importance, strict=True)
            ]

        return self._references.get_all(keys, made)

    def score(self, reference: Reference, qp_map: AnyQPMap) -> EncodeResult:
        """Encode, decode and segment: one encode.

        Raises:
            InvalidInputError: the map does not fit the image, or the segmenter's output is wrong.
            CodecError: the codec failed.
            SegmenterError: the segmenter failed.
        """
        encoded = self.codec.encode([reference.sample.image], [qp_map])[0]
        probability = self.segment([encoded.reconstruction], reference.sample)[0]
        return encode_result(reference, encoded, probability, qp_map)

    def score_all(self, jobs: Sequence[Job]) -> list[EncodeResult | ToolError]:
        """Do many times what `score` does; a tool's failure stands in the place of its result.

        Raises:
            InvalidInputError: as `score`.
        """
        if len(jobs) == 1 or self._segments_in_pool(len(jobs)):
            return list(self._map(lambda job: attempt(self.score, *job), jobs))
        return self._score_in_batches(jobs)

    def uniform(self, reference: Reference, qp: int) -> tuple[EncodeResult, float]:
        """Return the encode at constant `qp`; see `uniforms`."""
        return self.uniforms(reference, [qp])[0]

    def uniforms(
        self, reference: Reference, qps: Sequence[int]
    ) -> list[tuple[EncodeResult, float]]:
        """Return the encodes at constant `qps`, which are kept, and the seconds that this saved.

        Planners that fill tables share them. The seconds, 0 for an encode made now, let a
        benchmark say what each planner would take alone. Raises as `anchors`.
        """
        made: set[int] = set()

        def timed(missing: list[int]) -> list[tuple[EncodeResult, float]]:
            made.update(qps[n] for n in missing)
            begin = processor_seconds()
            results = self._score_uniform(reference, [qps[n] for n in missing])
            each = (processor_seconds() - begin) / len(missing)
            return [(result, each) for result in results]

        found = self._uniform.get_all([(reference.key, qp) for qp in qps], timed)
        return [(found[n][0], 0.0 if qp in made else found[n][1]) for n, qp in enumerate(qps)]

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
            results = self._score_uniform(reference, [qps[n] for n in missing])
            for n, result in zip(missing, results, strict=True):
                self._anchor_masks.keep((reference.key, qps[n]), result.mask)
            return [result.figures for result in results]

        return self._anchors.get_all([(reference.key, qp) for qp in qps], encoded)

    def anchor_mask(self, reference: Reference, qp: int) -> Mask:
        """Return the segmenter's mask on the anchor at constant `qp`, bool (H, W).

        It is kept from the encode that `anchor` makes; one that was dropped is made again.
        Raises as `anchors`.
        """
        key, shape = (reference.key, qp), reference.importance.shape
        return self._anchor_masks.get(key, shape, lambda: self.uniform(reference, qp)[0].mask)

    def map_shape(self, sample: Sample) -> tuple[int, int]:
        """Return (rows, cols) of the sample's QP map."""
        return map_shape(sample.image.shape, self.codec.ctu_size)

    def segment(self, images: Sequence[Image], sample: Sample | None = None) -> Probabilities:
        """Return the segmenter's checked probabilities, float32 (N, H, W), of equal-sized images.

        Args:
            images: of one size.
            sample: what they are decoded from; a `PerSampleSegmenter` asks for it.

        Raises:
            InvalidInputError: the segmenter returned another shape, type or range.
            SegmenterError: the segmenter failed.
        """
        segmenter = self.segmenter if sample is None else segmenter_for(self.segmenter, sample)
        return segmented(segmenter, np.stack(images))

    def close(self) -> None:
        """End the threads. The codec stays open: who made it closes it."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _score_uniform(self, reference: Reference, qps: Sequence[int]) -> list[EncodeResult]:
        shape, ctu_size = reference.sample.image.shape, self.codec.ctu_size
        jobs = [(reference, uniform_map(shape, ctu_size, qp)) for qp in qps]
        return [checked(found) for found in self.score_all(jobs)]

    def _map(self, call: Callable[[Any], R], items: Sequence[Any]) -> Iterator[R]:
        if self._pool is None or len(items) == 1:
            return map(call, items)
        return self._pool.map(call, items)

    def _segments_in_pool(self, images: int) -> bool:
        """Whether the pool segments: not if fewer images than threads would leave some idle."""
        return self._one_by_one or (self._in_parallel and images >= self.workers)

    def _segment_one(self, image: Image, sample: Sample | None = None) -> Probability | ToolError:
        found = attempt(self.segment, [image], sample)
        return found if isinstance(found, TOOL_ERRORS) else found[0]

    def _segment_all(self, samples: Sequence[Sample]) -> list[Probability | ToolError]:
        """Segment images of any sizes; a failure stands in the place of its result."""
        if self._segments_in_pool(len(samples)):
            return list(self._map(lambda sample: self._segment_one(sample.image, sample), samples))
        return in_order(self._segment_batches(enumerate(sample.image for sample in samples)))

    def _segment_batches(
        self, images: Iterable[Numbered]
    ) -> Iterator[tuple[int, Probability | ToolError]]:
        for batch in self._batcher.batches(images):
            found = attempt(self.segment, [image for _, image in batch])
            if isinstance(found, TOOL_ERRORS) and len(batch) > 1:  # which image does it fail on?
                yield from ((n, self._segment_one(image)) for n, image in batch)
            elif isinstance(found, TOOL_ERRORS):
                yield batch[0][0], found
            else:
                yield from ((n, one) for (n, _), one in zip(batch, found, strict=True))

    def _score_in_batches(self, jobs: Sequence[Job]) -> list[EncodeResult | ToolError]:
        encoded: dict[int, Encoded] = {}
        results: dict[int, EncodeResult | ToolError] = {}

        def encode(job: Job) -> Encoded | ToolError:
            found = attempt(self.codec.encode, [job[0].sample.image], [job[1]])
            return found if isinstance(found, TOOL_ERRORS) else found[0]

        def decoded() -> Iterator[Numbered]:
            for n, found in enumerate(self._map(encode, jobs)):
                if isinstance(found, TOOL_ERRORS):
                    results[n] = found
                else:
                    encoded[n] = found
                    yield n, found.reconstruction

        for n, seen in self._segment_batches(decoded()):
            if isinstance(seen, TOOL_ERRORS):
                results[n] = seen
            else:
                reference, qp_map = jobs[n]
                results[n] = encode_result(reference, encoded[n], seen, qp_map)
        return in_order(results.items())


class AnchorSource(Protocol):
    """An evaluator, as `Anchors` ask it: of images, or of groups of pictures."""

    codec: Codec

    def anchors(self, reference: Any, qps: Sequence[int]) -> list[Figures]:
        """Return the anchor's figures at each of the constant `qps`."""
        ...


@dataclass(frozen=True, eq=False)
class Anchors:
    """One image, or group of pictures, at constant QPs.

    Every encode is made once, when it is asked for, and kept.
    """

    evaluator: AnchorSource
    reference: Coded
    base_qp: int

    @property
    def base(self) -> Figures:
        """The anchor at the episode's base QP."""
        return self.evaluator.anchors(self.reference, [self.base_qp])[0]

    @property
    def curve(self) -> list[Figures]:
        """The anchor at the base QP and at those of `CURVE_QPS` that the codec has, by QP.

        Beyond the codec's QPs its ends take their place.
        """
        return self.evaluator.anchors(self.reference, self._curve_qps)

    def curve_up_to(self, quality: float) -> list[Figures]:
        """The points of `curve` from the highest QP down to the first that reaches `quality`.

        What a curve that is made monotone has at `quality`, these points decide: those of lower
        QPs, whose encodes take longest, are not needed. As many are encoded at once as the
        evaluator has threads.
        """
        found: list[Figures] = []
        qps, step = self._curve_qps[::-1], getattr(self.evaluator, "workers", 1)
        while len(found) < len(qps) and all(point.quality < quality for point in found):
            found += self.evaluator.anchors(self.reference, qps[len(found) : len(found) + step])
        return found

    @property
    def _curve_qps(self) -> list[int]:
        qps = np.clip([*CURVE_QPS, self.base_qp], *self.evaluator.codec.qp_range)
        return [int(qp) for qp in np.unique(qps)]


def segmented(segmenter: Segmenter, images: Images) -> Probabilities:
    """Return a segmenter's checked probabilities, float32 (N, H, W).

    Raises:
        InvalidInputError: the segmenter returned another shape, type or range.
        SegmenterError: the segmenter failed.
    """
    try:
        probabilities = segmenter(images)
    except DmicError:
        raise
    except Exception as error:
        raise SegmenterError(
            f"The segmenter failed on {images.shape}: {type(error).__name__}: {error}"
        ) from error
    return check_probabilities(probabilities, images)


def _reference_bytes(reference: Reference) -> int:
    return 8 * reference.importance.size  # image, mask, float32 importance, both in its view


def _timed_bytes(kept: tuple[EncodeResult, float]) -> int:
    result = kept[0]
    return result.encoded.reconstruction.nbytes + result.mask.nbytes + len(result.encoded.bitstream)


def _anchor_bytes(_: Figures) -> int:
    return 200
