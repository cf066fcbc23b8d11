"""Keeping the samples that a lazy data set makes or reads anew each time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from dmic_gym.envs.cache import ByteBoundedCache
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.data.sequence import LazySequence, names_of


class DatasetCache(Sequence[Sample]):
    """A data set whose samples used last are at hand.

    Only dmic_gym's own lazy data sets are kept, which give the same sample for an index every
    time: drawing a phantom takes 20 ms, reading an angiogram and its mask 3 ms. A list needs no
    keeping, and a sequence of a user's own may change with each access, as augmentation does.

    Attributes:
        dataset: the samples.

    Args:
        dataset: the samples.
        max_bytes: bound on the kept images and masks, least recently used first out.
    """

    def __init__(self, dataset: Sequence[Sample], max_bytes: int = 128 << 20) -> None:
        self.dataset = dataset
        self._lasting = isinstance(dataset, LazySequence) and dataset.lasting
        self._kept = ByteBoundedCache(max_bytes, _sample_bytes)

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def names(self) -> list[str]:
        """The names of the samples, in order."""
        return names_of(self.dataset)

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...

    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not self._lasting or not -len(self) <= index < len(self):
            return self.dataset[index]
        return self._kept.get(index % len(self), lambda: self.dataset[index])


def _sample_bytes(sample: Sample) -> int:
    return sample.image.nbytes + (0 if sample.mask is None else sample.mask.nbytes)
