"""What every data set is: a sequence of samples made when they are asked for."""

from __future__ import annotations

import operator
from abc import abstractmethod
from collections.abc import Sequence
from typing import overload

from dmic_gym.tasks.data.sample import Sample


class LazySamples(Sequence[Sample]):
    """A sequence that makes a sample anew each time it is asked for; slices are lists.

    Attributes:
        lasting: whether an index gives the same sample each time.
    """

    lasting = True

    @abstractmethod
    def _read(self, index: int) -> Sample:
        """Make sample `index`, 0..len - 1."""

    @abstractmethod
    def _content(self) -> str:
        """What there are len(self) of, for messages."""

    def _name(self, index: int) -> str:
        """Return the name of sample `index`; data sets that know it need not make the sample."""
        return self._read(index).name

    @property
    def names(self) -> list[str]:
        """The names of the samples, in order."""
        return [self._name(index) for index in range(len(self))]

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...

    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        if isinstance(index, slice):
            return [self._read(i) for i in range(*index.indices(len(self)))]
        i = operator.index(index)
        if not -len(self) <= i < len(self):
            raise IndexError(f"index {i} is out of range for {len(self)} {self._content()}")
        return self._read(i % len(self))


class Selection(LazySamples):
    """Some of the samples of a lazy sequence.

    Args:
        samples: the sequence.
        places: which of them, in this order.
    """

    def __init__(self, samples: LazySamples, places: range) -> None:
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

    def _read(self, index: int) -> Sample:
        return self.samples[self.places[index]]


def names_of(samples: Sequence[Sample]) -> list[str]:
    """Return the names of samples; of a sequence with `names` without making them."""
    names: list[str] | None = getattr(samples, "names", None)
    return [sample.name for sample in samples] if names is None else names
