"""What a DICOM file says of a person stays in the file."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

import numpy as np
import pytest
from fuzzing.mutations import mutate

from dmic_gym.deploy.dicom import decode_dicom, read_dicom
from dmic_gym.deploy.dicom_secondary import write_dicom
from dmic_gym.deploy.pictures import Picture
from dmic_gym.deploy.streams import encode_main
from dmic_gym.errors import DmicError
from tests.deploy.dicoms import PATIENT, angiogram, noise, save
from tests.deploy.makers import maps

NAME = PATIENT.encode()
TECHNICAL = (
    b"\x28\x00\x10\x00US",
    b"\x28\x00\x11\x00US",
    b"\x28\x00\x08\x00IS",
    b"\x28\x00\x00\x01US",
    b"\x28\x00\x01\x01US",
    b"\x28\x00\x03\x01US",
    b"\x28\x00\x04\x00CS",
    b"\x28\x00\x50\x10DS",
    b"\x28\x00\x51\x10DS",
    b"\x28\x00\x52\x10DS",
    b"\x28\x00\x53\x10DS",
    b"\x18\x00\x63\x10DS",
    b"\x02\x00\x10\x00UI",
    b"\x08\x00\x05\x00CS",
    b"\x08\x00\x18\x00UI",
)
"""Tag and VR of what is read; the person's name is put there."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    dataset = angiogram(noise((2, 16, 16), 12), 12, WindowCenter=2000, WindowWidth=4000)
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
    dataset.SpecificCharacterSet = "ISO_IR 192"
    return save(dataset, tmp_path_factory.mktemp("dicom") / "a.dcm").read_bytes()


def named(data: bytes, element: bytes, vr: bytes) -> bytes:
    """Put the name where an element's value is, in another value representation."""
    start = data.index(element)
    length = int.from_bytes(data[start + 6 : start + 8], "little")
    value = vr + len(NAME).to_bytes(2, "little") + NAME
    return data[: start + 4] + value + data[start + 8 + length :]


def everything_said(path: Path, work: Path) -> str:
    """Read, copy and decode a file; return all that the errors and their tracebacks say."""
    said = ""
    coded = Picture(np.zeros((16, 16), np.uint8))
    units = encode_main(coded, maps(coded), preset="ultrafast")
    for window in (None, "auto", (2000.0, 4000.0)):
        try:
            write_dicom(work, units, coded, read_dicom(path, window).dataset)
        except DmicError as error:
            said += "".join(traceback.format_exception(error))
    try:
        decode_dicom(path)
    except DmicError as error:
        said += "".join(traceback.format_exception(error))
    return said


@pytest.mark.parametrize("element", TECHNICAL)
def test_a_name_in_a_technical_attribute_is_not_quoted(
    sound: bytes, element: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for vr in (element[4:], b"LO", b"PN"):
        path = tmp_path / "a.dcm"
        path.write_bytes(named(sound, element, vr))
        said = everything_said(path, tmp_path / "derived.dcm") + caplog.text
        assert "a.dcm" in said
        assert PATIENT not in said
        assert "Secretova" not in said


def test_damaged_files_do_not_speak(
    sound: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "a.dcm"
    words = [NAME, b"PN\x0e\x00" + NAME, *TECHNICAL]
    for index in range(60):
        path.write_bytes(mutate(sound, np.random.default_rng(index), words))
        assert "Secretova" not in everything_said(path, tmp_path / "derived.dcm") + caplog.text
