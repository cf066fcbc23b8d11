"""Frames with regions of interest, written again for each picture instead of built anew.

FFmpeg attaches regions to a frame by one ``addroi`` filter each, in a graph that takes 30
microseconds a region to build, and more than that for thousands of regions. A canvas is a frame
that has been through such a graph once; its pixels and its list of regions
(``AVRegionOfInterest``, libavutil/frame.h) are then overwritten in place.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from contextlib import AbstractContextManager
from fractions import Fraction
from typing import Any

import av
import numpy as np

from dmic_gym.codecs.base import Image
from dmic_gym.codecs.hevc.params import RegionOfInterest
from dmic_gym.codecs.hevc.pool import IdlePool
from dmic_gym.errors import EncodeError

TIME_BASE = Fraction(1, 25)

REGION = np.dtype(
    [(name, np.int32) for name in ("size", "top", "bottom", "left", "right", "n", "d")]
)
"""AVRegionOfInterest: its own size, edges in samples, offset as a fraction of 51."""

_LEAST_REGIONS = 32


class Canvas:
    """A grey frame of one size with room for a number of regions.

    Args:
        shape: (H, W) of the pictures.
        room: the most regions it can hold.
    """

    def __init__(self, shape: tuple[int, int], room: int) -> None:
        self.shape = shape
        self.room = room
        self._frame = with_regions(_grey(np.zeros(shape, np.uint8)), _marks(shape, room))
        self._regions: Any = next(iter(self._frame.side_data))
        self._check()
        plane = self._frame.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        self._pixels = rows[: shape[0], : shape[1]]

    def draw(self, image: Image, regions: Sequence[RegionOfInterest], count: int) -> av.VideoFrame:
        """Return the frame with these pixels and at least one region, as frame `count`."""
        self._pixels[...] = image
        table = np.empty(self.room, REGION)
        table[: len(regions)] = [_entry(region) for region in regions]
        table[len(regions) :] = table[len(regions) - 1]  # saying the last one again changes nothing
        ctypes.memmove(self._regions.buffer_ptr, table.ctypes.data, table.nbytes)
        self._frame.pts = count
        self._frame.time_base = TIME_BASE
        return self._frame

    def _check(self) -> None:
        """Make sure that this FFmpeg lays out its regions as we write them."""
        height, width = self.shape
        found = np.frombuffer(bytes(self._regions), np.uint8)
        expected = np.empty(self.room, REGION)
        expected[:] = [_entry(mark) for mark in _marks((height, width), self.room)]
        if not np.array_equal(found, expected.view(np.uint8)):
            raise EncodeError("This FFmpeg has another layout of regions of interest.")


def _marks(shape: tuple[int, int], room: int) -> list[RegionOfInterest]:
    """Regions that tell one field of the layout from another."""
    height, width = shape
    whole = {"x": "0", "y": "0", "w": str(width), "h": str(height)}
    return [{**whole, "qoffset": f"{n % 7 - 3}/51"} for n in range(room)]


def _entry(region: RegionOfInterest) -> tuple[int, ...]:
    x, y = int(region["x"]), int(region["y"])
    offset = int(region["qoffset"].partition("/")[0])
    return REGION.itemsize, y, y + int(region["h"]), x, x + int(region["w"]), offset, 51


def with_regions(frame: av.VideoFrame, regions: Sequence[RegionOfInterest]) -> av.VideoFrame:
    """Attach regions of interest, one ``addroi`` filter each, in a graph of their own."""
    graph = av.filter.Graph()
    graph.threads = 1
    last = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=TIME_BASE
    )
    for options in regions:
        node = graph.add("addroi", **options)
        last.link_to(node)
        last = node
    last.link_to(graph.add("buffersink"))
    graph.configure()
    graph.push(frame)
    out = graph.pull()
    assert isinstance(out, av.VideoFrame)
    return out


def _grey(image: Image) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(image, format="gray")
    frame.pts = 0
    frame.time_base = TIME_BASE
    return frame


class CanvasPool(IdlePool[Canvas]):
    """Canvases by size; the encoder keeps nothing of them."""

    def borrow(self, shape: tuple[int, int], regions: int) -> AbstractContextManager[Canvas]:
        """Lend a canvas for pictures of `shape` with room for that many regions."""
        room = max(_LEAST_REGIONS, 1 << (regions - 1).bit_length())
        return self.lend(
            lambda canvas: canvas.shape == shape and canvas.room >= regions,
            lambda: Canvas(shape, room),
        )
