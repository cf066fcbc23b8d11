"""DICOM that we write, read by strangers' tools: pydicom, ffmpeg, libde265, dciodvfy, dcmtk."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from pydicom.encaps import parse_basic_offsets

from dmic_gym.deploy.dicom import decode_dicom
from dmic_gym.deploy.dicom_secondary import SECONDARY_CAPTURE
from dmic_gym.errors import DecodeError
from tests.codecs import libde265
from tests.deploy.dicoms import PATIENT, Written, angiogram, frames_of, written

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffprobe") is None, reason="no ffprobe")


@pytest.fixture(scope="module", params=[8, 10])
def example(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Three frames of odd sides."""
    frames = frames_of((3, 97, 131), request.param)
    return written(tmp_path_factory.mktemp("dicom"), angiogram(frames, request.param))


def test_pydicom_reads_what_the_standard_demands(example: Written) -> None:
    """PS3.5 8.2.10 and 8.2.11, A.4."""
    dataset, depth = example.dataset, example.coded.bit_depth
    uid = f"1.2.840.10008.1.2.4.{107 if depth == 8 else 108}"
    assert dataset.file_meta.TransferSyntaxUID == uid
    assert dataset.SOPClassUID == dataset.file_meta.MediaStorageSOPClassUID == SECONDARY_CAPTURE
    assert dataset.SOPInstanceUID == dataset.file_meta.MediaStorageSOPInstanceUID
    assert (dataset.SamplesPerPixel, dataset.PlanarConfiguration) == (3, 0)
    assert dataset.PhotometricInterpretation == "YBR_PARTIAL_420"
    bits = (dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit)
    assert bits == ((8, 8, 7) if depth == 8 else (16, 10, 9))
    assert dataset.PixelRepresentation == 0
    assert (dataset.NumberOfFrames, dataset.Rows, dataset.Columns) == (3, 98, 132)
    assert "PixelAspectRatio" not in dataset
    assert dataset["PixelData"].is_undefined_length
    assert parse_basic_offsets(dataset.PixelData) == []
    assert len(example.video) % 2 == 0
    assert example.video[4:8] == b"ftyp"


def test_decoding_gives_the_frames_at_their_true_size(example: Written) -> None:
    image = decode_dicom(example.path)
    assert image.picture.samples.shape == (3, 97, 131)
    assert image.picture.bit_depth == example.coded.bit_depth
    np.testing.assert_array_equal(image.picture.samples, example.coded.samples)
    assert image.dataset.PatientName == PATIENT


@needs_ffmpeg
def test_ffprobe_finds_main_level_5_1_at_most(example: Written, tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(example.video)
    command = ["ffprobe", "-v", "error", "-of", "json", "-show_streams", str(tmp_path / "v.mp4")]
    (stream,) = json.loads(subprocess.check_output(command))["streams"]
    assert stream["profile"] == ("Main" if example.coded.bit_depth == 8 else "Main 10")
    assert stream["level"] <= 153
    assert (stream["width"], stream["height"], stream["nb_frames"]) == (132, 98, "3")
    assert stream["color_range"] == "pc"
    numerator, denominator = map(int, stream["avg_frame_rate"].split("/"))
    assert 1000 * denominator / numerator == pytest.approx(float(example.dataset.FrameTime))


@needs_ffmpeg
def test_ffmpeg_decodes_the_same_luma_and_grey_chroma(example: Written, tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(example.video)
    wide = example.coded.bit_depth > 8
    command = ["ffmpeg", "-v", "error", "-i", str(tmp_path / "v.mp4"), "-f", "rawvideo", "-"]
    raw = np.frombuffer(subprocess.check_output(command), np.uint16 if wide else np.uint8)
    planes = raw.reshape(3, -1)
    luma = planes[:, : 98 * 132].reshape(3, 98, 132)
    np.testing.assert_array_equal(luma[:, :97, :131], example.coded.samples)
    assert set(planes[:, 98 * 132 :].ravel().tolist()) == {512 if wide else 128}


@needs_ffmpeg
@pytest.mark.skipif(not libde265.available(), reason=libde265.skip_reason() or "available")
def test_libde265_decodes_the_same_luma(example: Written, tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(example.video)
    for index in range(3):
        command = ["ffmpeg", "-v", "error", "-i", str(tmp_path / "v.mp4"), "-c:v", "copy"]
        command += ["-bsf:v", f"noise=drop=not(eq(n\\,{index})),hevc_mp4toannexb"]
        stream = subprocess.check_output([*command, "-f", "hevc", "-"])
        image = libde265.decode(stream, 64).image
        np.testing.assert_array_equal(image[:97, :131], example.coded.samples[index])


def run_tool(name: str, path: Path) -> str:
    tool = shutil.which(name)
    if tool is None:
        pytest.skip(f"no {name}")
    done = subprocess.run([tool, str(path)], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_dciodvfy_finds_no_error(tmp_path: Path) -> None:
    """It knows the video syntaxes up to H.264, so it is shown that UID, and no 10 bits."""
    found = written(tmp_path, angiogram(frames_of((2, 96, 128), 8), BodyPartExamined="HEART"))
    data = found.path.read_bytes().replace(b"1.2.840.10008.1.2.4.107", b"1.2.840.10008.1.2.4.102")
    found.path.write_bytes(data)
    words = run_tool("dciodvfy", found.path)
    assert "MultiframeTrueColorSCImage" in words
    assert "Error" not in words


def test_dcmdump_names_the_transfer_syntax(example: Written) -> None:
    assert "HEVC/H.265 Main" in run_tool("dcmdump", example.path)


def test_damaged_video_is_refused(example: Written, tmp_path: Path) -> None:
    data = bytearray(example.path.read_bytes())
    data[data.index(b"mdat") + 200] ^= 1
    path = tmp_path / "a.dcm"
    path.write_bytes(data)
    with pytest.raises(DecodeError, match="damaged"):
        decode_dicom(path)
