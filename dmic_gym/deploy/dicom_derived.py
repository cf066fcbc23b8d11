"""The attributes of a DICOM image that is made of another (PS3.3 C.7.6.1.1.2)."""

from __future__ import annotations

import copy
import datetime
from typing import TYPE_CHECKING

from dmic_gym.deploy.dicom_frames import GREY_MACROS, GROUPS
from dmic_gym.errors import DataError

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset, FileDataset

_TYPE_2 = (
    "AccessionNumber",
    "InstanceNumber",
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
    "PlanarConfiguration",
    "PresentationLUTShape",
    "RealWorldValueMappingSequence",
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

_BYTES_A_WORD = {"OW": 2, "OL": 4, "OF": 4, "OD": 8, "OV": 8}


def derived_from(source: FileDataset | None, description: str) -> Dataset:
    """Return the attributes of an image derived from `source`, with its own identity.

    Raises:
        DataError: the source's pixels are not square.
    """
    from pydicom.dataset import Dataset

    derived: Dataset = Dataset() if source is None else copy.deepcopy(source)
    if source is not None:
        _require_square_pixels(source)
        _make_little_endian(derived, source)
        _refer_to(derived, source, description)
    _forget_pixels(derived)
    _name_anew(derived)
    for keyword in _TYPE_2:
        if keyword not in derived:
            setattr(derived, keyword, "")
    if "Laterality" in derived and not derived.Laterality:
        del derived.Laterality  # C.7.3.1: of paired parts, and then with a value
    derived.ImageType = ["DERIVED", "SECONDARY"]
    derived.Modality = derived.get("Modality") or "OT"
    derived.ConversionType = "WSD"
    derived.BurnedInAnnotation = derived.get("BurnedInAnnotation") or "YES"
    return derived


def _forget_pixels(derived: Dataset) -> None:
    groups = [group for keyword in GROUPS for group in derived.get(keyword) or []]
    for dataset in (derived, *groups):
        for keyword in (*_OF_OTHER_PIXELS, *GREY_MACROS):
            if keyword in dataset:
                del dataset[keyword]
    overlays = tuple(derived[0x60000000:0x61000000].keys())
    for tag in overlays:
        if not tag.is_private:
            del derived[tag]


def _make_little_endian(derived: Dataset, source: FileDataset) -> None:
    """Swap words whose bytes pydicom copies as they are in the file."""
    if source.original_encoding[1] is not False:
        return

    def swap(_: Dataset, element: DataElement) -> None:
        size = _BYTES_A_WORD.get(element.VR, 0)
        value = element.value
        if size and isinstance(value, bytes) and len(value) % size == 0:
            element.value = b"".join(
                value[start : start + size][::-1] for start in range(0, len(value), size)
            )

    derived.walk(swap)


def _name_anew(derived: Dataset) -> None:
    """Give it its own identity, in one new series for each series of sources."""
    from pydicom.uid import generate_uid

    series, now = derived.get("SeriesInstanceUID"), datetime.datetime.now()
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


def _refer_to(derived: Dataset, source: FileDataset, description: str) -> None:
    """Name the source image and how this one came of it (CID 7202, CID 7203)."""
    from pydicom.dataset import Dataset

    derived.DerivationDescription = description
    derived.DerivationCodeSequence = [_code("113040", "Lossy Compression")]
    if "SourceImageSequence" in derived:
        del derived.SourceImageSequence
    if "SOPClassUID" in source and "SOPInstanceUID" in source:
        reference = Dataset()
        reference.ReferencedSOPClassUID = source.SOPClassUID
        reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
        reference.PurposeOfReferenceCodeSequence = [_purpose(source)]
        derived.SourceImageSequence = [reference]


def _purpose(source: FileDataset) -> Dataset:
    lossy = source.get("LossyImageCompression") == "01"
    if lossy or source.file_meta.TransferSyntaxUID.is_encapsulated:
        return _code("121322", "Source image for image processing operation")
    return _code("121320", "Uncompressed predecessor")


def _code(value: str, meaning: str) -> Dataset:
    from pydicom.dataset import Dataset

    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
    return code
