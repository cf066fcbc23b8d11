"""Grouping images into the batches that suit a segmenter best."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from dmic_gym.errors import SegmenterError
from dmic_gym.types import Image

MAX_BATCH = 64
_WORTH_IT = 0.9
"""A batch of twice the size has to take less than this share of the time an image."""

Numbered: TypeAlias = tuple[int, Image]
Segment: TypeAlias = Callable[[Sequence[Image]], Any]


class Batcher:
    """Groups images by shape into batches.

    Args:
        size: images in a batch; None measures it once per image size class.
        segment: what is measured.
    """

    def __init__(self, size: int | None, segment: Segment) -> None:
        self._size = size
        self._segment = segment
        self._measured: dict[int, int] = {}

    def size_for(self, image: Image) -> int:
        """Return how many images of that size the segmenter should get at once."""
        if self._size is not None:
            return self._size
        size_class = image.size.bit_length()
        if size_class not in self._measured:
            self._measured[size_class] = measure_best_batch(self._segment, image)
        return self._measured[size_class]

    def batches(self, images: Iterable[Numbered]) -> Iterator[list[Numbered]]:
        """Yield batches of equal-sized images, in the order of their numbers."""
        waiting: dict[tuple[int, ...], list[Numbered]] = {}
        for n, image in images:
            group = waiting.setdefault(image.shape, [])
            group.append((n, image))
            if len(group) >= self.size_for(image):
                yield waiting.pop(image.shape)
        yield from waiting.values()


def measure_best_batch(segment: Segment, image: Image, limit: int = MAX_BATCH) -> int:
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


def _fastest(segment: Segment, batches: Sequence[list[Image]]) -> list[float]:
    """Return the least seconds of four calls with each batch, in turns: other load hits all."""
    times: list[list[float]] = [[] for _ in batches]
    for _ in range(5):
        for batch, taken in zip(batches, times, strict=True):
            begin = time.perf_counter()
            segment(batch)
            taken.append(time.perf_counter() - begin)
    return [min(taken[1:]) for taken in times]  # the first call of a shape sets things up
