"""Synthetic DICOM data sets for tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import generate_fragments
from pydicom.uid import (
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    XRayAngiographicImageStorage,
    generate_uid,
)

from dmic_gym.codecs import uniform_map
from dmic_gym.deploy.dicom import read_dicom
from dmic_gym.deploy.dicom_secondary import write_dicom
from dmic_gym.deploy.pictures import Picture
from dmic_gym.deploy.streams import decode_stream, encode_main
from tests.support import texture

PATIENT = "Secretova^Olga"
FREE_TEXT = ("PatientName", "PatientID", "StudyDescription", "InstitutionName", "PatientComments")


def angiogram(frames: npt.NDArray[Any], bits: int = 8, **attributes: Any) -> Dataset:
    """An X-ray angiogram, (N, H, W) of unsigned values of `bits`, whose patient has a name."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = XRayAngiographicImageStorage
    dataset.SOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = "XA", 4, 7
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20240131", "101112", "S1"
    dataset.PatientBirthDate, dataset.PatientSex, dataset.AccessionNumber = "19500101", "F", "A1"
    dataset.ReferringPhysicianName, dataset.Manufacturer = "Doctor^Who", "ACME"
    dataset.PatientOrientation = ["L", "F"]
    for keyword in FREE_TEXT:
        setattr(dataset, keyword, PATIENT)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "SINGLE PLANE"]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = frames.shape
    dataset.BitsAllocated = 8 if bits <= 8 else 16
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, 0
    dataset.FrameTime, dataset.FrameIncrementPointer = "66.6", 0x00181063
    data = frames.astype("u1" if bits <= 8 else "<u2").tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB" if bits <= 8 else "OW"
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def enhanced(
    frames: npt.NDArray[Any],
    bits: int,
    shared: dict[str, dict[str, Any]],
    own: Sequence[dict[str, dict[str, Any]]] = (),
    **attributes: Any,
) -> Dataset:
    """An enhanced multi-frame image: attributes by macro, shared and of each frame."""
    dataset = angiogram(frames, bits, SOPClassUID=EnhancedCTImageStorage, **attributes)
    dataset.SharedFunctionalGroupsSequence = [_group(shared)]
    if own:
        dataset.PerFrameFunctionalGroupsSequence = [_group(macros) for macros in own]
    return dataset


def _group(macros: dict[str, dict[str, Any]]) -> Dataset:
    group = Dataset()
    for macro, attributes in macros.items():
        item = Dataset()
        for keyword, value in attributes.items():
            setattr(item, keyword, value)
        setattr(group, macro, [item])
    return group


def save(dataset: Dataset, path: Path) -> Path:
    """Write a data set as it is, sound or not."""
    dataset.save_as(path, enforce_file_format=True)
    return path


def noise(shape: tuple[int, ...], bits: int = 8, seed: int = 0) -> npt.NDArray[np.uint16]:
    """Every value of `bits`."""
    return np.random.default_rng(seed).integers(0, 1 << bits, shape, dtype=np.uint16)


@dataclass
class Written:
    """A source, what was coded of it, and the object that came of it."""

    source: FileDataset
    coded: Picture
    path: Path
    dataset: FileDataset

    @property
    def video(self) -> bytes:
        """The MP4 file in it."""
        _, fragment = generate_fragments(self.dataset.PixelData)
        return fragment


def frames_of(shape: tuple[int, int, int], bits: int) -> npt.NDArray[np.uint16]:
    """Smooth frames with some noise."""
    frames = np.stack([texture(shape[1:], n) for n in range(shape[0])])
    return np.asarray(frames.astype(np.uint16) << bits - 8, np.uint16)


def written(folder: Path, dataset: Dataset) -> Written:
    """Code a data set's picture and write it as a derived object."""
    image = read_dicom(save(dataset, folder / "source.dcm"))
    maps = [uniform_map(image.picture.shape, 64, 30)] * len(image.picture.frames)
    units = encode_main(image.picture, maps, preset="ultrafast")
    path = folder / "derived.dcm"
    write_dicom(path, units, image.picture, image.dataset)
    return Written(image.dataset, decode_stream(b"".join(units)), path, pydicom.dcmread(path))
