"""Frames with regions of interest, written again for each picture instead of built anew.

FFmpeg attaches regions to a frame by one ``addroi`` filter each, in a graph that takes 30
microseconds a region to build, and more than that for thousands of regions. A canvas is a frame
that has been through such a graph once; its pixels and its list of regions are then overwritten
in place.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.frame import PictureType

from dmic_gym.codecs.hevc.picture import GREY, SampleFormat
from dmic_gym.codecs.hevc.regions import REGION, Regions, addroi_options
from dmic_gym.errors import EncodeError
from dmic_gym.types import Samples

TIME_BASE = Fraction(1, 25)

_LEAST_REGIONS = 32


@dataclass(frozen=True)
class CanvasKey:
    """What a canvas is good for: pictures of one size and format, and a number of regions."""

    shape: tuple[int, int]
    room: int
    sample_format: SampleFormat = GREY

    @classmethod
    def holding(cls, count: int, shape: tuple[int, int], sample_format: SampleFormat) -> CanvasKey:
        """Return the key of canvases for up to the next power of two of regions."""
        return cls(shape, max(_LEAST_REGIONS, 1 << (count - 1).bit_length()), sample_format)


class Canvas:
    """A frame with room for regions; its chroma is mid-grey."""

    def __init__(self, key: CanvasKey) -> None:
        self.key = key
        self._frame = with_regions(_grey(key), _marks(key))
        side_data: Any = self._frame.side_data
        self._regions = side_data["REGIONS_OF_INTEREST"]
        self._check()
        height, width = key.shape
        self._luma = _plane(self._frame, 0, key.sample_format)[:height, :width]

    def draw(
        self, picture: Samples, regions: Regions, count: int, kind: PictureType = PictureType.I
    ) -> av.VideoFrame:
        """Return the frame with these samples and at least one region, as number `count`.

        `kind` is what it has to be coded as: I, or NONE where the encoder decides.
        """
        self._luma[...] = picture
        table = np.empty(self.key.room, REGION)
        table[: len(regions)] = regions
        table[len(regions) :] = regions[-1]  # saying the last one again changes nothing
        ctypes.memmove(self._regions.buffer_ptr, table.ctypes.data, table.nbytes)
        self._frame.pts = count
        self._frame.time_base = TIME_BASE
        self._frame.pict_type = kind
        return self._frame

    def _check(self) -> None:
        """Make sure that this FFmpeg lays out its regions as we write them."""
        if bytes(self._regions) != _marks(self.key).tobytes():
            raise EncodeError("This FFmpeg has another layout of regions of interest.")


def _marks(key: CanvasKey) -> Regions:
    """Regions that tell one field of the layout from another."""
    marks = np.zeros(key.room, REGION)
    marks["size"], marks["d"] = REGION.itemsize, 51
    marks["bottom"], marks["right"] = key.shape
    marks["n"] = np.arange(key.room) % 7 - 3
    return marks


def with_regions(frame: av.VideoFrame, regions: Regions) -> av.VideoFrame:
    """Attach regions of interest, one ``addroi`` filter each, in a graph of their own."""
    graph = av.filter.Graph()
    graph.threads = 1
    last = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=TIME_BASE
    )
    for region in regions:
        node = graph.add("addroi", **addroi_options(region))
        last.link_to(node)
        last = node
    last.link_to(graph.add("buffersink"))
    graph.configure()
    graph.push(frame)
    out = graph.pull()
    assert isinstance(out, av.VideoFrame)
    return out


def _grey(key: CanvasKey) -> av.VideoFrame:
    height, width = key.shape
    frame = av.VideoFrame(width, height, key.sample_format.pix_fmt)
    for number in range(len(frame.planes)):
        _plane(frame, number, key.sample_format)[...] = key.sample_format.mid_grey
    frame.pts, frame.time_base = 0, TIME_BASE
    return frame


def _plane(frame: av.VideoFrame, number: int, sample_format: SampleFormat) -> Samples:
    """Return the samples of a plane, FFmpeg's padding at the right included."""
    plane, dtype = frame.planes[number], sample_format.dtype
    samples = np.frombuffer(memoryview(plane), dtype)
    return samples.reshape(-1, plane.line_size // dtype.itemsize)
