"""The NAL units that begin and end a stream of ours: how we know it is whole, and its true size.

HEVC has no checksum of parameter sets and no end: a flipped bit in the conformance window shows a
picture of another size, and a stream that is cut after a picture is a valid stream. So the last
NAL unit has a type that Rec. ITU-T H.265 leaves to applications (7.4.2.2, UNSPEC60: decoders
ignore it) and five bytes with a CRC-32 of all other units. One (UNSPEC48) behind the parameter
sets promises it, so that a cut stream is not taken for one of another encoder. Together they cost
19 bytes a stream.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dmic_gym.errors import DecodeError

_START_CODE = b"\0\0\1"
_HEADER = bytes([60 << 1, 1])
START_MARK = bytes([48 << 1, 1]) + b"dmic"
"""The NAL unit between the parameter sets and the first picture of a stream of ours."""
_PAYLOAD = 5
_SEVEN_BITS = 0x7F
_DAMAGED = "The stream is damaged: its checksum does not match."
PARAMETER_SETS = (32, 33, 34)
"""NAL unit types of VPS, SPS and PPS."""


@dataclass(frozen=True)
class Excess:
    """What has to be cut off the decoded picture: 0 or 1 columns and rows (odd sizes in 4:2:0)."""

    columns: int
    rows: int


def end_mark(units: Iterable[bytes], excess: Excess) -> bytes:
    """Return the last NAL unit of a stream of `units`, with its start code.

    Args:
        units: all NAL units before it, headers included, start codes not.
        excess: to be kept in it.
    """
    value = _checksum(units, excess) << 2 | excess.columns << 1 | excess.rows
    # Seven bits a byte under a set one: neither start codes nor zeros at the end can arise.
    payload = bytes(0x80 | value >> 7 * n & _SEVEN_BITS for n in reversed(range(_PAYLOAD)))
    return _START_CODE + _HEADER + payload


def check_end_mark(units: Sequence[bytes]) -> Excess:
    """Check that the last of the units is the mark of those before it.

    Raises:
        DecodeError: it is none, or another stream's.
    """
    mark = units[-1] if units else b""
    if not mark.startswith(_HEADER) or len(mark) != len(_HEADER) + _PAYLOAD:
        raise DecodeError(
            "The stream has no end mark: it is cut, or was not written by dmic encode."
        )
    value = 0
    for byte in mark[len(_HEADER) :]:
        if byte < 0x80:
            raise DecodeError(_DAMAGED)
        value = value << 7 | byte & _SEVEN_BITS
    excess = Excess(columns=value >> 1 & 1, rows=value & 1)
    if value >> 2 != _checksum(units[:-1], excess):
        raise DecodeError(_DAMAGED)
    return excess


def is_marked(units: Sequence[bytes]) -> bool:
    """Whether a stream is or was one of ours, whole or not: it has one of the marks."""
    return START_MARK in units or any(unit.startswith(_HEADER) for unit in units)


def nal_type(unit: bytes) -> int:
    """Return nal_unit_type of a unit that starts with its header."""
    return unit[0] >> 1 & 0x3F


def _checksum(units: Iterable[bytes], excess: Excess) -> int:
    """Return the CRC-32 of the excess, and of the units and their lengths.

    Repeated parameter sets count once: containers keep them apart, and put them in front of every
    picture again.
    """
    crc, seen = zlib.crc32(bytes([excess.columns, excess.rows])), set[bytes]()
    for unit in units:
        if nal_type(unit) in PARAMETER_SETS:
            if unit in seen:
                continue
            seen.add(unit)
        crc = zlib.crc32(unit, zlib.crc32(len(unit).to_bytes(4, "big"), crc))
    return crc
