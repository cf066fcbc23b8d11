"""Decoding any HEVC stream with FFmpeg's decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import av
import numpy as np

from dmic_gym.codecs.base import MAX_SIDE
from dmic_gym.codecs.hevc.nal import count_pictures
from dmic_gym.errors import DecodeError, InvalidInputError
from dmic_gym.types import Samples

MAX_PIXELS = (MAX_SIDE + 128) ** 2
"""What a header may ask for: the largest picture that we code, and what FFmpeg adds around it."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """The pictures of a stream.

    Attributes:
        frames: (N, H, W) in output order, uint8, or uint16 beyond 8 bits: the luma samples as
            coded, whatever range the stream says they have.
        bit_depth: of luma.
        verified: whether each picture of the stream was decoded and carries an MD5 of its
            samples, which matched. HEVC has no other checksum: damage within the slices of a
            stream without it may decode to a wrong picture.
    """

    frames: Samples
    bit_depth: int
    verified: bool


def decode_stream(
    bitstream: bytes,
    *,
    watch: Callable[[tuple[int, int], int], None] = lambda shape, count: None,
    max_pixels: int = MAX_PIXELS,
) -> Decoded:
    """Decode an Annex B stream of any profile that FFmpeg reads, to its luma.

    Args:
        bitstream: one or more pictures, of one size and depth.
        watch: called with (H, W) and the number of pictures so far, this one included, before a
            picture is kept; what it raises ends the decoding.
        max_pixels: the largest coded picture that may be allocated.

    Raises:
        DecodeError: the stream is damaged, holds no picture, or pictures of several sizes. An MD5
            that does not match is damage.
        InvalidInputError: `bitstream` is no bytes.
    """
    if not isinstance(bitstream, bytes):
        raise InvalidInputError(f"bitstream must be bytes, got {type(bitstream).__name__}.")
    if not bitstream:
        raise DecodeError("The bitstream is empty.")
    frames, bit_depth = list[Samples](), 0
    for frame in _decoded(bitstream, max_pixels):
        watch((frame.height, frame.width), len(frames) + 1)
        luma, bit_depth = _luma(frame), frame.format.components[0].bits
        if frames and (luma.shape, luma.dtype) != (frames[0].shape, frames[0].dtype):
            raise DecodeError("The stream holds pictures of several sizes or depths.")
        frames.append(luma)
    if not frames:
        raise DecodeError("The stream holds no picture.")
    complete = (len(frames), len(frames))
    return Decoded(np.stack(frames), bit_depth, count_pictures(bitstream) == complete)


class OpenDecoder:
    """A decoder that is given a stream picture by picture and returns each at once."""

    def __init__(self) -> None:
        self._context = _context(MAX_PIXELS)

    def decode(self, access_unit: bytes) -> Samples:
        """Return the luma of the next picture, (H, W).

        Raises:
            DecodeError: it is damaged, or more or less than one picture.
        """
        try:
            frames = self._context.decode(av.Packet(access_unit))
        except av.FFmpegError as error:
            raise _refused(error) from error
        if len(frames) != 1:
            raise DecodeError(f"The HEVC decoder returned {len(frames)} pictures for one.")
        return _luma(frames[0])


def _context(max_pixels: int) -> av.VideoCodecContext:
    decoder = av.VideoCodecContext.create("hevc", "r")
    decoder.thread_count = 1
    decoder.options = {"err_detect": "crccheck+explode", "max_pixels": str(max_pixels)}
    return decoder


def _decoded(bitstream: bytes, max_pixels: int) -> Iterator[av.VideoFrame]:
    decoder = _context(max_pixels)
    try:
        for packet in (*decoder.parse(bitstream), *decoder.parse(None), None):
            yield from decoder.decode(packet)
    except av.FFmpegError as error:
        raise _refused(error) from error


def _refused(error: av.FFmpegError) -> DecodeError:
    return DecodeError(f"The HEVC decoder refused the stream: {error}")


def _luma(frame: av.VideoFrame) -> Samples:
    component = frame.format.components[0]
    if not component.is_luma:
        raise DecodeError(f"Expected luma, found {frame.format.name!r}: convert it to YUV first.")
    plane, dtype = frame.planes[0], np.dtype(np.uint8 if component.bits == 8 else np.uint16)
    rows = np.frombuffer(memoryview(plane), dtype).reshape(-1, plane.line_size // dtype.itemsize)
    return rows[: frame.height, : frame.width].copy()
