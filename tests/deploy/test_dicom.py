"""Reading DICOM: the stored pixels, exactly, or a clear error."""

from __future__ import annotations

import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from dmic_gym.deploy.dicom import decode_dicom, read_dicom
from dmic_gym.deploy.dicom_file import is_dicom
from dmic_gym.deploy.window import parse_window
from dmic_gym.errors import DataError, DmicError, InvalidInputError, MissingDependencyError
from tests.deploy.dicoms import angiogram, noise, save

SHAPE = (3, 20, 33)


@pytest.mark.parametrize(("bits", "depth"), [(8, 8), (6, 8), (9, 10), (10, 10), (11, 12), (12, 12)])
def test_stored_values_come_back_as_they_are(tmp_path: Path, bits: int, depth: int) -> None:
    frames = noise(SHAPE, bits)
    image = read_dicom(save(angiogram(frames, bits), tmp_path / "a.dcm"), max_depth=12)
    assert image.picture.bit_depth == depth
    assert image.picture.samples.dtype == (np.uint8 if depth == 8 else np.uint16)
    np.testing.assert_array_equal(image.picture.samples, frames)
    assert "PixelData" not in image.dataset
    assert image.dataset.SeriesNumber == 4


def test_a_single_frame_is_two_dimensional(tmp_path: Path) -> None:
    dataset = angiogram(noise((1, 21, 33)))
    del dataset.NumberOfFrames
    assert read_dicom(save(dataset, tmp_path / "a.dcm")).picture.samples.shape == (21, 33)


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    frames = noise(SHAPE, 10)
    dataset = angiogram(frames, 10, PhotometricInterpretation="MONOCHROME1")
    samples = read_dicom(save(dataset, tmp_path / "a.dcm")).picture.samples
    np.testing.assert_array_equal(samples, 1023 - frames)


def implicit(dataset: Dataset) -> Dataset:
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return dataset


def big_endian(dataset: Dataset) -> Dataset:
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    swapped = np.frombuffer(dataset.PixelData, "<u2").astype(">u2")
    dataset.PixelData = swapped.tobytes()
    return dataset


def run_length(dataset: Dataset) -> Dataset:
    dataset.compress(RLELossless)
    return dataset


def with_overlay_bits(dataset: Dataset) -> Dataset:
    """Retired, but there: overlays in the bits that pixels leave free."""
    values = np.frombuffer(dataset.PixelData, "<u2") | np.uint16(0xA000)
    dataset.PixelData = values.tobytes()
    return dataset


@pytest.mark.parametrize("encode", [implicit, big_endian, run_length, with_overlay_bits])
def test_the_encoding_makes_no_difference(tmp_path: Path, encode: Any) -> None:
    frames = noise(SHAPE, 10)
    dataset = encode(angiogram(frames, 10))
    found = read_dicom(save(dataset, tmp_path / "a.dcm")).picture.samples
    np.testing.assert_array_equal(found, frames)


@pytest.mark.parametrize("name", ["MR_small.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm"])
def test_a_window_follows_the_standard(name: str) -> None:
    """PS3.3 C.11.2.1.2.1, on pydicom's own files of 16-bit signed values."""
    path = Path(str(get_testdata_file(name)))
    import pydicom

    x = pydicom.dcmread(path).pixel_array.astype(float)
    centre, width = 600.0, 1600.0
    y = np.clip((x - (centre - 0.5)) / (width - 1) + 0.5, 0, 1) * 255
    np.testing.assert_array_equal(read_dicom(path, (centre, width)).picture.samples, np.rint(y))
    assert np.unique(np.rint(y)).size > 100


def test_windows_apply_to_rescaled_values(tmp_path: Path) -> None:
    frames = noise(SHAPE, 12)
    dataset = angiogram(
        frames, 12, RescaleSlope=2, RescaleIntercept=-1000, PhotometricInterpretation="MONOCHROME1"
    )
    samples = read_dicom(save(dataset, tmp_path / "a.dcm"), (3000, 4000)).picture.samples
    y = np.clip((frames * 2.0 - 1000 - 2999.5) / 3999 + 0.5, 0, 1) * 255
    np.testing.assert_array_equal(samples, 255 - np.rint(y))


