"""Pictures and QP maps to HEVC streams of intra pictures, and back."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from dmic_gym.codecs.hevc import decoder
from dmic_gym.codecs.hevc.decoder import Decoded
from dmic_gym.codecs.hevc.nal import nal_units
from dmic_gym.codecs.hevc.picture import BIT_DEPTHS
from dmic_gym.codecs.hevc.x265 import X265Codec
from dmic_gym.deploy.endmark import (
    PARAMETER_SETS,
    START_MARK,
    Excess,
    check_end_mark,
    end_mark,
    nal_type,
)
from dmic_gym.deploy.limits import DEFAULT_LIMITS, Deadline, Limits
from dmic_gym.deploy.pictures import Picture
from dmic_gym.errors import DecodeError, InvalidInputError
from dmic_gym.types import AnyQPMap

QPMaps = Iterable[AnyQPMap]
"""One map a frame; each is asked for when its frame is coded."""

_START_CODE = b"\0\0\1"
_MAIN_DEPTHS = (8, 10)
_ALIGNMENT = 128
"""Samples that coding in blocks and FFmpeg's buffers may add to a side."""


def encode_grey(
    picture: Picture, qp_maps: QPMaps, *, ctu_size: int = 64, preset: str = "medium"
) -> list[bytes]:
    """Code in 4:0:0 (format range extensions profile), 8, 10 or 12 bit.

    Args:
        picture: N frames.
        qp_maps: N maps, integers (rows, cols), absolute luma QPs 0..51; at 12 bits those above 49
            become 49.
        ctu_size: 64, 32 or 16.
        preset: x265's.

    Returns:
        N access units, independent IDR pictures each with an MD5 of its samples. The first starts
        with the parameter sets, the last ends with a mark that holds a CRC-32 of it all. Their
        join is an Annex B stream.

    Raises:
        InvalidInputError: a map does not fit, or there are more or fewer maps than frames.
        EncodeError: the encoder refused or failed.
    """
    return _encode(picture, qp_maps, _codec(picture, ctu_size, preset, chroma=False))


def encode_main(
    picture: Picture, qp_maps: QPMaps, *, ctu_size: int = 64, preset: str = "medium"
) -> list[bytes]:
    """Code to Main (8 bit) or Main 10 (10 bit) in 4:2:0 with constant mid-grey chroma.

    As `encode_grey`. Luma is full range, and the stream says so (video_full_range_flag). An odd
    side is made even by repeating its last row or column; the end mark keeps the true size, so
    `decode_stream` returns it, while other decoders show one row or column more.

    Raises:
        InvalidInputError: as `encode_grey`, or 12 bits, which neither profile has.
    """
    if picture.bit_depth not in _MAIN_DEPTHS:
        raise InvalidInputError(
            f"Main and Main 10 hold 8 or 10 bits, the picture has {picture.bit_depth}: write "
            '.hevc (format="hevc"), or window it to 10 bits first.'
        )
    return _encode(picture, qp_maps, _codec(picture, ctu_size, preset, chroma=True))


def decode_stream(stream: bytes, limits: Limits = DEFAULT_LIMITS) -> Picture:
    """Decode the joined units of `encode_grey` or `encode_main`; zeros behind them are ignored.

    Raises:
        DecodeError: the stream is damaged, cut, not one of ours, or beyond the limits.
        InvalidInputError: it is no `bytes`.
    """
    units = split(stream, limits)
    excess = check_end_mark(units)
    decoded = decode_within(join(units[:-1]), limits)
    if not decoded.verified:
        raise DecodeError("The stream is damaged: not each of its pictures has its MD5.")
    height, width = decoded.frames.shape[1:]
    if min(height - excess.rows, width - excess.columns) < 1:
        raise DecodeError("The stream is damaged: nothing is left of its pictures.")
    return picture_of(decoded, (height - excess.rows, width - excess.columns))


