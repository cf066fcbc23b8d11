"""Coding and decoding files."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from dmic_gym.deploy.decoding import Decoding, decode_data
from dmic_gym.deploy.jobs import CODED_FORMATS, DICOM, Job, names_dicom
from dmic_gym.deploy.limits import DEFAULT_LIMITS, Limits, read_bytes
from dmic_gym.deploy.pictures import Picture, read_picture, write_picture
from dmic_gym.deploy.qp_maps import NO_MAPS, MapPaths, read_maps, write_maps
from dmic_gym.deploy.rates import DEFAULT_RATE, checked_rate
from dmic_gym.errors import DataError, DecodeError, InvalidInputError
from dmic_gym.io import write_atomically
from dmic_gym.types import QPMap

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

    from dmic_gym.deploy.coder import Coder, OnFrame
    from dmic_gym.deploy.window import Window

_DEPTH_OF_DICOM = {"hevc": 12}
"""The deepest DICOM pictures taken without a window where it is not 10 bits."""


@dataclass(frozen=True)
class Done:
    """What one file came to.

    Attributes:
        frames: pictures in it.
        raw_bytes: of its samples, one byte each, or two beyond 8 bits.
        coded_bytes: of the coded file.
        qp: the base QP; None when decoding, or where the QP maps were given.
        dice: retained Dice (`dmic_gym.encode`), where somebody asked.
        word: what the user should know of it; empty where all is well.
    """

    frames: int
    raw_bytes: int
    coded_bytes: int
    qp: int | None = None
    dice: float | None = None
    word: str = ""


@dataclass(frozen=True)
class Reading:
    """How to take samples that do not say it themselves.

    Attributes:
        bit_depth: of dark samples of 16 bits; None is the least of 10 and 12 that holds them.
        window: None takes samples as they are; "auto" is for DICOM alone.
        fps: pictures a second of stacks; None is what a DICOM file says, else 25.
    """

    bit_depth: int | None = None
    window: Window | None = None
    fps: float | None = None


@dataclass(frozen=True, eq=False)
class _Source:
    """What a file to be encoded holds; `dataset` are the attributes of DICOM."""

    picture: Picture
    rate: Fraction
    dataset: FileDataset | None = None


def encode_file(
    job: Job,
    coder: Coder,
    reading: Reading = Reading(),
    on_frame: OnFrame = lambda *_: None,
    maps: MapPaths = NO_MAPS,
) -> Done:
    """Encode a file into the format of the target's suffix; the target appears whole or not at all.

    Args:
        job: what to encode, and where to.
        coder: how to code.
        reading: how to take samples that do not say it themselves.
        on_frame: see `Coder.encode`.
        maps: files of QP maps to code with or to write.

    Raises:
        DmicError: the target exists and may not be replaced, or the file cannot be read, coded or
            written; the message says why.
    """
    suffix = job.target.suffix.lower()
    format = CODED_FORMATS[suffix]
    _check_fps(reading.fps, suffix)
    maps = maps.of(job)
    _claim(job, maps)
    source = _read(job.source, reading, _DEPTH_OF_DICOM.get(format, 10))
    picture = source.picture
    given = _given_maps(maps, picture, coder.ctu_size)
    encoding = coder.encode(picture, format, on_frame, source.rate, given)
    qp = encoding.qp if given is None else None
    _claim(job, maps)
    if suffix == DICOM:
        from dmic_gym.deploy.dicom_secondary import write_dicom

        write_dicom(job.target, encoding.units, picture, source.dataset, reading.fps)
    else:
        write_atomically(job.target, encoding.data)
    if maps.saved is not None:
        write_maps(maps.saved, encoding.qp_maps, picture.shape, coder.ctu_size, qp)
    size = job.target.stat().st_size
    return Done(len(picture.frames), picture.samples.nbytes, size, qp, encoding.dice)


def _claim(job: Job, maps: MapPaths) -> None:
    job.claim(job.target)
    maps.claim(job)


def _given_maps(maps: MapPaths, picture: Picture, ctu_size: int) -> list[QPMap] | None:
    if maps.given is None:
        return None
    return read_maps(maps.given, picture.shape, ctu_size, len(picture.frames))


def decode_file(job: Job, limits: Limits = DEFAULT_LIMITS, *, strict: bool = False) -> Done:
    """Decode a file; several frames become a TIFF of that many pages, or one DICOM object.

    Args:
        job: what to decode, and where to.
        limits: bounds on size and time.
        strict: refuse streams whose integrity nothing in them proves.

    Raises:
        DmicError: the target exists and may not be replaced, or the file cannot be read, decoded
            or written; the message says why.
    """
    job.claim(job.target)
    decoding, dataset = _decoded(job.source, limits, strict)
    picture = decoding.picture
    many = len(picture.frames) > 1 and job.target.suffix.lower() not in (".tif", ".tiff", DICOM)
    target = job.target.with_suffix(".tiff") if many else job.target
    job.claim(target)
    if target.suffix.lower() == DICOM:
        from dmic_gym.deploy.dicom_secondary import write_grey_dicom

        write_grey_dicom(target, picture, dataset)
    else:
        write_picture(picture, target)
    size = job.source.stat().st_size
    return Done(len(picture.frames), picture.samples.nbytes, size, word=decoding.word)


def _check_fps(fps: float | None, suffix: str) -> None:
    if fps is None:
        return
    checked_rate(fps)
    if CODED_FORMATS[suffix] == "hevc":
        raise InvalidInputError(f"A {suffix} stream keeps no frame rate: leave out --fps, or .mp4.")


def _read(path: Path, reading: Reading, max_depth: int) -> _Source:
    asked = None if reading.fps is None else checked_rate(reading.fps)
    if not names_dicom(path):
        picture = read_picture(path, reading.bit_depth, reading.window)
        return _Source(picture, asked or DEFAULT_RATE)
    from dmic_gym.deploy.dicom import read_dicom

    image = read_dicom(path, reading.window, max_depth)
    return _Source(image.picture, asked or image.rate, image.dataset)


def _decoded(path: Path, limits: Limits, strict: bool) -> tuple[Decoding, FileDataset | None]:
    if names_dicom(path):
        from dmic_gym.deploy.dicom import decode_dicom

        image = decode_dicom(path, limits, strict=strict)
        return Decoding(image.picture, image.word), image.dataset
    try:
        return decode_data(read_bytes(path, limits), limits, strict=strict), None
    except DecodeError as error:
        raise DataError(f"Cannot decode {str(path)!r}: {error}") from error
