"""A least-recently-used cache bounded in bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar

V = TypeVar("V")


class ByteBoundedCache(Generic[V]):
    """Keeps the values used last, `max_bytes` of them in all; thread-safe.

    Args:
        max_bytes: bound on the sum of `size_of` over the kept values.
        size_of: bytes of a value. A value larger than the bound is not kept.
    """

    def __init__(self, max_bytes: int, size_of: Callable[[V], int]) -> None:
        self.max_bytes = max_bytes
        self._size_of = size_of
        self._values: OrderedDict[Hashable, V] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable, compute: Callable[[], V]) -> V:
        """Return the value kept under `key`, computing and keeping it if there is none."""
        return self.get_all([key], lambda _: [compute()])[0]

    def get_all(
        self, keys: Sequence[Hashable], compute: Callable[[list[int]], Sequence[V]]
    ) -> list[V]:
        """Return the values of all `keys`, computing those that are missing in one call.

        Args:
            keys: may repeat; a repeated key is computed once.
            compute: takes the positions in `keys` of the missing ones, returns their values.
        """
        found = self._kept(keys)
        first = {key: n for n, key in reversed(list(enumerate(keys))) if key not in found}
        missing = sorted(first.values())
        if missing:
            made = dict(zip((keys[n] for n in missing), compute(missing), strict=True))
            self._keep(made)
            found |= made
        return [found[key] for key in keys]

    def _kept(self, keys: Sequence[Hashable]) -> dict[Hashable, V]:
        with self._lock:
            found = {key: self._values[key] for key in keys if key in self._values}
            for key in found:
                self._values.move_to_end(key)
        return found

    def _keep(self, made: dict[Hashable, V]) -> None:
        with self._lock:
            for key, value in made.items():
                if key not in self._values:
                    self._values[key] = value
                    self._bytes += self._size_of(value)
            while self._bytes > self.max_bytes:
                self._bytes -= self._size_of(self._values.popitem(last=False)[1])

    def __len__(self) -> int:
        return len(self._values)

    def __getstate__(self) -> dict[str, Any]:
        return {"max_bytes": self.max_bytes, "_size_of": self._size_of}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["max_bytes"], state["_size_of"])  # type: ignore[misc]