def decode_within(stream: bytes, limits: Limits) -> Decoded:
    """Decode any HEVC stream of at most so many pictures, samples and seconds.

    Raises:
        DecodeError: the stream is damaged, or beyond the limits.
    """
    deadline = Deadline(limits.seconds)

    def watch(shape: tuple[int, int], count: int) -> None:
        if deadline.passed:
            raise DecodeError(f"Decoding took more than {deadline.seconds} s.")
        _within(limits.check_size, *shape, count)

    largest = (limits.max_side + _ALIGNMENT) ** 2
    return decoder.decode_stream(stream, watch=watch, max_pixels=largest)


def picture_of(decoded: Decoded, shape: tuple[int, int] | None = None) -> Picture:
    """Return the upper left part of that shape, or all, as a picture.

    Raises:
        DecodeError: its depth is none of 8, 10 and 12 bits.
    """
    if decoded.bit_depth not in BIT_DEPTHS:
        raise DecodeError(f"The stream has {decoded.bit_depth} bits; only 8, 10 and 12 are read.")
    height, width = shape or decoded.frames.shape[1:]
    frames = decoded.frames[:, :height, :width]
    return Picture(
        np.ascontiguousarray(frames if len(frames) > 1 else frames[0]), decoded.bit_depth
    )


def split(stream: bytes, limits: Limits = DEFAULT_LIMITS) -> list[bytes]:
    """Return the NAL units of an Annex B stream without start codes and zeros at the end."""
    if not isinstance(stream, bytes):
        raise InvalidInputError(f"A stream must be bytes, got {type(stream).__name__}.")
    _within(limits.check_bytes, len(stream))
    stream = stream.rstrip(b"\0")
    if stream.count(_START_CODE) > limits.max_units:
        raise DecodeError(f"The stream has more than {limits.max_units} NAL units.")
    return [stream[nal.header : nal.end] for nal in nal_units(stream)]


def join(units: Sequence[bytes]) -> bytes:
    """Return the NAL units of one picture as an Annex B access unit."""
    parts = list[bytes]()
    for position, unit in enumerate(units):
        # A zero byte more where B.2.1 asks for it.
        parts += [b"\0"] if position == 0 or nal_type(unit) in PARAMETER_SETS else []
        parts += [_START_CODE, unit]
    return b"".join(parts)


def _codec(picture: Picture, ctu_size: int, preset: str, *, chroma: bool) -> X265Codec:
    """Return an encoder that adds an MD5 to each picture and says that luma is full range."""
    return X265Codec(
        ctu_size,
        preset,
        {"hash": 1, "range": "full"},
        bit_depth=picture.bit_depth,
        chroma=chroma,
    )


def _encode(picture: Picture, qp_maps: QPMaps, codec: X265Codec) -> list[bytes]:
    coded = codec.encode(list(picture.frames), map(partial(_codable, codec), qp_maps))
    pictures = [split(each.bitstream) for each in coded]
    sets = [unit for unit in pictures[0] if nal_type(unit) in PARAMETER_SETS]
    first, *others = ([unit for unit in units if unit not in sets] for units in pictures)
    slim = [[*sets, START_MARK, *first], *others]
    height, width = picture.shape
    excess = Excess(width % 2, height % 2) if codec.sample_format.chroma else Excess(0, 0)
    mark = end_mark(itertools.chain(*slim), excess)
    joined = [join(units) for units in slim]
    return [*joined[:-1], joined[-1] + mark]


def _codable(codec: X265Codec, qp_map: AnyQPMap) -> AnyQPMap:
    """Return the map; at 12 bits its QPs above the codec's highest become that."""
    deep = codec.sample_format.bit_depth == 12
    return np.minimum(qp_map, codec.qp_range[1]) if deep else qp_map


def _within(check: Any, *sizes: int) -> None:
    try:
        check(*sizes)
    except InvalidInputError as error:
        raise DecodeError(f"The stream was refused: {error}") from error
