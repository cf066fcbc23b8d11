"""Keeping the samples or clips that a lazy data set makes or reads anew each time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, overload

from dmic_gym.envs.cache import ByteBoundedCache
from dmic_gym.tasks.data.clip import Clip
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.data.sequence import Item, LazySequence, names_of


class DatasetCache(Sequence[Item], Generic[Item]):
    """A data set of which the samples or clips used last are at hand.

    Only dmic_gym's own lazy data sets are kept, which give the same sample for an index every
    time: drawing a phantom takes 20 ms, reading an angiogram and its mask 3 ms. A list needs no
    keeping, and a sequence of a user's own may change with each access, as augmentation does.

    Attributes:
        dataset: the samples.

    Args:
        dataset: the samples.
        max_bytes: bound on the kept images and masks, least recently used first out.
    """

    def __init__(self, dataset: Sequence[Item], max_bytes: int = 128 << 20) -> None:
        self.dataset = dataset
        self._lasting = isinstance(dataset, LazySequence) and dataset.lasting
        self._kept = ByteBoundedCache[Item](max_bytes, _bytes_of)

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def names(self) -> list[str]:
        """The names of the samples, in order."""
        return names_of(self.dataset)

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...

    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not self._lasting or not -len(self) <= index < len(self):
            return self.dataset[index]
        return self._kept.get(index % len(self), lambda: self.dataset[index])


def _bytes_of(item: Sample | Clip) -> int:
    if isinstance(item, Sample):
        return item.image.nbytes + (0 if item.mask is None else item.mask.nbytes)
    return item.frames.nbytes + (0 if item.masks is None else item.masks.nbytes)
