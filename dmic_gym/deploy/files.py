"""Coding and decoding files: one, or all of a folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dmic_gym.deploy.coder import Coder, OnFrame, decode_picture
from dmic_gym.deploy.dicom_file import is_dicom
from dmic_gym.deploy.limits import DEFAULT_LIMITS, Limits
from dmic_gym.deploy.pictures import READABLE, WRITABLE, Picture, read_picture, write_picture
from dmic_gym.errors import DataError, DmicError, InvalidInputError, unknown_name
from dmic_gym.io import write_atomically

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

    from dmic_gym.deploy.window import Window

_DICOM = ".dcm"
CODED_FORMATS = {".hevc": "hevc", ".265": "hevc", ".mp4": "mp4", _DICOM: "main"}
"""What `encode` calls the content of a file with that suffix."""

_DEPTH_OF_DICOM = {"hevc": 12}
"""The deepest DICOM pictures taken without a window where it is not 10 bits."""


@dataclass(frozen=True)
class Job:
    """A file to read and one to write."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Done:
    """What one file came to.

    Attributes:
        frames: pictures in it.
        raw_bytes: of its samples, one byte each, or two beyond 8 bits.
        coded_bytes: of the coded file.
        qp: the base QP; None when decoding.
        dice: retained Dice (`dmic_gym.encode`), where somebody asked.
    """

    frames: int
    raw_bytes: int
    coded_bytes: int
    qp: int | None = None
    dice: float | None = None


@dataclass(frozen=True)
class Reading:
    """How to take samples that do not say it themselves.

    Attributes:
        bit_depth: of 16-bit PNG and TIFF; None is the least of 10 and 12 that holds them.
        window: of DICOM images; None takes stored values as they are.
    """

    bit_depth: int | None = None
    window: Window | None = None


def encoding_jobs(source: Path, target: Path, suffix: str) -> list[Job]:
    """Return what there is to encode: the file, or the pictures of a folder.

    Args:
        source: a file, or a folder (not those in it).
        target: the file or folder to write.
        suffix: of the files written into a folder.

    Raises:
        DataError: there is no such file, no picture in the folder, or it cannot be made.
        InvalidInputError: a suffix names no format, or two files would get one name.
    """
    if not source.is_dir():
        _check_suffix(target.suffix, CODED_FORMATS)
        return [Job(source, target)]
    _check_suffix(suffix, CODED_FORMATS)
    found = [path for path in _files(source) if _suffix(path) in READABLE or is_dicom(path)]
    return _folder_jobs(source, found, target, suffix, "PNG, PGM, TIFF, JPEG or DICOM files")


def decoding_jobs(source: Path, target: Path, suffix: str) -> list[Job]:
    """Return what there is to decode; see `encoding_jobs`."""
    if not source.is_dir():
        _check_suffix(target.suffix, WRITABLE)
        return [Job(source, target)]
    _check_suffix(suffix, WRITABLE)
    found = [path for path in _files(source) if _suffix(path) in CODED_FORMATS]
    return _folder_jobs(source, found, target, suffix, ".hevc, .mp4 or .dcm files")


def encode_file(
    job: Job, coder: Coder, reading: Reading = Reading(), on_frame: OnFrame = lambda *_: None
) -> Done:
    """Encode a file into the format of the target's suffix; the target appears whole or not at all.

    Raises:
        DmicError: the file cannot be read, coded or written; the message says why.
    """
    format = CODED_FORMATS[_suffix(job.target)]
    picture, dataset = _read(job.source, reading, _DEPTH_OF_DICOM.get(format, 10))
    encoding = coder.encode(picture, format, on_frame)
    if _suffix(job.target) == _DICOM:
        from dmic_gym.deploy.dicom_secondary import write_dicom

        write_dicom(job.target, encoding.units, picture, dataset)
    else:
        write_atomically(job.target, encoding.data)
    size = job.target.stat().st_size
    frames = len(picture.frames)
    return Done(frames, picture.samples.nbytes, size, encoding.qp, encoding.dice)


def decode_file(job: Job, limits: Limits = DEFAULT_LIMITS) -> Done:
    """Decode a file; several frames become a TIFF of that many pages, whatever the suffix.

    Raises:
        DmicError: the file cannot be read, decoded or written; the message says why.
    """
    data = _bytes(job.source, limits)
    picture = _decoded(job.source, data, limits)
    many = len(picture.frames) > 1 and job.target.suffix.lower() not in (".tif", ".tiff")
    write_picture(picture, job.target.with_suffix(".tiff") if many else job.target)
    return Done(len(picture.frames), picture.samples.nbytes, len(data))


def _read(path: Path, reading: Reading, max_depth: int) -> tuple[Picture, FileDataset | None]:
    if not is_dicom(path):
        return read_picture(path, reading.bit_depth), None
    from dmic_gym.deploy.dicom import read_dicom

    image = read_dicom(path, reading.window, max_depth)
    return image.picture, image.dataset


def _decoded(path: Path, data: bytes, limits: Limits) -> Picture:
    if is_dicom(path):
        from dmic_gym.deploy.dicom import decode_dicom

        return decode_dicom(path, limits).picture
    try:
        return decode_picture(data, limits)
    except DmicError as error:
        raise DataError(f"Cannot decode {str(path)!r}: {error}") from error


def _bytes(path: Path, limits: Limits) -> bytes:
    try:
        limits.check_bytes(path.stat().st_size)
        return path.read_bytes()
    except InvalidInputError as error:
        raise DataError(f"Cannot read {str(path)!r}: {error}") from error
    except OSError as error:
        raise DataError(f"Cannot read {str(path)!r}: {error.strerror or error}.") from error


def _folder_jobs(
    source: Path, found: list[Path], target: Path, suffix: str, kinds: str
) -> list[Job]:
    if not found:
        raise DataError(f"No {kinds} in {str(source)!r}.")
    jobs = dict[Path, Job]()
    for path in found:
        job = Job(path, target / f"{path.stem}{suffix}")
        if other := jobs.get(job.target):
            raise InvalidInputError(
                f"{other.source.name!r} and {path.name!r} would both become {job.target.name!r}: "
                "rename one."
            )
        jobs[job.target] = job
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"Cannot make {str(target)!r}: {error.strerror or error}.") from error
    return list(jobs.values())


def _files(folder: Path) -> Iterator[Path]:
    return (p for p in sorted(folder.iterdir()) if p.is_file() and not p.name.startswith("."))


def _suffix(path: Path) -> str:
    return path.suffix.lower()


def _check_suffix(suffix: str, known: dict[str, str] | tuple[str, ...]) -> None:
    if suffix.lower() not in known:
        raise unknown_name("format to write", suffix, known)
