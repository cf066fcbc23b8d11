"""Decoding HEVC pictures with FFmpeg's decoder."""

from __future__ import annotations

import av
import numpy as np

from dmic_gym.codecs.base import MAX_SIDE, Image
from dmic_gym.errors import DecodeError, InvalidInputError

_MAX_PIXELS = (MAX_SIDE + 64) ** 2
"""What a header may ask for: the largest picture that we code, and whole CTUs around it."""


def decode_picture(bitstream: bytes) -> Image:
    """Decode a stream of one 8-bit 4:0:0 picture to uint8 (H, W).

    Raises:
        DecodeError: the stream is damaged, or holds no picture, several, or another format. HEVC
            has no checksum of its own: damage within a slice is only sure to be noticed in
            streams that were coded with ``x265_params={"hash": 1}``.
    """
    if not isinstance(bitstream, bytes):
        raise InvalidInputError(f"bitstream must be bytes, got {type(bitstream).__name__}.")
    if not bitstream:
        raise DecodeError("The bitstream is empty.")
    decoder = av.VideoCodecContext.create("hevc", "r")
    decoder.thread_count = 1
    decoder.options = {"err_detect": "crccheck+explode", "max_pixels": str(_MAX_PIXELS)}
    try:
        frames = decoder.decode(av.Packet(bitstream)) + decoder.decode(None)
    except av.FFmpegError as error:
        raise DecodeError(f"The HEVC decoder refused the stream: {error}") from error
    if len(frames) != 1:
        raise DecodeError(f"Expected one picture in the stream, found {len(frames)}.")
    if frames[0].format.name != "gray":
        raise DecodeError(f"Expected 8-bit 4:0:0 video, found {frames[0].format.name!r}.")
    return np.ascontiguousarray(frames[0].to_ndarray())
