"""The DICOM reader and writer, as targets."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from dmic_gym.codecs import uniform_map
from dmic_gym.deploy.dicom import decode_dicom, read_dicom
from dmic_gym.deploy.dicom_secondary import write_dicom
from dmic_gym.deploy.pictures import Picture
from dmic_gym.deploy.streams import encode_main

from .media import BOXES, coded, of_files, picture
from .targets import Result, Target, UnprovenError

_WORDS = [
    *(b"\x28\x00\x10\x00US\x02\x00", b"\x28\x00\x08\x00IS\x04\x00", b"\xe0\x7f\x10\x00OB\0\0"),
    *(b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0\0\0\0\0", b"SQ\0\0\xff\xff\xff\xff", b"\xff\xff"),
    *(b"MONOCHROME1 ", b"65535 ", b"1.2.840.10008.1.2.5\0", b"1.2.840.10008.1.2.1.99"),
]


def strangers_dicom(*names: str) -> list[bytes]:

    return [Path(str(get_testdata_file(name))).read_bytes() for name in names]


def dicom(folder: Path) -> Target:

    def read(path: Path) -> Result:
        return read_dicom(path, (600.0, 1600.0)).picture.samples

    seeds = strangers_dicom(
        "MR_small_RLE.dcm", "MR_small.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm"
    )
    return Target(seeds, of_files(folder, "image.dcm", read), words=_WORDS)


def dicom_enhanced(folder: Path) -> Target:
    """Rescale and window in functional groups, shared and by frame."""
    (seed,) = strangers_dicom("MR_small.dcm")
    source = dcmread(BytesIO(seed))
    source.NumberOfFrames, source.PixelData = 2, source.PixelData * 2

    def group(centre: float) -> Dataset:
        made, rescale, window = Dataset(), Dataset(), Dataset()
        rescale.RescaleIntercept, rescale.RescaleSlope, rescale.RescaleType = -10, 2, "US"
        window.WindowCenter, window.WindowWidth = centre, 1600
        made.PixelValueTransformationSequence = [rescale]
        made.FrameVOILUTSequence = [window]
        return made

    source.SharedFunctionalGroupsSequence = [group(600)]
    source.PerFrameFunctionalGroupsSequence = [group(700), group(900)]
    file = BytesIO()
    source.save_as(file)

    def read(path: Path) -> Result:
        return read_dicom(path, "auto").picture.samples

    words = [*_WORDS, b"\x28\x00\x50\x10DS", b"\x28\x00\x52\x10DS"]
    return Target([file.getvalue()], of_files(folder, "image.dcm", read), words=words)


def dicom_copy(folder: Path) -> Target:
    """Attributes of a stranger's file, copied into an object of ours."""
    made = Picture(picture(8, (32, 32)).samples)
    units = encode_main(made, [uniform_map(made.shape, 64, 34)], preset="ultrafast")

    def read(path: Path) -> Result:
        dataset = read_dicom(path, (600.0, 1600.0)).dataset
        write_dicom(folder / "derived.dcm", units, made, dataset)
        return decode_dicom(folder / "derived.dcm").picture.samples

    seeds = strangers_dicom("MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm")
    words = _WORDS
    return Target(seeds, of_files(folder, "image.dcm", read), protected=True, words=words)


def dicom_video(folder: Path) -> Target:

    seeds = []
    for bits in (8, 10):
        write_dicom(folder / "seed.dcm", coded(bits, True), picture(bits))
        seeds.append((folder / "seed.dcm").read_bytes())

    def read(path: Path) -> Result:
        image = decode_dicom(path)
        if image.word:
            raise UnprovenError(image.word)
        return image.picture.samples

    read_bytes = of_files(folder, "video.dcm", read)
    return Target(seeds, read_bytes, protected=True, words=_WORDS + BOXES)
