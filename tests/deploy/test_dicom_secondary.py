"""What an object that we write says of itself, its source and its loss."""

from __future__ import annotations

import shutil
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from dmic_gym.codecs import uniform_map
from dmic_gym.deploy.coder import Coder, Settings
from dmic_gym.deploy.dicom import decode_dicom, read_dicom
from dmic_gym.deploy.dicom_secondary import GREY_CAPTURES, write_dicom, write_grey_dicom
from dmic_gym.deploy.files import Reading, encode_file
from dmic_gym.deploy.jobs import Job
from dmic_gym.deploy.pictures import Picture
from dmic_gym.deploy.streams import encode_main
from dmic_gym.errors import DataError, InvalidInputError
from tests.deploy.dicoms import PATIENT, Written, angiogram, frames_of, noise, save, written
from tests.support import texture


@pytest.fixture(scope="module", params=[8, 10])
def example(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    frames = frames_of((3, 97, 131), request.param)
    return written(tmp_path_factory.mktemp("dicom"), angiogram(frames, request.param))


def test_it_says_where_it_comes_from(example: Written) -> None:
    """PS3.3 C.7.6.1.1.5 and C.7.6.1.1.2."""
    derived, source = example.dataset, example.source
    assert derived.ImageType == ["DERIVED", "SECONDARY"]
    assert derived.SOPInstanceUID != source.SOPInstanceUID
    (reference,) = derived.SourceImageSequence
    assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert reference.ReferencedSOPClassUID == source.SOPClassUID
    assert reference.PurposeOfReferenceCodeSequence[0].CodeValue == "121320"
    assert derived.DerivationCodeSequence[0].CodeValue == "113040"
    assert derived.LossyImageCompression == "01"
    assert derived.LossyImageCompressionMethod == "ISO_23008_2"
    size = 3 * 97 * 131 * (1 if example.coded.bit_depth == 8 else 2)
    assert float(derived.LossyImageCompressionRatio) == pytest.approx(
        size / len(example.video), rel=0.01
    )
    assert derived.FrameIncrementPointer == 0x00181063
    assert float(derived.FrameTime) == 66.6


def test_other_attributes_are_copied_as_they_are(tmp_path: Path) -> None:
    dataset = angiogram(
        frames_of((1, 64, 64), 8), WindowCenter=128, WindowWidth=256, RescaleSlope=1
    )
    dataset.RescaleIntercept, dataset.SpecificCharacterSet = 0, "ISO_IR 192"
    dataset.PatientName = "Müller^Jörg"
    dataset.add_new(0x60003000, "OW", b"\0" * 512)
    dataset.private_block(0x0019, "ACME 1", create=True).add_new(1, "LO", "kept")
    derived = written(tmp_path, dataset).dataset
    assert derived.PatientName == "Müller^Jörg"
    assert derived.private_block(0x0019, "ACME 1")[1].value == "kept"
    assert (derived.Modality, derived.StudyDate, derived.SeriesNumber) == ("XA", "20240131", 4)
    assert derived.StudyInstanceUID == dataset.StudyInstanceUID
    for keyword in ("WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept"):
        assert keyword not in derived
    assert 0x60003000 not in derived


@pytest.mark.parametrize("syntax", ["ImplicitVRLittleEndian", "ExplicitVRBigEndian"])
def test_any_encoding_of_the_source_will_do(tmp_path: Path, syntax: str) -> None:
    dataset = angiogram(frames_of((2, 64, 64), 8))
    dataset.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
    derived = written(tmp_path, dataset).dataset
    assert derived.PatientName == PATIENT
    assert derived.PatientOrientation == ["L", "F"]


def test_objects_of_one_series_stay_in_one(tmp_path: Path) -> None:
    first = angiogram(frames_of((1, 64, 64), 8))
    made = [written(tmp_path, dataset).dataset for dataset in (first, first)]
    other = written(tmp_path, angiogram(frames_of((1, 64, 64), 8))).dataset
    assert made[0].SeriesInstanceUID == made[1].SeriesInstanceUID != first.SeriesInstanceUID
    assert made[0].SOPInstanceUID != made[1].SOPInstanceUID
    assert other.SeriesInstanceUID != made[0].SeriesInstanceUID


def test_earlier_losses_are_kept(tmp_path: Path) -> None:
    lossy: dict[str, Any] = {
        "LossyImageCompression": "01",
        "LossyImageCompressionRatio": 5,
        "LossyImageCompressionMethod": "ISO_10918_1",
    }
    derived = written(tmp_path, angiogram(frames_of((1, 64, 64), 8), **lossy)).dataset
    assert derived.LossyImageCompressionMethod == ["ISO_10918_1", "ISO_23008_2"]
    assert derived.LossyImageCompressionRatio[0] == 5


@pytest.mark.parametrize(
    ("ratios", "methods", "kept"),
    [
        ([5, 6], ["ISO_10918_1", "ISO_15444_1"], [5, 6]),
        ([5], [], [5]),
        ([5, 6], ["ISO_10918_1"], [5, 6]),
        ([], ["ISO_10918_1"], []),
        ([5], ["ISO_10918_1", "ISO_15444_1"], [5]),
    ],
)
def test_there_are_as_many_ratios_as_methods(
    tmp_path: Path, ratios: list[float], methods: list[str], kept: list[float]
) -> None:
    """A method that is missing is that of the source's own compression."""
    source = read_dicom(jpeg(tmp_path / "jpeg.dcm")).dataset
    source.LossyImageCompressionRatio, source.LossyImageCompressionMethod = ratios, methods
    picture, units = coded((1, 64, 64))
    write_dicom(tmp_path / "a.dcm", units, picture, source)
    derived = pydicom.dcmread(tmp_path / "a.dcm")
    found = derived["LossyImageCompressionRatio"], derived["LossyImageCompressionMethod"]
    assert found[0].VM == found[1].VM == len(kept) + 1
    assert [*derived.LossyImageCompressionRatio][:-1] == kept if kept else found[0].VM == 1
    assert "ISO_23008_2" in derived.LossyImageCompressionMethod
    (reference,) = derived.SourceImageSequence
    assert reference.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"


def jpeg(path: Path) -> Path:
    """A DICOM file of one JPEG picture."""
    dataset = angiogram(frames_of((1, 64, 64), 8))
    data = cv2.imencode(".jpg", texture((64, 64)))[1].tobytes()
    dataset.PixelData = encapsulate([data + b"\0" * (len(data) % 2)])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    return save(dataset, path)


def test_words_of_big_endian_sources_are_swapped(tmp_path: Path) -> None:
    dataset = angiogram(frames_of((1, 64, 64), 8))
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
    block = dataset.private_block(0x0019, "ACME 1", create=True)
    block.add_new(1, "OW", b"\x01\x02\x03\x04")
    block.add_new(2, "OB", b"\x01\x02\x03\x04")
    inner = Dataset()
    inner.private_block(0x0019, "ACME 1", create=True).add_new(3, "OF", b"\1\2\3\4\5\6\7\x08")
    block.add_new(4, "SQ", [inner])
    found = written(tmp_path, dataset).dataset.private_block(0x0019, "ACME 1")
    assert found[1].value == b"\x02\x01\x04\x03"
    assert found[2].value == b"\x01\x02\x03\x04"
    (item,) = found[4].value
    assert item.private_block(0x0019, "ACME 1")[3].value == b"\4\3\2\1\x08\7\6\5"


@pytest.mark.parametrize(("laterality", "kept"), [("L", True), ("", False), (None, False)])
def test_laterality_has_a_value_or_is_not_there(
    tmp_path: Path, laterality: str | None, kept: bool
) -> None:
    more: dict[str, Any] = {} if laterality is None else {"Laterality": laterality}
    derived = written(tmp_path, angiogram(frames_of((1, 64, 64), 8), **more)).dataset
    assert ("Laterality" in derived) == kept


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("shape", [(3, 97, 131), (1, 64, 64)])
def test_video_comes_back_as_grey(bits: int, shape: tuple[int, int, int], tmp_path: Path) -> None:
    found = written(tmp_path, angiogram(frames_of(shape, bits), bits, BodyPartExamined="HEART"))
    image = decode_dicom(found.path)
    path = tmp_path / "grey.dcm"
    write_grey_dicom(path, image.picture, image.dataset)
    again = read_dicom(path)
    np.testing.assert_array_equal(again.picture.samples, found.coded.samples)
    assert again.picture.bit_depth == bits
    grey, video = pydicom.dcmread(path), found.dataset
    assert grey.SOPClassUID == GREY_CAPTURES[8 if bits == 8 else 16]
    assert grey.PhotometricInterpretation == "MONOCHROME2"
    np.testing.assert_array_equal(grey.pixel_array, found.coded.samples)
    assert grey.SourceImageSequence[0].ReferencedSOPInstanceUID == video.SOPInstanceUID
    assert grey.LossyImageCompressionMethod == "ISO_23008_2"
    assert grey.PatientName == PATIENT
    if shape[0] > 1:
        assert grey.FrameTime == video.FrameTime
    if shutil.which("dciodvfy"):
        words = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
        assert f"MultiframeGrayscale{'Byte' if bits == 8 else 'Word'}SCImage" in words.stderr
        assert "Error" not in words.stderr


@pytest.mark.parametrize(
    ("attributes", "fps", "rate"),
    [
        ({"FrameTime": "66.67"}, None, Fraction(100000, 6667)),
        ({"FrameTime": None, "CineRate": 10}, None, Fraction(10)),
        ({"FrameTime": None}, None, Fraction(25)),
        ({"FrameTime": "66.67"}, 12.5, Fraction(25, 2)),
    ],
)
def test_an_mp4_plays_as_fast_as_the_source(
    attributes: dict[str, Any], fps: float | None, rate: Fraction, tmp_path: Path
) -> None:
    save(angiogram(frames_of((4, 64, 64), 8), **attributes), tmp_path / "a.dcm")
    with Coder(Settings(agent="anchor", preset="ultrafast")) as coder:
        job = Job(tmp_path / "a.dcm", tmp_path / "a.mp4")
        encode_file(job, coder, Reading(fps=fps))
    with av.open(str(tmp_path / "a.mp4")) as video:
        assert video.streams.video[0].average_rate == rate


@pytest.mark.parametrize(
    ("attributes", "pointer", "frame_ms"),
    [
        ({"FrameTime": 20}, 0x00181063, 20),
        ({"FrameTime": None, "CineRate": 10}, 0x00181063, 100),
        ({"FrameTime": None}, 0x00181063, 40),
        ({"FrameTime": 0}, 0x00181063, 40),
        ({"FrameTimeVector": [0, 30, 50]}, 0x00181065, 40),
    ],
)
def test_times_of_the_source(
    tmp_path: Path, attributes: dict[str, Any], pointer: int, frame_ms: float
) -> None:
    derived = written(tmp_path, angiogram(frames_of((3, 64, 64), 8), **attributes)).dataset
    assert derived.FrameIncrementPointer == pointer
    assert float(derived.FrameTime) == frame_ms


def test_without_a_source_there_is_no_patient(tmp_path: Path) -> None:
    picture = Picture(texture((64, 66)))
    units = encode_main(picture, [uniform_map((64, 66), 64, 30)], preset="ultrafast")
    write_dicom(tmp_path / "a.dcm", units, picture)
    derived = pydicom.dcmread(tmp_path / "a.dcm")
    assert (derived.PatientName, derived.PatientID, derived.StudyDate) == ("", "", "")
    assert derived.Modality == "OT"
    assert "SourceImageSequence" not in derived
    image = decode_dicom(tmp_path / "a.dcm").picture
    assert image.samples.shape == (64, 66)


def coded(shape: tuple[int, int, int], bits: int = 8, qp: int = 40) -> tuple[Picture, list[bytes]]:
    picture = Picture.of(noise(shape, bits).astype(np.uint8 if bits == 8 else np.uint16))
    maps = [uniform_map(picture.shape, 64, qp)] * len(picture.frames)
    return picture, encode_main(picture, maps, preset="ultrafast")


def test_what_level_5_1_cannot_hold_is_refused(tmp_path: Path) -> None:
    picture, units = coded((3, 128, 128), qp=0)
    fast = angiogram(noise((3, 128, 128)), FrameTime=1)
    source = read_dicom(save(fast, tmp_path / "source.dcm")).dataset
    with pytest.raises(InvalidInputError, match="raise the QP"):
        write_dicom(tmp_path / "a.dcm", units, picture, source)
    large = Picture(np.zeros((4096, 4096), np.uint8))
    with pytest.raises(InvalidInputError, match="8912896 a frame"):
        write_dicom(tmp_path / "a.dcm", units[:1], large)
    deep = Picture(np.zeros((64, 64), np.uint16), 12)
    with pytest.raises(InvalidInputError, match="8 or 10 bits"):
        write_dicom(tmp_path / "a.dcm", units, deep)
    assert not (tmp_path / "a.dcm").exists()


def test_oblong_pixels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="4:3"):
        written(tmp_path, angiogram(frames_of((1, 64, 64), 8), PixelAspectRatio=[4, 3]))


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    picture, units = coded((1, 64, 64))
    with pytest.raises(DataError, match=r"cannot be written \(No such file"):
        write_dicom(tmp_path / "none" / "a.dcm", units, picture)
