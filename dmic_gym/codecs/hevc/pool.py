"""Keeping costly objects for the next who needs one like them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar


class Key(Hashable, Protocol):
    """What an object is good for; objects of equal keys can stand for each other."""

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of the pictures it serves."""
        ...


K = TypeVar("K", bound=Key)
T = TypeVar("T")


class IdlePool(Generic[K, T]):
    """Idle objects; those beyond `max_idle` or `max_idle_pixels` are dropped, oldest first.

    An object serves one thread at a time: `lend` takes it out of the pool. One that failed is not
    put back.

    Args:
        make: makes an object for a key.
        max_idle: objects that may be idle.
        max_idle_pixels: of their pictures in all.
    """

    def __init__(
        self, make: Callable[[K], T], max_idle: int = 24, max_idle_pixels: int = 16 << 20
    ) -> None:
        self._make = make
        self._max_idle = max_idle
        self._max_idle_pixels = max_idle_pixels
        self._idle: list[tuple[K, T]] = []
        self._lock = threading.Lock()

    @contextmanager
    def lend(self, key: K) -> Iterator[T]:
        """Lend the object of that key that was used last, or a new one."""
        lent = self._take(key) or (key, self._make(key))
        yield lent[1]
        self._give_back(lent)

    def drop(self, doomed: Callable[[K], bool]) -> None:
        """Drop the idle objects whose key is `doomed`."""
        with self._lock:
            before = self._idle
            self._idle = [(key, kept) for key, kept in before if not doomed(key)]
        del before  # objects close here, outside the lock

    def _take(self, key: K) -> tuple[K, T] | None:
        with self._lock:
            for place in reversed(range(len(self._idle))):
                if self._idle[place][0] == key:
                    return self._idle.pop(place)
        return None

    def _give_back(self, lent: tuple[K, T]) -> None:
        dropped = []  # closed when this function returns, outside the lock
        with self._lock:
            self._idle.append(lent)
            while self._too_many():
                dropped.append(self._idle.pop(0))

    def _too_many(self) -> bool:
        pixels = sum(key.shape[0] * key.shape[1] for key, _ in self._idle)
        return len(self._idle) > self._max_idle or pixels > self._max_idle_pixels
