"""Parts of image files: optional segments to leave out, and payloads to count."""

from __future__ import annotations

from collections.abc import Iterator

SOI, SOC = 0xFFD8, 0xFF4F
SOS, SOT = 0xFFDA, 0xFF90
APP0 = 0xFFE0
COM_J2K = 0xFF64


def without_segments(data: bytes, marker: int) -> bytes:
    """Return a JPEG or JPEG 2000 codestream without the header segments of one marker.

    Both start with a bare marker and hold segments, a marker and a length of two bytes each, up
    to the first scan or tile-part (Rec. ITU-T T.81, B.1.1; T.800, A.1).
    """
    kept, position = [data[:2]], 2
    while (found := _word(data, position)) not in (SOS, SOT):
        end = position + 2 + _word(data, position + 2)
        if found != marker:
            kept.append(data[position:end])
        position = end
    return b"".join([*kept, data[position:]])


def box_size(data: bytes, kind: bytes) -> int:
    """Return the length of the content of the first top-level box of an ISOBMFF file.

    Source: ISO/IEC 14496-12, 4.2; sizes of 64 bits do not occur in the files counted here.
    """
    return _length(_boxes(data), kind)


def riff_size(data: bytes, kind: bytes) -> int:
    """Return the length of the first chunk of a RIFF file, as in the WebP container."""
    return _length(_chunks(data), kind)


def _boxes(data: bytes) -> Iterator[tuple[bytes, int]]:
    position = 0
    while position + 8 <= len(data):
        size = int.from_bytes(data[position : position + 4], "big") or len(data) - position
        yield data[position + 4 : position + 8], size - 8
        position += max(size, 8)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int]]:
    position = 12
    while position + 8 <= len(data):
        size = int.from_bytes(data[position + 4 : position + 8], "little")
        yield data[position : position + 4], size
        position += 8 + size + size % 2


def _length(parts: Iterator[tuple[bytes, int]], kind: bytes) -> int:
    for found, size in parts:
        if found == kind:
            return size
    raise ValueError(f"no {kind.decode()!r} in the file")


def _word(data: bytes, position: int) -> int:
    if position + 2 > len(data):
        raise ValueError("the file ends within its header")
    return int.from_bytes(data[position : position + 2], "big")
