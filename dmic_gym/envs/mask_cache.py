"""Keeping many masks in little memory."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Hashable

import numpy as np

from dmic_gym.envs.cache import ByteBoundedCache
from dmic_gym.types import Mask


class MaskCache:
    """Keeps the masks used last, compressed: one of 512x512 takes about 2 kB.

    Args:
        max_bytes: bound on the compressed masks.
    """

    def __init__(self, max_bytes: int) -> None:
        self._packed = ByteBoundedCache[bytes](max_bytes, len)

    def keep(self, key: Hashable, mask: Mask) -> None:
        """Keep a mask under `key`."""
        self.get(key, mask.shape, lambda: mask)

    def get(self, key: Hashable, shape: tuple[int, ...], compute: Callable[[], Mask]) -> Mask:
        """Return the mask kept under `key`, bool of `shape`, or compute and keep it."""
        packed = self._packed.get(key, lambda: zlib.compress(np.packbits(compute()).tobytes(), 1))
        bits = np.frombuffer(zlib.decompress(packed), np.uint8)
        return np.unpackbits(bits, count=math.prod(shape)).astype(np.bool_).reshape(shape)
