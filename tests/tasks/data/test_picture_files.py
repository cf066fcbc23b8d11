"""The reader of image files: the picture that a viewer shows, or an error that says why not."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import cv2
import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as PillowImage
from PIL import ImageOps

from dmic_gym.errors import DataError
from dmic_gym.tasks.data.picture_files import read_pixels
from dmic_gym.tasks.data.pixels import oriented

RAMP = np.tile(np.arange(64, 192, dtype=np.uint8), (60, 1))
DEEP = RAMP.astype(np.uint16) * np.uint16(16) + np.uint16(5)


def saved(format: str, *frames: npt.NDArray[Any], **options: Any) -> bytes:
    first, *others = (PillowImage.fromarray(frame) for frame in frames)
    file = BytesIO()
    more: dict[str, Any] = {"save_all": True, "append_images": others} if others else {}
    first.save(file, format, **more, **options)
    return file.getvalue()


LOSSLESS = [("PNG", {}), ("BMP", {}), ("GIF", {}), ("WEBP", {"lossless": True}), ("JPEG2000", {})]


@pytest.mark.parametrize(("format", "options"), [*LOSSLESS, ("TIFF", {}), ("PPM", {})])
def test_eight_bits_of_every_format(format: str, options: dict[str, Any]) -> None:
    found = read_pixels(saved(format, RAMP, **options))
    np.testing.assert_array_equal(found.frames, [RAMP])
    assert found.frames.dtype == np.uint8
    assert found.maximum == 255


@pytest.mark.parametrize(("format", "options"), LOSSLESS)
def test_colour_of_every_format_becomes_luma(format: str, options: dict[str, Any]) -> None:
    green = np.zeros((8, 8, 3), np.uint8)
    green[..., 1] = 200
    luma = read_pixels(saved(format, green, **options)).frames
    assert abs(int(luma.mean()) - 0.587 * 200) < 3


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_alpha_is_ignored_and_16_bits_are_kept(channels: int) -> None:
    alpha = np.full(DEEP.shape, 9, np.uint16)
    planes = {1: [DEEP], 2: [DEEP, alpha], 3: [DEEP] * 3, 4: [*[DEEP] * 3, alpha]}[channels]
    png = bytes(imagecodecs.png_encode(np.dstack(planes).squeeze()))
    assert read_pixels(png).maximum is None
    np.testing.assert_array_equal(read_pixels(png).frames, [DEEP])
    jp2 = imagecodecs.jpeg2k_encode(np.dstack(planes).squeeze(), bitspersample=12)
    np.testing.assert_array_equal(read_pixels(bytes(jp2)).frames, [DEEP])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_pictures_are_turned_as_a_viewer_turns_them(format: str, orientation: int) -> None:
    """One rule for all formats; Pillow is asked what a viewer shows."""
    exif = PillowImage.Exif()
    exif[0x112] = orientation
    corner = RAMP.copy()
    corner[:20, :30] = 0
    data = saved(format, corner, exif=exif)
    with PillowImage.open(BytesIO(data)) as image:
        shown = np.asarray(ImageOps.exif_transpose(image).convert("L"))
    assert shown.shape == ((60, 128) if orientation < 5 else (128, 60))
    np.testing.assert_array_equal(read_pixels(data).frames, [shown])


@pytest.mark.parametrize("orientation", [0, 1, 9, 255])
def test_other_orientations_mean_upright(orientation: int) -> None:
    np.testing.assert_array_equal(oriented(RAMP[None], orientation), [RAMP])


@pytest.mark.parametrize("format", ["PNG", "MPO", "GIF", "WEBP"])
def test_only_a_tiff_may_hold_several_pictures(format: str) -> None:
    with pytest.raises(DataError, match=r"holds 2 pictures.*write them to a TIFF"):
        read_pixels(saved(format, RAMP, RAMP[:, ::-1]))
    np.testing.assert_array_equal(
        read_pixels(saved("TIFF", RAMP, RAMP[:, ::-1])).frames, [RAMP, RAMP[:, ::-1]]
    )


def test_a_jpeg_2000_whose_headers_disagree_is_refused() -> None:
    """The box says a small size, the codestream another, which a decoder would allocate."""
    data = bytearray(saved("JPEG2000", RAMP))
    place = data.index(b"ihdr") + 4
    assert data[place : place + 8] == bytes([0, 0, 0, 60, 0, 0, 0, 128])
    data[place : place + 8] = bytes([0, 0, 0, 8, 0, 0, 0, 8])
    with pytest.raises(DataError, match="headers disagree"):
        read_pixels(bytes(data))


def test_jpeg_is_decoded_as_opencv_does() -> None:
    done, data = cv2.imencode(".jpg", RAMP)
    assert done
    decoded = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(read_pixels(data.tobytes()).frames, [decoded])


@pytest.mark.parametrize("format", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "JPEG2000", "TIFF", "PPM"])
@pytest.mark.parametrize("width", [128, 127])
def test_files_in_a_row_are_refused(format: str, width: int) -> None:
    """As `cat a.png b.png` makes them."""
    data = saved(format, RAMP[:, :width])
    assert len(read_pixels(data).frames) == 1
    with pytest.raises(DataError, match=r"one behind the other|more than one picture"):
        read_pixels(data + data)
