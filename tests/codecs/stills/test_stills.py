from __future__ import annotations

import io
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as Pillow

from dmic_gym.codecs.stills import AVIF, JPEG, STILLS, StillCodec, WebP
from dmic_gym.errors import DecodeError, EncodeError, InvalidInputError, MissingDependencyError
from dmic_gym.tasks.metrics import psnr
from tests.support import phantoms, texture

pytest.importorskip("imagecodecs", reason="no imagecodecs (pip install dmic_gym[codecs])")

Image = npt.NDArray[np.uint8]
every_codec = pytest.mark.parametrize("still", STILLS.values(), ids=list(STILLS))


def with_pillow(data: bytes) -> Image:
    with Pillow.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("L"))


def with_opencv(data: bytes) -> Image:
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8)


def with_ffmpeg(data: bytes, codec: str) -> Image:
    context: Any = av.CodecContext.create(codec, "r")
    frames = [*context.decode(av.Packet(data)), *context.decode(None)]
    return np.asarray(frames[0].reformat(format="gray").to_ndarray(), np.uint8)


def middle(still: StillCodec) -> int:
    return still.qualities[len(still.qualities) // 2]


def test_the_registry_has_each_under_its_name() -> None:
    assert set(STILLS) == {"jpeg", "jpeg2000", "webp", "avif", "jpegxl"}
    for name, still in STILLS.items():
        assert still.name == name
        assert 4 <= len(still.qualities) <= 6
        assert list(still.qualities) == sorted(set(still.qualities))
        assert any(character.isdigit() for character in still.version)


@every_codec
@pytest.mark.parametrize("shape", [(1, 1), (7, 9), (33, 20), (96, 130)])
def test_any_size_comes_back(still: StillCodec, shape: tuple[int, int]) -> None:
    image = texture(shape)
    decoded = still.decode(still.encode(image, still.qualities[-1]))
    assert decoded.shape == shape
    assert decoded.dtype == np.uint8
    assert psnr(image, decoded) > 25


@every_codec
def test_a_higher_quality_costs_more_and_is_closer(still: StillCodec) -> None:
    image = phantoms(1, 160)[0].image
    files = [still.encode(image, quality) for quality in still.qualities]
    assert sorted(len(data) for data in files) == [len(data) for data in files]
    closeness = [psnr(image, still.decode(data)) for data in files]
    assert sorted(closeness) == closeness
    assert closeness[-1] > closeness[0] + 5


@every_codec
def test_bytes_are_the_same_each_time(still: StillCodec) -> None:
    image = texture((90, 70), seed=3)
    assert still.encode(image, middle(still)) == still.encode(image.copy(), middle(still))
    assert still.encode(image, middle(still)) == pickle.loads(pickle.dumps(still)).encode(
        image, middle(still)
    )


@pytest.mark.parametrize("name", ["jpeg", "jpeg2000", "webp", "avif"])
@pytest.mark.parametrize("step", [0, -1])
def test_other_decoders_see_the_same_picture(name: str, step: int) -> None:
    still, image = STILLS[name], texture((130, 96), seed=5)
    data = still.encode(image, still.qualities[step])
    decoded = still.decode(data)
    others = [with_pillow(data), with_opencv(data)]
    if name == "webp":  # its RGB may not be quite grey, and each rounds it in its own way
        assert max(cv2.norm(decoded, other, cv2.NORM_INF) for other in others) <= 1
    else:
        assert all(np.array_equal(decoded, other) for other in others)


@pytest.mark.skipif(shutil.which("djxl") is None, reason="no djxl (Debian: libjxl-tools)")
@pytest.mark.parametrize("step", [0, -1])
def test_djxl_sees_the_same_jpeg_xl(tmp_path: Path, step: int) -> None:
    still, image = STILLS["jpegxl"], texture((130, 96), seed=5)
    data = still.encode(image, still.qualities[step])
    (tmp_path / "a.jxl").write_bytes(data)
    subprocess.run(
        ["djxl", tmp_path / "a.jxl", tmp_path / "a.png"], check=True, capture_output=True
    )
    other = with_opencv((tmp_path / "a.png").read_bytes())
    assert cv2.norm(still.decode(data), other, cv2.NORM_INF) <= 1  # ISO/IEC 18181-3 allows more


@pytest.mark.parametrize("name", ["jpeg", "jpeg2000", "jpegxl"])
def test_grey_is_coded_as_grey(name: str) -> None:
    still = STILLS[name]
    data = still.encode(texture((64, 64)), middle(still))
    if name == "jpegxl":
        import imagecodecs

        assert imagecodecs.jpegxl_decode(data).ndim == 2
    else:
        assert Pillow.open(io.BytesIO(data)).getbands() == ("L",)


def test_avif_is_monochrome_and_its_payload_a_whole_av1_stream() -> None:
    still, image = AVIF(), texture((96, 130))
    data = still.encode(image, 35)
    settings = data[data.index(b"av1C") + 4 :][:4]
    assert settings[2] & 0b10000  # AV1 ISO Media File Format Binding, 2.3.3: monochrome
    payload = data[-still.payload_size(data) :]
    assert 200 < len(data) - len(payload) < 300
    assert np.array_equal(with_ffmpeg(payload, "libdav1d"), still.decode(data))


def test_webp_counts_its_frame() -> None:
    data = WebP().encode(texture((96, 130)), 35)
    assert data[:4] + data[8:16] == b"RIFFWEBPVP8 "
    assert 0 <= len(data) - 20 - WebP().payload_size(data) <= 1  # padded to even


@pytest.mark.parametrize("name", ["jpeg", "jpeg2000", "jpegxl"])
def test_a_file_without_container_is_all_payload(name: str) -> None:
    data = STILLS[name].encode(texture((64, 64)), middle(STILLS[name]))
    assert STILLS[name].payload_size(data) == len(data)


@every_codec
def test_no_metadata(still: StillCodec) -> None:
    data = still.encode(texture((96, 130)), middle(still))
    for word in (b"JFIF", b"Exif", b"xmp", b"ICC_PROFILE", b"ICCP", b"Created by", b"http"):
        assert word not in data


def test_jpeg_has_tables_made_for_the_image() -> None:
    image = phantoms(1, 160)[0].image
    _, plain = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 12])
    data = JPEG().encode(image, 12)
    assert len(data) < 0.8 * len(plain)
    assert np.array_equal(with_opencv(plain.tobytes()), JPEG().decode(data))
    assert b"\xff\xc0" in data  # baseline; progressive is FFC2


