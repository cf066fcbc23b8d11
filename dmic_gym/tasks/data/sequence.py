"""What every data set is: a sequence of samples or clips made when they are asked for."""

from __future__ import annotations

import operator
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, TypeVar, overload

from dmic_gym.tasks.data.clip import Clip
from dmic_gym.tasks.data.sample import Sample

Item = TypeVar("Item", bound=Sample | Clip)


class LazySequence(Sequence[Item]):
    """A sequence that makes an item anew each time it is asked for; slices are lists.

    Attributes:
        lasting: whether an index gives the same item each time.
    """

    lasting = True

    @abstractmethod
    def _read(self, index: int) -> Item:
        """Make item `index`, 0..len - 1."""

    @abstractmethod
    def _content(self) -> str:
        """What there are len(self) of, for messages."""

    def _name(self, index: int) -> str:
        """Return the name of item `index`; data sets that know it need not make the item."""
        return self._read(index).name

    @property
    def names(self) -> list[str]:
        """The names of the items, in order."""
        return [self._name(index) for index in range(len(self))]

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...

    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        if isinstance(index, slice):
            return [self._read(i) for i in range(*index.indices(len(self)))]
        i = operator.index(index)
        if not -len(self) <= i < len(self):
            raise IndexError(f"index {i} is out of range for {len(self)} {self._content()}")
        return self._read(i % len(self))


class LazySamples(LazySequence[Sample]):
    """Images, see `LazySequence`."""


class LazyClips(LazySequence[Clip]):
    """Clips, see `LazySequence`."""


class Selection(LazySequence[Item]):
    """Some of the items of a lazy sequence.

    Args:
        samples: the sequence.
        places: which of them, in this order.
    """

    def __init__(self, samples: LazySequence[Item], places: range) -> None:
        self.samples = samples
        self.places = places
        self.lasting = samples.lasting

    def __repr__(self) -> str:
        return f"Selection({self.samples!r}, {self.places})"

    def __len__(self) -> int:
        return len(self.places)

    def _name(self, index: int) -> str:
        return self.samples._name(self.places[index])

    def _content(self) -> str:
        return f"selected {self.samples._content()}"

    def _read(self, index: int) -> Item:
        return self.samples[self.places[index]]


def holds_clips(data: Any) -> bool:
    """Whether `data` is a sequence of clips."""
    if isinstance(data, Selection):
        return holds_clips(data.samples)
    few = isinstance(data, list | tuple) and len(data) > 0 and isinstance(data[0], Clip)
    return few or isinstance(data, LazyClips)


def names_of(samples: Sequence[Sample | Clip]) -> list[str]:
    """Return the names of samples or clips; of a sequence with `names` without making them."""
    names: list[str] | None = getattr(samples, "names", None)
    return [sample.name for sample in samples] if names is None else names
