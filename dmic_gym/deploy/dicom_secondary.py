"""Writing DICOM objects: Multi-frame Secondary Captures (PS3.3 A.8), with HEVC video or grey.

Video is a True Color one (A.8.5): it is the IOD that holds YBR_PARTIAL_420 pixels of any origin; an
X-ray angiogram's own IOD holds MONOCHROME2 alone. The encoding follows PS3.5 8.2.10 (Main) and
8.2.11 (Main 10): an MP4 file in one fragment behind an empty offset table. Two tensions remain, and
are not ours to settle: A.8.5.4 (in the edition we could read) asks for 8 bits where 8.2.11 asks for
10; and the luma of YBR_PARTIAL_420 is 16..235 (C.7.6.3.1.2), while our stream signals full range,
which 8.2.10 puts above the data elements. Decoded pictures are Grayscale Byte or Word ones (A.8.3,
A.8.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from dmic_gym.deploy.dicom import HEVC_MAIN, HEVC_MAIN_10
from dmic_gym.deploy.dicom_derived import derived_from
from dmic_gym.deploy.dicom_file import require_pydicom, shielded
from dmic_gym.deploy.dicom_video import (
    check_level,
    describe_grey,
    describe_loss,
    describe_pixels,
    describe_time,
)
from dmic_gym.deploy.mp4 import to_mp4
from dmic_gym.deploy.pictures import Picture
from dmic_gym.io import write_atomically

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7.4"
"""Multi-frame True Color Secondary Capture Image Storage."""

GREY_CAPTURES = {8: "1.2.840.10008.5.1.4.1.1.7.2", 16: "1.2.840.10008.5.1.4.1.1.7.3"}
"""Multi-frame Grayscale Byte and Word Secondary Capture Image Storage, by bits allocated."""

_WORDS = "not written: attributes of its source are damaged"


def write_dicom(
    path: Path,
    units: Sequence[bytes],
    picture: Picture,
    source: FileDataset | None = None,
    fps: float | None = None,
) -> None:
    """Write HEVC Main or Main 10 video as a DICOM object, atomically.

    Every attribute of `source` is copied as it is, names included, except those that describe its
    pixels; overlays go too (A.8.5.4). New are the SOP instance UID, one series UID for all that
    comes from one series, the derivation and the loss: ImageType DERIVED, SourceImageSequence,
    LossyImageCompression, its ratio and method (C.7.6.1.1.5). Where the source does not say whether
    a name is burnt into the pixels, BurnedInAnnotation, which must be said, is YES.

    Args:
        path: of the DICOM file.
        units: what `encode_main` made of `picture`.
        picture: its size, frames and depth.
        source: what `read_dicom` returned as `dataset`; None writes an object of no patient.
        fps: frames a second; None is what `source` says, else 25.

    Raises:
        InvalidInputError: 12 bits, or more than level 5.1 takes.
        DataError: the source's attributes are damaged or its pixels not square, or the file cannot
            be written.
        MissingDependencyError: there is no pydicom.
    """
    require_pydicom()
    with shielded(path, _WORDS):
        derived = derived_from(source, "Lossy compression by HEVC, QPs chosen for diagnosis")
        derived.SOPClassUID = SECONDARY_CAPTURE
        describe_pixels(derived, picture)
        rate = describe_time(derived, len(picture.frames), fps)
        video = to_mp4(units, rate)
        check_level(derived, len(video), rate)
        describe_loss(derived, picture, len(video), source)
        data = _encapsulated(derived, video, picture.bit_depth)
    write_atomically(path, data)


def write_grey_dicom(path: Path, picture: Picture, source: FileDataset | None = None) -> None:
    """Write decoded pictures as an uncompressed MONOCHROME2 object, atomically.

    Args:
        path: of the DICOM file.
        picture: what was decoded; 0 is black.
        source: what `decode_dicom` returned as `dataset`, whose attributes are copied as in
            `write_dicom`: what was lost stays said. None writes an object of no patient.

    Raises:
        DataError: the source's attributes are damaged, or the file cannot be written.
        MissingDependencyError: there is no pydicom.
    """
    require_pydicom()
    with shielded(path, _WORDS):
        derived = derived_from(source, "Decoded from HEVC")
        describe_grey(derived, picture)
        derived.SOPClassUID = GREY_CAPTURES[derived.BitsAllocated]
        describe_time(derived, len(picture.frames))
        data = _uncompressed(derived, picture)
    write_atomically(path, data)


def _encapsulated(derived: Dataset, video: bytes, bit_depth: int) -> bytes:
    """Put the video into one fragment of even length behind an empty offset table (PS3.5 A.4)."""
    from pydicom.encaps import encapsulate

    derived.PixelData = encapsulate([video], has_bot=False)
    derived["PixelData"].VR = "OB"
    return _file(derived, HEVC_MAIN if bit_depth == 8 else HEVC_MAIN_10)


def _uncompressed(derived: Dataset, picture: Picture) -> bytes:
    from pydicom.uid import ExplicitVRLittleEndian

    data = picture.frames.astype(picture.samples.dtype.newbyteorder("<")).tobytes()
    derived.PixelData = data + bytes(len(data) % 2)
    derived["PixelData"].VR = "OB" if derived.BitsAllocated == 8 else "OW"
    return _file(derived, ExplicitVRLittleEndian)


def _file(derived: Dataset, syntax: str) -> bytes:
    from pydicom import dcmwrite
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

    derived.file_meta = FileMetaDataset()
    derived.file_meta.TransferSyntaxUID = UID(syntax)
    derived.preamble = None
    file = BytesIO()
    dcmwrite(file, derived, implicit_vr=False, little_endian=True, enforce_file_format=True)
    return file.getvalue()
