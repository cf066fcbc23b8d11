"""Keeping x265 encoders open between images, since opening one costs as much as an encode."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import av
from av.bitstream import BitStreamFilterContext

from dmic_gym.codec.base import Image
from dmic_gym.codec.canvas import TIME_BASE, CanvasPool
from dmic_gym.codec.nal import uses_sao, without_watermark
from dmic_gym.codec.params import RegionOfInterest
from dmic_gym.errors import EncodeError

_NO_OFFSET = [{"x": "0", "y": "0", "w": "1", "h": "1", "qoffset": "0/51"}]
"""Every frame carries offsets, if only zero: x265 keeps the last frame's where one has none, and
crashes when the first frame of an encoder had none and a later one has."""


@dataclass(frozen=True)
class EncoderKey:
    """What an open encoder is good for."""

    shape: tuple[int, int]
    preset: str
    x265_params: str


class KeptEncoder:
    """One open all-intra x265 encoder; every frame it is given comes back at once."""

    def __init__(self, key: EncoderKey) -> None:
        self.key = key
        context = av.VideoCodecContext.create("libx265", "w")
        context.height, context.width = key.shape
        context.pix_fmt = "gray"
        context.time_base = TIME_BASE
        context.options = {"preset": key.preset, "x265-params": key.x265_params}
        self._context = context
        self._count = 0
        self._sao: bool | None = None

    def encode(self, image: Image, roi: list[RegionOfInterest], crop: str | None) -> bytes:
        """Code one picture; the same picture gives the same bytes whatever came before."""
        regions = roi or _NO_OFFSET
        with _canvases.borrow(self.key.shape, len(regions)) as canvas:
            packets = self._context.encode(canvas.draw(image, regions, self._count))
        self._count += 1
        if len(packets) != 1:
            raise EncodeError(f"x265 returned {len(packets)} packets for one frame.")
        stream = bytes(_cropped(packets[0], crop) if crop else packets[0])
        if self._sao is None:
            self._sao = uses_sao(stream)
        return without_watermark(stream, sao=self._sao)


def _cropped(packet: av.Packet[Any], crop: str) -> av.Packet[Any]:
    packets = BitStreamFilterContext(crop, "hevc").filter(packet)
    if len(packets) != 1:
        raise EncodeError(f"The bitstream filter {crop!r} returned {len(packets)} packets.")
    return packets[0]


class EncoderPool:
    """Open encoders by key; idle ones beyond `max_idle` or `max_idle_pixels` are closed.

    An encoder serves one thread at a time: `borrow` takes it out of the pool, so concurrent
    encodes of one kind open one encoder each. An encoder that failed is not put back.

    Measured memory of an idle encoder: 2..6 MB at 300x300, 50..140 MB at 4096x4096.
    """

    def __init__(self, max_idle: int = 24, max_idle_pixels: int = 16 << 20) -> None:
        self._max_idle = max_idle
        self._max_idle_pixels = max_idle_pixels
        self._idle: OrderedDict[int, KeptEncoder] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def borrow(self, key: EncoderKey) -> Iterator[KeptEncoder]:
        """Lend an encoder for `key`, opened if none is idle."""
        encoder = self._take(key) or KeptEncoder(key)
        yield encoder
        self._give_back(encoder)

    def discard(self, preset: str) -> None:
        """Close the idle encoders of `preset`."""
        with self._lock:
            doomed = [token for token, kept in self._idle.items() if kept.key.preset == preset]
            dropped = [self._idle.pop(token) for token in doomed]
        del dropped  # closed here, outside the lock

    def _take(self, key: EncoderKey) -> KeptEncoder | None:
        with self._lock:
            for token, encoder in reversed(self._idle.items()):
                if encoder.key == key:
                    return self._idle.pop(token)
        return None

    def _give_back(self, encoder: KeptEncoder) -> None:
        dropped = []
        with self._lock:
            self._idle[id(encoder)] = encoder
            while self._too_many():
                dropped.append(self._idle.popitem(last=False))

    def _too_many(self) -> bool:
        pixels = sum(e.key.shape[0] * e.key.shape[1] for e in self._idle.values())
        return len(self._idle) > self._max_idle or pixels > self._max_idle_pixels


_canvases = CanvasPool()
_pool = EncoderPool()
_pools_of_parents: list[EncoderPool] = []


def process_pool() -> EncoderPool:
    """Return the pool that all codecs of this process share."""
    return _pool


def _start_afresh_after_fork() -> None:
    """Leave the parent's encoders alone: their threads do not exist in a forked child."""
    global _pool, _canvases
    _pools_of_parents.append(_pool)
    _pool, _canvases = EncoderPool(), CanvasPool()


os.register_at_fork(after_in_child=_start_afresh_after_fork)
