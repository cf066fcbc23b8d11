"""Augmented batches for training, made in threads while the network computes."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.segmenters.augment import augment
from dmic_gym.types import Image, Mask

Batch = tuple[Tensor, Tensor]


class Annotated(Protocol):
    """An image with its expert mask (a ``dmic_gym.tasks.data.Sample`` is one)."""

    @property
    def image(self) -> Image: ...  # noqa: D102
    @property
    def mask(self) -> Mask | None: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102


class Batches:
    """The augmented batches of each epoch.

    A sample's variation depends on the seed, the epoch and its place alone, so the number of
    threads changes no pixel.

    Args:
        samples: images with masks.
        batch: images in a batch; the last of an epoch may be smaller.
        size: side of the square crops, pixels.
        seed: of the order and of the variations.
        threads: how many make batches; 0 makes each when it is asked for, None is half of the
            processor's cores, 1 to 8.
    """

    def __init__(
        self,
        samples: Sequence[Annotated],
        batch: int,
        size: int,
        seed: int,
        threads: int | None = None,
    ) -> None:
        self._samples, self._batch, self._size, self._seed = samples, batch, size, seed
        cores = os.cpu_count() or 1
        self._threads = min(8, max(1, cores // 2)) if threads is None else threads

    def __len__(self) -> int:
        """Count the batches of an epoch."""
        return -(-len(self._samples) // self._batch)

    def epoch(self, number: int) -> Generator[Batch]:
        """Yield float32 images and masks (N, 1, size, size) in 0..1, in the epoch's order."""
        order = np.random.default_rng([self._seed, number]).permutation(len(self._samples)).tolist()
        groups = [order[k : k + self._batch] for k in range(0, len(order), self._batch)]
        if not self._threads:
            yield from (self._make(number, group) for group in groups)
            return
        with ThreadPoolExecutor(self._threads, "augment") as pool:
            yield from self._ahead(pool, number, groups)

    def _ahead(
        self, pool: ThreadPoolExecutor, number: int, groups: Sequence[Sequence[int]]
    ) -> Iterator[Batch]:
        waiting: deque[Future[Batch]] = deque()
        try:
            for group in groups:
                waiting.append(pool.submit(self._make, number, group))
                if len(waiting) > 2 * self._threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def _make(self, number: int, places: Sequence[int]) -> Batch:
        pairs = []
        for place in places:
            rng = np.random.default_rng([self._seed, number, place])
            sample = self._samples[place]
            pairs.append(augment(sample.image, expert_mask(sample), rng, self._size))
        images, masks = (np.stack(parts)[:, None] for parts in zip(*pairs, strict=True))
        return torch.from_numpy(images), torch.from_numpy(masks)


def expert_mask(sample: Annotated) -> Mask:
    """Return the expert's mask of a sample.

    Raises:
        InvalidInputError: it has none.
    """
    if sample.mask is None:
        raise InvalidInputError(
            f"Sample {sample.name!r} has no mask, and training needs one for each image. "
            "Put NAME_gt.png beside NAME.png, or leave the image out."
        )
    return sample.mask
