"""Keeping costly objects for the next who needs one like them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """Something made for pictures of one size."""

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of the pictures."""
        ...


T = TypeVar("T", bound=Sized)


class IdlePool(Generic[T]):
    """Idle objects; those beyond `max_idle` or `max_idle_pixels` are dropped, oldest first.

    An object serves one thread at a time: `lend` takes it out of the pool. One that failed is not
    put back.
    """

    def __init__(self, max_idle: int = 24, max_idle_pixels: int = 16 << 20) -> None:
        self._max_idle = max_idle
        self._max_idle_pixels = max_idle_pixels
        self._idle: OrderedDict[int, T] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def lend(self, fits: Callable[[T], bool], make: Callable[[], T]) -> Iterator[T]:
        """Lend the object used last that `fits`, or a new one."""
        lent = self._take(fits) or make()
        yield lent
        self._give_back(lent)

    def drop(self, doomed: Callable[[T], bool]) -> None:
        """Drop the idle objects that are `doomed`."""
        with self._lock:
            tokens = [token for token, kept in self._idle.items() if doomed(kept)]
            dropped = [self._idle.pop(token) for token in tokens]
        del dropped  # closed here, outside the lock

    def _take(self, fits: Callable[[T], bool]) -> T | None:
        with self._lock:
            for token, kept in reversed(self._idle.items()):
                if fits(kept):
                    return self._idle.pop(token)
        return None

    def _give_back(self, lent: T) -> None:
        dropped = []  # closed when this function returns, outside the lock
        with self._lock:
            self._idle[id(lent)] = lent
            while self._too_many():
                dropped.append(self._idle.popitem(last=False))

    def _too_many(self) -> bool:
        pixels = sum(kept.shape[0] * kept.shape[1] for kept in self._idle.values())
        return len(self._idle) > self._max_idle or pixels > self._max_idle_pixels