@every_codec
def test_a_quality_it_does_not_have(still: StillCodec) -> None:
    with pytest.raises(InvalidInputError, match=f"Nearest: {still.highest}"):
        still.encode(texture((64, 64)), 1000)
    with pytest.raises(InvalidInputError, match=f"Nearest: {still.lowest}"):
        still.encode(texture((64, 64)), -1)


@every_codec
def test_wrong_images(still: StillCodec) -> None:
    with pytest.raises(InvalidInputError, match="uint8"):
        still.encode(np.zeros((8, 8, 3), np.uint8), middle(still))
    with pytest.raises(InvalidInputError, match="uint8"):
        still.encode(np.zeros((8, 8)), middle(still))  # type: ignore[arg-type]


@every_codec
@pytest.mark.parametrize("data", [b"", b"junk", b"\xff\xd8\xff\xd9"])
def test_what_is_no_such_file(still: StillCodec, data: bytes) -> None:
    with pytest.raises(DecodeError, match=still.name):
        still.decode(data)


def test_an_encoder_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imencode", lambda *_: (False, None))
    with pytest.raises(EncodeError, match="jpeg could not encode"):
        JPEG().encode(texture((64, 64)), 20)


def test_without_imagecodecs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    image = texture((64, 64))
    assert JPEG().decode(JPEG().encode(image, 75)).shape == (64, 64)
    for name in ("jpeg2000", "webp", "avif", "jpegxl"):
        with pytest.raises(MissingDependencyError, match=r"pip install dmic_gym\[codecs\]"):
            STILLS[name].encode(image, middle(STILLS[name]))
        with pytest.raises(MissingDependencyError, match="imagecodecs"):
            _ = STILLS[name].version


def test_segments_are_left_out_and_others_kept() -> None:
    image = texture((96, 130))
    _, with_jfif = cv2.imencode(
        ".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 12, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    )
    whole, data = with_jfif.tobytes(), JPEG().encode(image, 12)
    assert whole[:4] == b"\xff\xd8\xff\xe0"
    length = int.from_bytes(whole[4:6], "big")
    assert data == whole[:2] + whole[4 + length :]
