"""What every data set is: a sequence of samples made when they are asked for."""

from __future__ import annotations

import operator
from abc import abstractmethod
from collections.abc import Sequence
from typing import overload

from dmic_gym.tasks.data.sample import Sample


class LazySamples(Sequence[Sample]):
    """A sequence that makes a sample anew each time it is asked for; slices are lists."""

    @abstractmethod
    def _read(self, index: int) -> Sample:
        """Make sample `index`, 0..len - 1."""

    @abstractmethod
    def _content(self) -> str:
        """What there are len(self) of, for messages."""

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
