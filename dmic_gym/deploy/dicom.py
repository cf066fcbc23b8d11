"""Reading DICOM images: grey frames, and the video in what `write_dicom` makes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dmic_gym.codecs.hevc.picture import BIT_DEPTHS
from dmic_gym.deploy.decoding import decode_data
from dmic_gym.deploy.dicom_file import integer, read_file, required, shielded, syntax_name, within
from dmic_gym.deploy.dicom_frames import MODALITY, VOI, greys_of_frames
from dmic_gym.deploy.dicom_video import frame_rate
from dmic_gym.deploy.dicom_window import Table, plain_table, windowed_table
from dmic_gym.deploy.limits import DEFAULT_LIMITS, Limits
from dmic_gym.deploy.pictures import Picture
from dmic_gym.deploy.window import Window
from dmic_gym.errors import DataError, MissingDependencyError

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

HEVC_MAIN = "1.2.840.10008.1.2.4.107"
HEVC_MAIN_10 = "1.2.840.10008.1.2.4.108"
_COLOURS = (
    "RGB",
    "PALETTE COLOR",
    "YBR_FULL",
    "YBR_FULL_422",
    "YBR_PARTIAL_420",
    "YBR_RCT",
    "YBR_ICT",
)
_DECODERS = "Type: pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg"


@dataclass(frozen=True, eq=False)
class DicomImage:
    """A DICOM image.

    Attributes:
        picture: its frames; 0 is black, so MONOCHROME1 is inverted.
        dataset: all its attributes but the pixel data, as they are in the file.
        rate: frames a second, as the file says, else 25.
        word: what the user should know of it; empty where all is well.
    """

    picture: Picture
    dataset: FileDataset
    rate: Fraction
    word: str = ""


def read_dicom(
    path: Path,
    window: Window | None = None,
    max_depth: int = 10,
    limits: Limits = DEFAULT_LIMITS,
) -> DicomImage:
    """Read a grey image: MONOCHROME1 or MONOCHROME2 in any transfer syntax that pydicom decodes.

    Rescale and window of enhanced multi-frame images are those of each frame's functional groups.
    Memory: at most the file three times, the samples, and 1 GB for a file made to be costly.

    Args:
        path: a DICOM file (PS3.10).
        window: None takes stored values as they are; "auto" takes the file's first window, else
            its VOI LUT; (centre, width) is a linear window (PS3.3 C.11.2.1.2). Windows apply to
            rescaled values (or those of the modality LUT) and give 8 bits.
        max_depth: the most stored bits that are taken without a window, 8..12.
        limits: beyond them nothing is allocated.

    Raises:
        DataError: the file is unreadable, damaged, not grey, beyond the limits, or signed or too
            deep for no window.
        InvalidInputError: the window is none.
        MissingDependencyError: pydicom, or what it needs for this compression, is not installed.
    """
    dataset = read_file(path, limits)
    with shielded(path):
        form = _Form.of(dataset)
        within(limits, form.frames, form.rows, form.columns)
        depth = 8 if window is not None else _plain_depth(form, max_depth)
        tables = _tables(dataset, form, window)
        shape = form.frames, form.rows, form.columns
        samples = np.empty(shape, np.uint8 if depth == 8 else np.uint16)
        for index, (frame, table) in enumerate(
            zip(_stored_frames(dataset, form), tables, strict=True)
        ):
            samples[index] = table[frame & ((1 << form.bits_stored) - 1)]
        del dataset.PixelData
        rate = frame_rate(dataset, form.frames)
    return DicomImage(Picture(samples if form.frames > 1 else samples[0], depth), dataset, rate)


def decode_dicom(
    path: Path, limits: Limits = DEFAULT_LIMITS, *, strict: bool = False
) -> DicomImage:
    """Decode an object whose transfer syntax is HEVC; odd sides of ours are odd again.

    Args:
        path: a DICOM file (PS3.10).
        limits: beyond them nothing is allocated.
        strict: refuse streams that were not written by us.

    Raises:
        DataError: the file is unreadable, damaged, beyond the limits, its transfer syntax is
            another, or it holds more or fewer frames than it announces.
        DecodeError: the video in it is damaged, or refused by `strict`.
    """
    from pydicom.encaps import generate_fragments

    dataset = read_file(path, limits)
    with shielded(path):
        if not is_video(dataset):
            raise DataError(
                f"its transfer syntax is {syntax_name(dataset)}, which holds no HEVC video."
            )
        announced = integer(dataset, "NumberOfFrames")
        _, *fragments = generate_fragments(dataset.PixelData)  # the first is the offset table
        del dataset.PixelData
        rate = frame_rate(dataset, announced)
        decoding = decode_data(b"".join(fragments), limits, strict=strict)
        if (frames := len(decoding.picture.frames)) != announced:
            raise DataError(f"its video has {frames} frames, {announced} are announced.")
    return DicomImage(decoding.picture, dataset, rate, decoding.word)


def is_video(dataset: FileDataset) -> bool:
    """Whether a data set is encoded in one of the HEVC transfer syntaxes."""
    return dataset.file_meta.TransferSyntaxUID in (HEVC_MAIN, HEVC_MAIN_10)


@dataclass(frozen=True)
class _Form:
    """How pixels are stored (PS3.3 C.7.6.3)."""

    frames: int
    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    inverted: bool

    @classmethod
    def of(cls, dataset: FileDataset) -> _Form:
        """Read the attributes; raise DataError where we have no picture for them."""
        photometric = required(dataset, "PhotometricInterpretation")
        if photometric not in ("MONOCHROME1", "MONOCHROME2"):
            colour = f", its colours are {photometric}" if photometric in _COLOURS else ""
            what = "HEVC video: type dmic decode" if is_video(dataset) else "not a grey image"
            raise DataError(f"{what}{colour}. Only MONOCHROME1 and MONOCHROME2 are read.")
        if "PixelData" not in dataset:
            raise DataError("holds no pixel data, or is cut before them.")

        def number(keyword: str) -> int:
            return integer(dataset, keyword)

        form = cls(
            frames=number("NumberOfFrames") if dataset.get("NumberOfFrames") else 1,
            rows=number("Rows"),
            columns=number("Columns"),
            bits_allocated=number("BitsAllocated"),
            bits_stored=number("BitsStored"),
            signed=bool(number("PixelRepresentation")),
            inverted=photometric == "MONOCHROME1",
        )
        form._check(number("SamplesPerPixel"), number("HighBit"))
        return form

    def _check(self, samples_per_pixel: int, high_bit: int) -> None:
        stored, allocated = self.bits_stored, self.bits_allocated
        usual = allocated in (8, 16) and 1 <= stored <= allocated and high_bit == stored - 1
        if self.frames < 1 or samples_per_pixel != 1 or not usual:
            raise DataError(
                f"{self.frames} frames of {samples_per_pixel} samples a pixel, {stored} "
                f"bits stored in {allocated}, the highest bit {high_bit}. Only frames of one "
                "sample a pixel in the low bits of 8 or 16 are read."
            )

    @property
    def native_bytes(self) -> int:
        """Length of pixel data that are not compressed, with the byte that makes it even."""
        count = self.frames * self.rows * self.columns * self.bits_allocated // 8
        return count + count % 2


def _tables(dataset: FileDataset, form: _Form, window: Window | None) -> Iterator[Table]:
    """Yield the grey of each stored bit pattern, frame by frame."""
    if window is None:
        yield from itertools.repeat(plain_table(form.bits_stored, form.inverted), form.frames)
        return
    stored = form.bits_stored, form.signed, form.inverted
    keywords = (*MODALITY, *VOI) if window == "auto" else MODALITY
    of_frames = greys_of_frames(dataset, form.frames, keywords)
    for attributes, frames in itertools.groupby(of_frames):
        table = windowed_table(attributes, *stored, window)
        yield from itertools.repeat(table, len(list(frames)))


def _plain_depth(form: _Form, max_depth: int) -> int:
    """Return the depth of stored values as they are; raise DataError if they need a window."""
    if form.signed or form.bits_stored > max_depth:
        kind = "signed" if form.signed else "unsigned"
        raise DataError(
            f"{form.bits_stored}-bit {kind} values; at most {max_depth} bits unsigned are "
            'coded as they are. Choose a window: window="auto" or (centre, width), on the command '
            "line --window auto or --window CENTRE,WIDTH."
        )
    return next(depth for depth in BIT_DEPTHS if form.bits_stored <= depth)


def _stored_frames(
    dataset: FileDataset, form: _Form
) -> Iterator[npt.NDArray[np.unsignedinteger[Any]]]:
    """Yield each frame's stored bit patterns, (rows, columns)."""
    _check_pixel_data(dataset, form)
    count = 0
    for frame in _decoded(dataset):
        count += 1
        if count > form.frames or frame.shape != (form.rows, form.columns):
            break
        native = frame.astype(frame.dtype.newbyteorder("="), copy=False)
        yield native.view(f"u{native.dtype.itemsize}")
    if count != form.frames:
        raise DataError(f"not the {form.frames} frames of the size it announces.")


def _decoded(dataset: FileDataset) -> Iterator[npt.NDArray[Any]]:
    from pydicom.pixels.utils import iter_pixels

    try:
        yield from iter_pixels(dataset, raw=True)
    except RuntimeError:  # pydicom's word for: all decoders that there are have failed
        raise DataError(
            f"its frames ({syntax_name(dataset)}) are damaged, or need another decoder. {_DECODERS}"
        ) from None


def _check_pixel_data(dataset: FileDataset, form: _Form) -> None:
    """Raise where there are more or fewer bytes than announced, or nothing decodes them."""
    from pydicom.pixels.decoders.base import get_decoder

    if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        if len(dataset.PixelData) != form.native_bytes:
            found = len(dataset.PixelData)
            raise DataError(f"{found} bytes of pixels, {form.native_bytes} announced.")
    elif not get_decoder(dataset.file_meta.TransferSyntaxUID).is_available:
        raise MissingDependencyError(
            f"nothing installed decodes {syntax_name(dataset)}. {_DECODERS}"
        )
