"""TIFF files, by tifffile and imagecodecs: every page, and damage is an error."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dmic_gym.errors import DataError, MissingDependencyError
from dmic_gym.tasks.data.pixels import (
    Pixels,
    SizeCheck,
    damage_is_an_error,
    grey_of,
    header_of,
    oriented,
    scaled,
)
from dmic_gym.types import Samples

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffFrame, TiffPage

_MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MAX_PAGES = 1 << 16
_MAX_OVERHANG = 4096
"""So many samples a tile may be larger than the picture."""

_SIZED = {1, 2, 3, 4, 5, 8, 32773, 32946, 34925, 50000}
"""Compressions whose output is as large as the TIFF says: none, CCITT, LZW, Deflate, PackBits,
LZMA, Zstandard."""
_PICTURES = {6, 7, 33003, 33004, 33005, 34712, 34892, 34927, 34933, 50001}
"""Compressions that are files of their own, whose headers say their size: JPEG, JPEG 2000, PNG,
WebP."""
_GREY, _RGB, _PALETTE, _YCBCR = (0, 1), 2, 3, 6


def is_tiff(data: bytes) -> bool:
    """Whether these are the first bytes of a TIFF or BigTIFF file."""
    return data[:4] in _MAGICS


def read_tiff(data: bytes, check_size: SizeCheck = lambda *_: None) -> Pixels:
    """Read all pages of a TIFF, which have to be of one size and form.

    Raises:
        DataError: it is damaged, its pages differ, or it holds samples or a compression that are
            not read; the message names them.
        MissingDependencyError: its compression needs imagecodecs, which is not installed.
    """
    import tifffile

    with damage_is_an_error(), _errors_raised(), tifffile.TiffFile(BytesIO(data)) as file:
        pages = list(_pages(file))
        first = pages[0]
        _check_form(first)
        _check_end(pages, data)
        check_size(first.imagelength, first.imagewidth, len(pages) * first.samplesperpixel)
        frames = np.stack([_grey(page, data) for page in pages])
        turned = oriented(frames, int(first.tags.valueof(274, 1)))
    return scaled(turned, 255 if first.photometric == _PALETTE else (1 << first.bitspersample) - 1)


def _pages(file: TiffFile) -> Iterator[TiffPage]:
    """Yield every page; raise DataError where they differ or never end."""
    offsets = set[int]()
    first: TiffPage | None = None
    for count, page in enumerate(map(_page, file.pages), 1):
        if page.offset in offsets or count > _MAX_PAGES:
            raise DataError(f"its TIFF pages form a loop, or are more than {_MAX_PAGES}.")
        offsets.add(page.offset)
        first = first or page
        if _form(page) != _form(first):
            raise DataError(f"page {count} has another size or form than the first.")
        yield page
    if first is None:
        raise DataError("it has no pages.")
    if _hides_pictures(file, len(offsets)):
        raise DataError(
            "it hides pictures behind its page, as large stacks of ImageJ do: save it with a page "
            "for each."
        )


def _page(page: TiffPage | TiffFrame) -> TiffPage:
    return page.aspage()


def _hides_pictures(file: TiffFile, pages: int) -> bool:
    truncated = any(each.get("truncated") for each in file.shaped_metadata or ())
    return truncated or int((file.imagej_metadata or {}).get("images", 1)) > pages


def _form(page: TiffPage) -> tuple[Any, ...]:
    names = "imagelength imagewidth imagedepth bitspersample samplesperpixel sampleformat"
    return (
        *(getattr(page, name) for name in names.split()),
        *(page.photometric, page.extrasamples, page.tags.valueof(274, 1)),
    )


def _check_form(page: TiffPage) -> None:
    """Raise DataError, which says why, where there is no grey of at most 16 bits."""
    if page.sampleformat not in (1, 4) or page.bitspersample > 16:
        kind = {2: "signed", 3: "floating-point"}.get(page.sampleformat, "unsigned")
        raise DataError(
            f"its samples are {kind} numbers of {page.bitspersample} bits; only unsigned ones "
            "of up to 16 are read. Scale them to 8 bits, or to 12 in 16."
        )
    if page.compression not in _SIZED | _PICTURES:
        raise DataError(
            f"its compression, {_name(page.compression)}, is not read: save it with LZW, Deflate "
            "or none."
        )
    subsampled = page.photometric == _YCBCR and page.compression not in _PICTURES
    if page.photometric not in (*_GREY, _RGB, _PALETTE, _YCBCR) or subsampled:
        raise DataError(f"its colours, {_name(page.photometric)}, are not read: save it as grey.")
    if page.photometric == 0 and page.bitspersample == 16:
        raise DataError("it says that 0 is white (WhiteIsZero): invert it first.")
    if page.photometric in _GREY and page.samplesperpixel > 1 and not _has_alpha(page):
        raise DataError(f"it holds {page.samplesperpixel} channels: save the one you mean.")
    if page.imagedepth != 1:
        raise DataError("it is a volume in one page: save it with a page for each slice.")


def _has_alpha(page: TiffPage) -> bool:
    return page.samplesperpixel == 2 and tuple(page.extrasamples) in ((1,), (2,))


def _check_end(pages: list[TiffPage], data: bytes) -> None:
    """Raise DataError where another TIFF stands behind the pictures of the first."""
    end = max(start + size for page in pages for start, size in _segments(page))
    if 0 <= data.find(data[:4], end) < len(data) - 8:
        raise DataError("it is several files, one behind the other: split them.")


def _segments(page: TiffPage) -> list[tuple[int, int]]:
    """Return where strips or tiles start, and their bytes."""
    return list(zip(page.dataoffsets, page.databytecounts, strict=True))


def _name(value: Any) -> str:
    return f"{value.name} ({int(value)})" if hasattr(value, "name") else str(value)


def _grey(page: TiffPage, data: bytes) -> Samples:
    _check_segments(page, data)
    try:
        pixels = page.asarray(maxworkers=1)
    except ValueError as error:
        if "requires the 'imagecodecs' package" in str(error):
            raise MissingDependencyError(
                f"its compression, {_name(page.compression)}, needs imagecodecs. Type: pip "
                "install imagecodecs"
            ) from None
        raise
    return _as_grey(pixels, page)


def _as_grey(pixels: npt.NDArray[Any], page: TiffPage) -> Samples:
    if pixels.ndim == 3 and page.planarconfig == 2:
        pixels = np.moveaxis(pixels, 0, -1)
    if page.photometric == _PALETTE:
        colours = (np.asarray(page.colormap)[:, pixels] >> 8).astype(np.uint8)
        pixels = np.moveaxis(colours, 0, -1)
    if page.photometric in (_RGB, _YCBCR, _PALETTE) and pixels.ndim == 3:
        pixels = grey_of(pixels[..., 2::-1].copy())
    elif pixels.ndim == 3:
        pixels = pixels[..., 0]
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8)
    if pixels.shape != (page.imagelength, page.imagewidth):
        raise DataError("it is damaged: a page has another size than its header says.")
    white = (1 << page.bitspersample) - 1
    return white - pixels if page.photometric == 0 else pixels


def _check_segments(page: TiffPage, data: bytes) -> None:
    """Raise DataError where strips or tiles are missing, cut or larger than they may be."""
    spans = _segments(page)
    whole = all(start > 0 < size and start + size <= len(data) for start, size in spans)
    row = (page.imagewidth * page.samplesperpixel * page.bitspersample + 7) // 8
    if page.compression == 1:
        whole &= sum(size for _, size in spans) >= row * page.imagelength
    if not whole or len(spans) < math.prod(page.chunked):
        raise DataError("it is damaged or truncated: parts of its pictures are missing.")
    length, width = page.chunks[:2] if page.planarconfig == 1 else page.chunks[-2:]
    if max(length - page.imagelength, width - page.imagewidth) > _MAX_OVERHANG:
        raise DataError("its TIFF tiles are far larger than the picture.")
    if page.compression in _PICTURES:
        words = f"a part of it is no {_name(page.compression)} that is read."
        for start, size in spans:
            with header_of(data[start : start + size], words) as part:
                if part.width > width or part.height > length:
                    raise DataError("it is damaged: a part of it is larger than it may be.")


@contextmanager
def _errors_raised() -> Iterator[None]:
    """Turn what tifffile logs as an error into DataError, and drop its other messages."""
    logger, heard = logging.getLogger("tifffile"), _Heard()
    logger.addFilter(heard)
    try:
        yield
    finally:
        logger.removeFilter(heard)
    if heard.error:
        raise DataError("it is damaged: its TIFF directories contradict themselves.")


class _Heard(logging.Filter):
    """Drops messages, and remembers whether one was an error."""

    error = False

    def filter(self, record: logging.LogRecord) -> bool:
        self.error |= record.levelno >= logging.ERROR
        return False
