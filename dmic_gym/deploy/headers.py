"""What image files say of their size, read before anything is decoded."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

from dmic_gym.errors import DataError

_PGM = re.compile(rb"P[25](?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)\s")
_PGM_HEADER = 4096
"""Bytes in which a PGM header must end."""

_SIZE_MARKERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""JPEG's SOF markers (ITU-T T.81, table B.1)."""

_TAGS = {
    254: "kind",
    256: "width",
    257: "height",
    258: "depth",
    262: "photometric",
    277: "channels",
    322: "tile_width",
    323: "tile_height",
}
"""TIFF tags that are read (TIFF 6.0)."""


@dataclass(frozen=True)
class Header:
    """Size and form of the pictures in a file.

    Attributes:
        kind: "png", "pgm", "jpeg" or "tiff".
        height: of each picture.
        width: of each picture.
        frames: how many there are.
        channels: samples a pixel takes when it is decoded.
        maximum: the largest value a sample may have, where the file says so.
        white_is_zero: whether 0 is white.
    """

    kind: str
    height: int
    width: int
    frames: int = 1
    channels: int = 1
    maximum: int | None = None
    white_is_zero: bool = False


def read_header(data: bytes, max_frames: int) -> Header:
    """Return what a PNG, PGM, JPEG or TIFF says of itself.

    Raises:
        DataError: it is none of these, it is cut short, its pages differ in size, or there are
            more than `max_frames`.
    """
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return _png(data)
        if data[:2] in (b"P2", b"P5"):
            return _pgm(data)
        if data.startswith(b"\xff\xd8"):
            return _jpeg(data)
        if data[:4] in (b"II*\0", b"MM\0*"):
            return _tiff(data, max_frames)
    except (struct.error, IndexError) as error:
        raise DataError("its header is cut short.") from error
    raise DataError("it is no PNG, PGM, TIFF or JPEG.")


def _png(data: bytes) -> Header:
    width, height = struct.unpack_from(">II", data, 16)
    return Header("png", height, width, channels=4)


def _pgm(data: bytes) -> Header:
    found = _PGM.match(data[:_PGM_HEADER])
    if found is None:
        raise DataError("its PGM header is damaged.")
    width, height, maximum = (int(number) for number in found.groups())
    return Header("pgm", height, width, maximum=maximum)


def _jpeg(data: bytes) -> Header:
    position = 2
    while True:
        lead, marker, length = struct.unpack_from(">BBH", data, position)
        if lead != 0xFF:
            raise DataError("its JPEG segments are damaged.")
        if marker in _SIZE_MARKERS:
            height, width, channels = struct.unpack_from(">HHB", data, position + 5)
            return Header("jpeg", height, width, channels=max(channels, 1))
        position += 1 if marker == 0xFF else 2 + length


def _tiff(data: bytes, max_frames: int) -> Header:
    order = "<" if data.startswith(b"II") else ">"
    first: Header | None = None
    count = 0
    for page in _pages(data, order):
        count += 1
        if count > max_frames:
            raise DataError(f"it has more than {max_frames} pages.")
        first = first or page
        if page != first:
            raise DataError(f"page {count} has another size or form than the first.")
    if first is None:
        raise DataError("it has no pages.")
    return replace(first, frames=count)


def _pages(data: bytes, order: str) -> Iterator[Header]:
    (offset,) = struct.unpack_from(order + "I", data, 4)
    seen = set[int]()
    while offset:
        if offset in seen:
            raise DataError("its TIFF pages form a loop.")
        seen.add(offset)
        (entries,) = struct.unpack_from(order + "H", data, offset)
        yield _page(data, order, offset + 2, entries)
        (offset,) = struct.unpack_from(order + "I", data, offset + 2 + 12 * entries)


def _page(data: bytes, order: str, start: int, entries: int) -> Header:
    found = {"channels": 1, "depth": 1, "photometric": 1}
    for position in range(start, start + 12 * entries, 12):
        tag, form, count = struct.unpack_from(order + "HHI", data, position)
        if tag in _TAGS:
            found[_TAGS[tag]] = _value(data, order, position + 8, form, count)
    if not {"width", "height"} <= found.keys():
        raise DataError("a TIFF page states no size.")
    if found["depth"] not in (8, 16):
        raise DataError(f"its TIFF samples have {found['depth']} bits: store them in 8 or 16.")
    if found.get("tile_width", 0) > found["width"] + 4096:
        raise DataError("its TIFF tiles are far larger than the picture.")
    if found.get("tile_height", 0) > found["height"] + 4096:
        raise DataError("its TIFF tiles are far larger than the picture.")
    return Header(
        "tiff",
        found["height"],
        found["width"],
        channels=max(found["channels"], 1),
        white_is_zero=found["photometric"] == 0 and found["depth"] == 16,
    )


def _value(data: bytes, order: str, position: int, form: int, count: int) -> int:
    """Return an entry's first number: a SHORT or a LONG, in place or, if they are many, outside."""
    size = {3: 2, 4: 4}.get(form)
    if size is None:
        raise DataError("a TIFF page states its form in an unknown way.")
    if size * count > 4:
        (position,) = struct.unpack_from(order + "I", data, position)
    (value,) = struct.unpack_from(order + ("H" if form == 3 else "I"), data, position)
    return int(value)
