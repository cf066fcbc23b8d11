"""Writing HEVC video as a DICOM object: a Multi-frame True Color Secondary Capture (PS3.3 A.8.5).

It is the IOD that holds YBR_PARTIAL_420 pixels of any origin; an X-ray angiogram's own IOD holds
MONOCHROME2 alone. The encoding follows PS3.5 8.2.10 (Main) and 8.2.11 (Main 10): an MP4 file in
one fragment behind an empty offset table. Two tensions remain, and are not ours to settle:
A.8.5.4 (in the edition we could read) asks for 8 bits where 8.2.11 asks for 10; and the luma of
YBR_PARTIAL_420 is 16..235 (C.7.6.3.1.2), while our stream signals full range, which 8.2.10 puts
above the data elements.
"""

from __future__ import annotations

import copy
import datetime
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from dmic_gym.deploy.dicom import HEVC_MAIN, HEVC_MAIN_10
from dmic_gym.deploy.dicom_file import require_pydicom, shielded
from dmic_gym.deploy.dicom_video import (
    check_level,
    describe_loss,
    describe_pixels,
    describe_time,
)
from dmic_gym.deploy.mp4 import to_mp4
from dmic_gym.deploy.pictures import Picture
from dmic_gym.errors import DataError
from dmic_gym.io import write_atomically

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7.4"
"""Multi-frame True Color Secondary Capture Image Storage."""

_TYPE_2 = (
    "AccessionNumber",
    "InstanceNumber",
    "Laterality",
    "Manufacturer",
    "PatientBirthDate",
    "PatientID",
    "PatientName",
    "PatientOrientation",
    "PatientSex",
    "ReferringPhysicianName",
    "SeriesNumber",
    "StudyDate",
    "StudyID",
    "StudyTime",
)
_OF_OTHER_PIXELS = (
    "DigitalSignaturesSequence",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "FrameIncrementPointer",
    "InstanceCreatorUID",
    "LargestImagePixelValue",
    "LargestPixelValueInSeries",
    "MACParametersSequence",
    "ModalityLUTSequence",
    "PixelAspectRatio",
    "PixelIntensityRelationship",
    "PixelIntensityRelationshipSign",
    "PixelPaddingRangeLimit",
    "PixelPaddingValue",
    "PresentationLUTShape",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "SmallestImagePixelValue",
    "SmallestPixelValueInSeries",
    "VOILUTFunction",
    "VOILUTSequence",
    "WindowCenter",
    "WindowCenterWidthExplanation",
    "WindowWidth",
)
"""What described the source's pixels and would be wrong of ours, or may not be in this IOD."""


def write_dicom(
    path: Path, units: Sequence[bytes], picture: Picture, source: FileDataset | None = None
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

    Raises:
        InvalidInputError: 12 bits, or more than level 5.1 takes.
        DataError: the source's attributes are damaged or its pixels not square, or the file cannot
            be written.
        MissingDependencyError: there is no pydicom.
    """
    require_pydicom()
    from pydicom import dcmwrite

    with shielded(path, "not written: attributes of its source are damaged"):
        derived = _derived(source)
        describe_pixels(derived, picture)
        rate = describe_time(derived, len(picture.frames))
        video = to_mp4(units, rate)
        check_level(derived, len(video), rate)
        describe_loss(derived, picture, len(video))
        _encapsulate(derived, video, picture.bit_depth)
        file = BytesIO()
        dcmwrite(file, derived, implicit_vr=False, little_endian=True, enforce_file_format=True)
    write_atomically(path, file.getvalue())


def _derived(source: FileDataset | None) -> Dataset:
    """Return the attributes of an image derived from `source`."""
    from pydicom.dataset import Dataset

    derived: Dataset = Dataset() if source is None else copy.deepcopy(source)
    if source is not None:
        _require_square_pixels(source)
        _refer_to(derived, source)
    _forget_pixels(derived)
    _name_anew(derived)
    for keyword in _TYPE_2:
        if keyword not in derived:
            setattr(derived, keyword, "")
    derived.ImageType = ["DERIVED", "SECONDARY"]
    derived.Modality = derived.get("Modality") or "OT"
    derived.ConversionType = "WSD"
    derived.BurnedInAnnotation = derived.get("BurnedInAnnotation") or "YES"
    return derived


def _forget_pixels(derived: Dataset) -> None:
    for keyword in _OF_OTHER_PIXELS:
        if keyword in derived:
            del derived[keyword]
    overlays = tuple(derived[0x60000000:0x61000000].keys())
    for tag in overlays:
        if not tag.is_private:
            del derived[tag]


def _name_anew(derived: Dataset) -> None:
    """Give it its own identity, in one new series for each series of sources."""
    from pydicom.uid import generate_uid

    series, now = derived.get("SeriesInstanceUID"), datetime.datetime.now()
    derived.SOPClassUID = SECONDARY_CAPTURE
    derived.SOPInstanceUID = generate_uid()
    derived.SeriesInstanceUID = generate_uid(entropy_srcs=[series, "dmic_gym"] if series else None)
    if "StudyInstanceUID" not in derived:
        derived.StudyInstanceUID = generate_uid()
    derived.InstanceCreationDate, derived.InstanceCreationTime = f"{now:%Y%m%d}", f"{now:%H%M%S}"


def _require_square_pixels(source: Dataset) -> None:
    ratio = [int(side) for side in source.get("PixelAspectRatio") or (1, 1)]
    if ratio[0] != ratio[1]:
        raise DataError(
            f"Pixels of {ratio[0]}:{ratio[1]} cannot be HEVC in DICOM, which has square ones alone."
        )


def _refer_to(derived: Dataset, source: Dataset) -> None:
    """Name the source image and how this one came of it (CID 7202, CID 7203)."""
    from pydicom.dataset import Dataset

    derived.DerivationDescription = "Lossy compression by HEVC, QPs chosen for diagnosis"
    derived.DerivationCodeSequence = [_code("113040", "Lossy Compression")]
    if "SourceImageSequence" in derived:
        del derived.SourceImageSequence
    if "SOPClassUID" in source and "SOPInstanceUID" in source:
        reference = Dataset()
        reference.ReferencedSOPClassUID = source.SOPClassUID
        reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
        purpose = _code("121320", "Uncompressed predecessor")
        reference.PurposeOfReferenceCodeSequence = [purpose]
        derived.SourceImageSequence = [reference]


def _code(value: str, meaning: str) -> Dataset:
    from pydicom.dataset import Dataset

    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
    return code


def _encapsulate(derived: Dataset, video: bytes, bit_depth: int) -> None:
    """Put the video into one fragment of even length behind an empty offset table (PS3.5 A.4)."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID

    derived.PixelData = encapsulate([video], has_bot=False)
    derived["PixelData"].VR = "OB"
    derived.file_meta = FileMetaDataset()
    derived.file_meta.TransferSyntaxUID = UID(HEVC_MAIN if bit_depth == 8 else HEVC_MAIN_10)
    derived.preamble = None
