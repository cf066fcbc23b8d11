"""Many encodes at once: a pool of threads encodes, the segmenter gets its best batches."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dmic_gym.codecs.base import Codec, Encoded
from dmic_gym.envs.evaluator import (
    TOOL_ERRORS,
    EncodeResult,
    Evaluator,
    Image,
    Job,
    Probability,
    ToolError,
    encode_result,
)
from dmic_gym.errors import SegmenterError
from dmic_gym.tasks.segmenters.protocol import Segmenter

MAX_BATCH = 64
_WORTH_IT = 0.9
"""A batch of twice the size has to take less than this share of the time an image."""


class ParallelEvaluator(Evaluator):
    """A `Evaluator` that does many jobs at once. To be used by one thread.

    Encoder and decoder let other threads run, so encodes go to a pool. Where the segmenter says
    ``in_parallel = True``, as networks on a CPU do, each thread of the pool segments what it has
    decoded. Every other segmenter is called from one thread, in batches of the best size, while
    the pool goes on encoding. Batches hold equal-sized images in the order of the jobs, so that
    the results do not depend on which encode ends first.

    Args:
        codec: the encoder.
        segmenter: the diagnosis network.
        workers: threads of the pool.
        batch: images in a batch; None measures it once per image size class.
    """

    def __init__(
        self, codec: Codec, segmenter: Segmenter, workers: int, batch: int | None = None
    ) -> None:
        super().__init__(codec, segmenter)
        self.workers = workers
        self._batch = batch
        self._measured: dict[int, int] = {}
        self._in_parallel = bool(getattr(segmenter, "in_parallel", False))
        self._pool = start_pool(workers)

    def score_all(self, jobs: Sequence[Job]) -> list[EncodeResult | ToolError]:
        """Do many times what `score` does; see `Evaluator.score_all`."""
        if len(jobs) == 1:
            return super().score_all(jobs)
        if self._segments_in_pool(len(jobs)):
            return list(self._pool.map(self._attempt, jobs))
        return self._score_in_batches(jobs)

    def best_batch(self, image: Image) -> int:
        """Return how many images of that size the segmenter should get at once."""
        if self._batch is not None:
            return self._batch
        if self._in_parallel:
            return 1
        size_class = image.size.bit_length()
        if size_class not in self._measured:
            self._measured[size_class] = measure_best_batch(self.segment, image)
        return self._measured[size_class]

    def close(self) -> None:
        """End the pool and close the codec."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        super().close()

    def _segments_in_pool(self, images: int) -> bool:
        """Whether the pool segments: not if fewer images than threads would leave some idle."""
        return self._in_parallel and images >= self.workers

    def _segment_all(self, images: Sequence[Image]) -> list[Probability | ToolError]:
        if len(images) > 1 and self._segments_in_pool(len(images)):
            return list(self._pool.map(self._attempt_segment, images))
        batches = self._batches(enumerate(images))
        return _in_order(pair for batch in batches for pair in self._segment_batch(batch))

    def _score_in_batches(self, jobs: Sequence[Job]) -> list[EncodeResult | ToolError]:
        encoded: dict[int, Encoded] = {}
        results: dict[int, EncodeResult | ToolError] = {}

        def decoded() -> Iterator[tuple[int, Image]]:
            for n, found in enumerate(self._pool.map(self._attempt_encode, jobs)):
                if isinstance(found, TOOL_ERRORS):
                    results[n] = found
                else:
                    encoded[n] = found
                    yield n, found.reconstruction

        for batch in self._batches(decoded()):
            for n, seen in self._segment_batch(batch):
                if isinstance(seen, TOOL_ERRORS):
                    results[n] = seen
                else:
                    reference, qp_map = jobs[n]
                    results[n] = encode_result(reference, encoded[n], seen, qp_map)
        return _in_order(results.items())

    def _batches(self, images: Iterator[tuple[int, Image]]) -> Iterator[list[tuple[int, Image]]]:
        """Group numbered images by shape into batches of the best size."""
        waiting: dict[tuple[int, ...], list[tuple[int, Image]]] = {}
        for n, image in images:
            group = waiting.setdefault(image.shape, [])
            group.append((n, image))
            if len(group) >= self.best_batch(image):
                yield waiting.pop(image.shape)
        yield from waiting.values()

    def _segment_batch(
        self, batch: Sequence[tuple[int, Image]]
    ) -> list[tuple[int, Probability | ToolError]]:
        try:
            probabilities = self.segment([image for _, image in batch])
        except TOOL_ERRORS:  # find the image that it failed on
            return [(n, self._attempt_segment(image)) for n, image in batch]
        return [(n, found) for (n, _), found in zip(batch, probabilities, strict=True)]

    def _attempt_encode(self, job: Job) -> Encoded | ToolError:
        reference, qp_map = job
        try:
            return self.codec.encode(reference.sample.image, qp_map)
        except TOOL_ERRORS as error:
            return error


def measure_best_batch(
    segment: Callable[[Sequence[Image]], Any], image: Image, limit: int = MAX_BATCH
) -> int:
    """Double the batch as long as that saves a tenth of the time an image; return the size."""
    best = 1
    while best < limit:
        try:
            single, double = _fastest(segment, [[image] * best, [image] * (2 * best)])
        except SegmenterError:  # such as a GPU whose memory is full
            break
        if double / 2 > _WORTH_IT * single:
            break
        best *= 2
    return best


def _fastest(
    segment: Callable[[Sequence[Image]], Any], batches: Sequence[list[Image]]
) -> list[float]:
    """Return the least seconds of four calls with each batch, in turns: other load hits all."""
    times: list[list[float]] = [[] for _ in batches]
    for _ in range(5):
        for batch, taken in zip(batches, times, strict=True):
            begin = time.perf_counter()
            segment(batch)
            taken.append(time.perf_counter() - begin)
    return [min(taken[1:]) for taken in times]  # the first call of a shape sets things up


def default_workers() -> int:
    """Return the number of processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def start_pool(workers: int) -> ThreadPoolExecutor:
    """Start a pool whose threads compute with one torch thread each, if torch is in use.

    Without that, each would start as many as there are processors. torch's setting for all other
    threads stays what it is.
    """
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return ThreadPoolExecutor(workers, "dmic-encode")
    all_here = threading.Barrier(workers)

    def one_thread() -> None:
        torch.get_num_threads()  # torch sets a new thread's number at its first use
        torch.set_num_threads(1)
        all_here.wait()

    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, "dmic-encode", one_thread)
    try:
        for done in [pool.submit(int) for _ in range(workers)]:
            done.result()
    finally:
        torch.set_num_threads(threads)
    return pool


def _in_order(numbered: Any) -> list[Any]:
    return [found for _, found in sorted(numbered, key=lambda pair: pair[0])]
