"""Opening a stranger's DICOM file: what it may cost, and what may be said of it.

What pydicom says of a file may quote the file, a patient's name included, so its words reach
neither messages nor logs: ours hold the path and technical attributes (sizes, depths, transfer
syntax) alone. De-identification is out of scope: attributes are handed on as they are.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from dmic_gym.deploy.limits import Limits, read_bytes
from dmic_gym.errors import DataError, DmicError, InvalidInputError, MissingDependencyError

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset, FileDataset

_PREAMBLE = 128
_MAGIC = b"DICM"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_ITEM_TAGS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
_MAX_ITEMS = 1 << 17
_MAX_READS = 1 << 19
_MAX_ATTRIBUTES = 1 << 25
"""Together they keep what is no pixel from taking more than 1 GB, as objects of pydicom."""


def is_dicom(path: Path) -> bool:
    """Whether a file starts as DICOM files do (PS3.10 7.1); nothing is read from pipes."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return file.read(_PREAMBLE + len(_MAGIC))[_PREAMBLE:] == _MAGIC
    except OSError:
        return False


def read_file(path: Path, limits: Limits) -> FileDataset:
    """Read all attributes; pixel data stay as they are stored.

    Raises:
        DataError: the file is unreadable, damaged, no DICOM file, or beyond the limits.
        MissingDependencyError: there is no pydicom.
    """
    require_pydicom()
    from pydicom import dcmread
    from pydicom.filereader import read_dataset

    data = read_bytes(path, limits)
    with shielded(path):
        _check_bytes(data)
        start = BytesIO(data)
        start.seek(_PREAMBLE + len(_MAGIC))
        meta = read_dataset(start, False, True, stop_when=lambda tag, *_: tag.group != 2)
        _check_syntax(meta.get("TransferSyntaxUID"))
        dataset = dcmread(_Metered(data))
        pixels = dataset.get_item("PixelData")
        if len(data) - len(getattr(pixels, "value", None) or b"") > _MAX_ATTRIBUTES:
            raise DataError(f"more than {_MAX_ATTRIBUTES} bytes besides its pixels.")
        return dataset


def _check_syntax(syntax: object) -> None:
    if not syntax:
        raise DataError(
            "has no TransferSyntaxUID (0002,0010), which says how its pixels are stored. "
            "To let dcmtk find out type: dcmconv IN OUT"
        )
    if syntax == _DEFLATED:
        raise DataError("deflated as a whole, which is not read. Type: dcmconv +te IN OUT")


@contextmanager
def shielded(path: Path, words: str = "damaged, or no DICOM that can be read") -> Iterator[None]:
    """Name the file in errors; pydicom's own, and its warnings, are dropped: they may quote it."""
    with warnings.catch_warnings(), _unlogged():
        warnings.simplefilter("ignore")
        try:
            yield
        except DmicError as error:
            raise type(error)(f"{path}: {error}") from None
        except Exception as error:
            raise DataError(f"{path}: {words} ({type(error).__name__}).") from None


@contextmanager
def _unlogged() -> Iterator[None]:
    """Drop what pydicom logs, which are its warnings once more."""
    logger, drop = logging.getLogger("pydicom"), _DropAll()
    logger.addFilter(drop)
    try:
        yield
    finally:
        logger.removeFilter(drop)


class _DropAll(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return False


def within(limits: Limits, frames: int, rows: int, columns: int) -> None:
    """Raise DataError where the pictures are beyond the limits."""
    try:
        limits.check_size(rows, columns, frames)
    except InvalidInputError as error:
        raise DataError(f"{error}") from error


def syntax_name(dataset: FileDataset) -> str:
    """Name a registered transfer syntax; anything else may be text of a stranger."""
    syntax = dataset.file_meta.TransferSyntaxUID
    return str(syntax.name) if syntax.is_transfer_syntax else "not a registered one"


def required(dataset: Dataset, keyword: str) -> object:
    """Return the value of an attribute; raise DataError, which names it, where there is none."""
    value = element(dataset, keyword).value if keyword in dataset else None
    if value is None or value == "":
        raise DataError(f"{named(keyword)} is missing or empty.")
    return value


def number(dataset: Dataset, keyword: str) -> float:
    """Return the first value of an attribute; raise DataError, which names it, if it is none."""
    value = required(dataset, keyword)
    first = value[0] if isinstance(value, Sequence) and not isinstance(value, str) else value
    try:
        return float(first)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise DataError(f"{named(keyword)} is no number.") from None


def element(dataset: Dataset, keyword: str) -> DataElement:
    """Return an attribute; raise DataError, which names it, where pydicom cannot make it out."""
    try:
        return dataset[keyword]
    except Exception:
        raise DataError(f"{named(keyword)} is damaged.") from None


def integer(dataset: Dataset, keyword: str) -> int:
    """Return the value of an attribute; raise DataError, which names it, unless it is a number."""
    value = required(dataset, keyword)
    try:
        return int(value)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError):
        raise DataError(f"{named(keyword)} is no single number.") from None


def named(keyword: str) -> str:
    """Return an attribute's keyword and tag."""
    from pydicom.tag import Tag

    return f"{keyword} {Tag(keyword)}"


def require_pydicom() -> None:
    """Raise MissingDependencyError where there is no pydicom."""
    try:
        import pydicom  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "DICOM needs pydicom. Type: pip install 'dmic_gym[dicom]'"
        ) from error


class _Metered(BytesIO):
    """A file that gives up when it is read in too many pieces."""

    _left = _MAX_READS

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as BytesIO does."""
        self._left -= 1
        if self._left < 0:
            raise DataError(f"more than {_MAX_READS // 2} elements; no image has so many.")
        return super().read(size)


def _check_bytes(data: bytes) -> None:
    """Raise DataError unless they may be a DICOM image."""
    if data[_PREAMBLE : _PREAMBLE + len(_MAGIC)] != _MAGIC:
        raise DataError(
            f"not a DICOM file: no DICM after {_PREAMBLE} bytes. If it is a data set "
            "without preamble, type: dcmconv IN OUT"
        )
    if any(data.count(tag) > _MAX_ITEMS for tag in _ITEM_TAGS):
        raise DataError(f"more than {_MAX_ITEMS} items; no image has so many.")