def test_the_files_own_window(tmp_path: Path) -> None:
    frames = noise(SHAPE, 12)
    dataset = angiogram(frames, 12, WindowCenter=[2048, 9], WindowWidth=[4096, 9])
    samples = read_dicom(save(dataset, tmp_path / "a.dcm"), "auto").picture.samples
    assert np.abs(samples - frames / 4095 * 255).max() < 0.51


def test_the_files_own_voi_lut(tmp_path: Path) -> None:
    lut = Dataset()
    lut.LUTDescriptor, lut.LUTData = [4096, 0, 12], list(range(4095, -1, -1))
    for element in ("LUTDescriptor", "LUTData"):
        lut[element].VR = "US"
    frames = noise(SHAPE, 12)
    dataset = angiogram(frames, 12, VOILUTSequence=[lut])
    samples = read_dicom(save(dataset, tmp_path / "a.dcm"), "auto").picture.samples
    np.testing.assert_array_equal(samples, np.rint((4095 - frames) / 4095 * 255))


@pytest.mark.parametrize(
    ("attributes", "bits", "window", "words"),
    [
        ({}, 12, None, "12-bit unsigned values.*--window auto"),
        ({"PixelRepresentation": 1}, 8, None, "8-bit signed values.*--window"),
        ({}, 12, "auto", "no window of its own.*--window CENTRE,WIDTH"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, 8, None, "not a grey image"),
        ({"BitsStored": 12}, 8, None, "12 bits stored in 8"),
        ({"HighBit": 11}, 8, None, "the highest bit 11"),
        ({"NumberOfFrames": 0x7FFFFFFF}, 8, None, "more than the limit"),
        ({"NumberOfFrames": -1}, 8, None, "-1 frames"),
        ({"Rows": 65535, "Columns": 65535}, 8, None, "65535 x 65535"),
        ({"Rows": 0}, 8, None, "outside"),
        ({"Rows": 10}, 8, None, "1980 bytes of pixels, 990 announced"),
        ({"Rows": 40}, 8, None, "1980 bytes of pixels, 3960 announced"),
        ({"WindowCenter": 1, "WindowWidth": 0}, 12, "auto", r"WindowWidth \(0028,1051\) is 0"),
        ({"WindowCenter": "", "WindowWidth": ""}, 12, "auto", "no window of its own.*--window"),
        ({"PhotometricInterpretation": ""}, 8, None, r"PhotometricInterpretation \(0028,0004\)"),
        ({"PixelRepresentation": None}, 8, None, r"PixelRepresentation \(0028,0103\) is missing"),
        ({"HighBit": None}, 8, None, r"HighBit \(0028,0102\) is missing"),
        ({"SamplesPerPixel": None}, 8, None, r"SamplesPerPixel \(0028,0002\) is missing"),
        ({"Rows": [20, 20]}, 8, None, r"Rows \(0028,0010\) is no single number"),
        ({"PhotometricInterpretation": "RGB"}, 8, None, "not a grey image, its colours are RGB"),
        ({"RescaleSlope": "1E300", "RescaleIntercept": "0"}, 12, (1e300, 2), None),
    ],
)
def test_what_cannot_be_read_is_refused(
    tmp_path: Path, attributes: dict[str, object], bits: int, window: Any, words: str | None
) -> None:
    path = save(angiogram(noise(SHAPE, 8), bits, **attributes), tmp_path / "a.dcm")
    if words is None:
        assert read_dicom(path, window).picture.bit_depth == 8
        return
    with pytest.raises(DataError, match=words):
        read_dicom(path, window)


