"""Keeping x265 encoders open between images, since opening one costs as much as an encode."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import av
from av.bitstream import BitStreamFilterContext
from av.video.frame import PictureType

from dmic_gym.codecs.hevc.canvas import TIME_BASE, Canvas, CanvasKey
from dmic_gym.codecs.hevc.nal import without_watermark
from dmic_gym.codecs.hevc.picture import GREY, SampleFormat
from dmic_gym.codecs.hevc.pool import IdlePool
from dmic_gym.codecs.hevc.regions import NO_OFFSET, Regions
from dmic_gym.codecs.hevc.sps import read_sps
from dmic_gym.errors import EncodeError
from dmic_gym.types import Samples


@dataclass(frozen=True)
class EncoderKey:
    """What an open encoder is good for.

    Measured memory of an idle encoder: 2..6 MB at 300x300, 50..140 MB at 4096x4096.
    """

    shape: tuple[int, int]
    preset: str
    x265_params: str
    sample_format: SampleFormat = GREY


_open: WeakSet[OpenEncoder] = WeakSet()


class OpenEncoder:
    """One open x265 encoder; every frame it is given comes back at once."""

    def __init__(self, key: EncoderKey) -> None:
        self.key = key
        context = av.VideoCodecContext.create("libx265", "w")
        context.height, context.width = key.shape
        context.pix_fmt = key.sample_format.pix_fmt
        context.time_base = TIME_BASE
        context.options = {
            "preset": key.preset,
            "x265-params": key.x265_params,
            "forced-idr": "1",
        }
        self._context = context
        self._count = 0
        self._forked = False
        _open.add(self)

    def packet(self, picture: Samples, regions: Regions, kind: PictureType) -> av.Packet[Any]:
        """Code the next frame, as an IDR picture if `kind` is I.

        Every frame carries offsets, if only zero: x265 keeps the last frame's where one has none,
        and crashes when the first frame of an encoder had none and a later one has.
        """
        if self._forked:
            raise EncodeError("This encoder was opened before the process forked: open another.")
        regions = regions if len(regions) else NO_OFFSET
        key = CanvasKey.holding(len(regions), self.key.shape, self.key.sample_format)
        with _canvases.lend(key) as canvas:
            packets = self._context.encode(canvas.draw(picture, regions, self._count, kind))
        self._count += 1
        if len(packets) != 1:
            raise EncodeError(f"x265 returned {len(packets)} packets for one frame.")
        return packets[0]


class KeptEncoder(OpenEncoder):
    """One for stills, each coded by itself."""

    def __init__(self, key: EncoderKey) -> None:
        super().__init__(key)
        self._sao_flags: int | None = None

    def encode(self, picture: Samples, regions: Regions, crop: str | None) -> bytes:
        """Code one picture; the same picture gives the same bytes whatever came before."""
        packet = self.packet(picture, regions, PictureType.I)
        if crop:
            packet = filtered(packet, BitStreamFilterContext(crop, "hevc"))
        stream = bytes(packet)
        if self._sao_flags is None:
            self._sao_flags = read_sps(stream).sao_flags
        return without_watermark(stream, sao_flags=self._sao_flags)


def filtered(packet: av.Packet[Any], crop: BitStreamFilterContext) -> av.Packet[Any]:
    """Pass a packet through the bitstream filter that signals the true size."""
    packets = crop.filter(packet)
    if len(packets) != 1:
        raise EncodeError(f"The bitstream filter returned {len(packets)} packets for one.")
    return packets[0]


EncoderPool = IdlePool[EncoderKey, KeptEncoder]

_canvases = IdlePool(Canvas)
_pool = IdlePool(KeptEncoder)
_of_parents: list[OpenEncoder] = []


def process_pool() -> EncoderPool:
    """Return the encoders that all codecs of this process share."""
    return _pool


def _start_afresh_after_fork() -> None:
    """Leave the parent's encoders alone: their threads do not exist in a forked child."""
    global _pool, _canvases
    for encoder in _open:
        encoder._forked = True
        _of_parents.append(encoder)  # closing it would wait for them forever
    _pool, _canvases = IdlePool(KeptEncoder), IdlePool(Canvas)


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_start_afresh_after_fork)