@pytest.mark.parametrize("side", ["Rows", "Columns", "NumberOfFrames"])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_large_announcement_allocates_nothing(
    tmp_path: Path, side: str, compressed: bool
) -> None:
    dataset = angiogram(noise((2, 64, 64)))
    if compressed:
        dataset.compress(RLELossless)
    setattr(dataset, side, 65535)
    path = save(dataset, tmp_path / "a.dcm")
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            read_dicom(path)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_a_file_of_tiny_elements_is_refused(tmp_path: Path) -> None:
    dataset = angiogram(noise(SHAPE))
    path = save(dataset, tmp_path / "a.dcm")
    data = path.read_bytes()
    start = data.index(b"\x08\x00\x08\x00CS")
    many = b"".join(b"\x01\x00" + n.to_bytes(2, "little") + b"LO\x00\x00" for n in range(65536))
    path.write_bytes(data[:start] + many * 9 + data[start:])
    with pytest.raises(DataError, match="elements"):
        read_dicom(path)
    path.write_bytes(data + b"\xfe\xff\x00\xe0\x00\x00\x00\x00" * 200_000)
    with pytest.raises(DataError, match="items"):
        read_dicom(path)
    dataset.add_new(0x00420011, "OB", bytes(1 << 25))
    with pytest.raises(DataError, match="besides its pixels"):
        read_dicom(save(dataset, path))


def test_deflated_files_are_refused_unopened(tmp_path: Path) -> None:
    """They may inflate a thousandfold."""
    dataset = angiogram(np.zeros((100, 200, 200)))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = save(dataset, tmp_path / "a.dcm")
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="dcmconv"):
            read_dicom(path)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_compressed_frames_that_nothing_decodes(tmp_path: Path) -> None:
    path = Path(str(get_testdata_file("JPGExtended.dcm")))
    with pytest.raises(DmicError, match="pip install pylibjpeg"):
        read_dicom(path, (2000, 4000))


def test_other_files_are_not_dicom(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG" * 100)
    assert not is_dicom(path)
    assert not is_dicom(tmp_path / "none")
    with pytest.raises(DataError, match=r"not a DICOM file.*preamble, type: dcmconv IN OUT"):
        read_dicom(path)
    with pytest.raises(DataError, match="No such file"):
        read_dicom(tmp_path / "none.dcm")


def test_grey_pixels_are_no_video(tmp_path: Path) -> None:
    path = save(angiogram(noise(SHAPE)), tmp_path / "a.dcm")
    assert is_dicom(path)
    with pytest.raises(DataError, match="Explicit VR Little Endian, which holds no HEVC"):
        decode_dicom(path)


def test_without_pydicom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(angiogram(noise(SHAPE)), tmp_path / "a.dcm")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'dmic_gym\[dicom\]'"):
        read_dicom(path)


def test_windows_as_typed() -> None:
    assert parse_window("auto") == "auto"
    assert parse_window("40, 400.5") == (40.0, 400.5)
    for text in ("", "1", "1,2,3", "a,b", "0,0", "nan,5", "1,inf"):
        with pytest.raises(InvalidInputError, match="window"):
            parse_window(text)


def test_a_file_without_transfer_syntax_is_named(tmp_path: Path) -> None:
    path = save(angiogram(noise(SHAPE)), tmp_path / "a.dcm")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"\x02\x00\x10\x00UI", b"\x02\x00\x11\x00UI", 1))
    with pytest.raises(DataError, match=r"no TransferSyntaxUID \(0002,0010\).*dcmconv"):
        read_dicom(path)


@pytest.mark.parametrize(
    ("element", "name"),
    [
        (b"\x28\x00\x53\x10DS", r"RescaleSlope \(0028,1053\) is no number"),
        (b"\x28\x00\x50\x10DS", r"WindowCenter \(0028,1050\) is no number"),
        (b"\x28\x00\x51\x10DS", r"WindowWidth \(0028,1051\) is no number"),
    ],
)
def test_a_number_that_is_none_is_named(element: bytes, name: str, tmp_path: Path) -> None:
    numbers = {"RescaleSlope": "22", "RescaleIntercept": "0"}
    numbers |= {"WindowCenter": "22", "WindowWidth": "22"}
    path = save(angiogram(noise(SHAPE, 12), 12, **numbers), tmp_path / "a.dcm")
    data = path.read_bytes()
    path.write_bytes(data.replace(element + b"\2\0" + b"22", element + b"\2\0" + b"x2"))
    with pytest.raises(DataError, match=name):
        read_dicom(path, "auto")
    if b"\x53" not in element:
        assert read_dicom(path, (40, 400)).picture.bit_depth == 8
