"""JPEG, JPEG 2000, WebP, AVIF and JPEG XL, each at the best its everyday encoder gives.

Grey where the format has it, no metadata that a decoder can do without, and settings that spend
time for bytes; figures are from 40 angiograms of 300x300, BD-rates on Dice.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from dmic_gym.codecs.stills.base import StillCodec, imagecodecs
from dmic_gym.types import Image

_APP0, _COM = 0xFFE0, 0xFF64
_SOS, _SOT = 0xFFDA, 0xFF90


class JPEG(StillCodec):
    """JPEG (Rec. ITU-T T.81), libjpeg-turbo: baseline with Huffman tables made for the image.

    `quality` is the IJG's. The standard's tables would cost 12 to 140 % more bytes here, and
    progressive coding 4 to 23 %, its many small tables weighing more than they save. The JFIF
    segment is left out: one component is grey without it.
    """

    name = "jpeg"
    qualities = (6, 8, 12, 20, 35, 75)
    lowest = 1

    @property
    def version(self) -> str:
        """OpenCV, which brings libjpeg-turbo."""
        return f"OpenCV {cv2.__version__}"

    def _encode(self, image: Image, quality: int) -> bytes:
        options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
        done, data = cv2.imencode(".jpg", image, options)
        if not done:
            raise ValueError("OpenCV's encoder failed")
        return _without_segments(data.tobytes(), _APP0)

    def _decode(self, data: bytes) -> Any:
        return _opencv_decode(data)


class JPEG2000(StillCodec):
    """JPEG 2000 (Rec. ITU-T T.800), OpenJPEG: one quality layer, 9/7 wavelet, bare codestream.

    `quality` is the PSNR in dB that the rate allocation aims at, the format's own constant
    quality. No JP2 boxes (nor are there any in DICOM), no comment.
    """

    name = "jpeg2000"
    library = "jpeg2k"
    qualities = (34, 36, 38, 40, 43, 46)
    lowest = 20
    highest = 60

    def _encode(self, image: Image, quality: int) -> bytes:
        data = imagecodecs().jpeg2k_encode(
            image, quality, codecformat="j2k", reversible=False, numthreads=1
        )
        return _without_segments(data, _COM)


class WebP(StillCodec):
    """WebP (RFC 9649), libwebp, lossy at its slowest method 6.

    The format has no grey: luma is squeezed into 16..235 and the flat chroma planes cost next to
    nothing. Method 6 saves 1 to 4 % over the default 4.
    """

    name = "webp"
    library = "webp"
    qualities = (0, 5, 20, 50, 80, 95)

    def payload_size(self, data: bytes) -> int:
        """Return the length of the VP8 frame, the only chunk of a lossy file."""
        return int.from_bytes(data[16:20], "little")

    def _encode(self, image: Image, quality: int) -> bytes:
        data = imagecodecs().webp_encode(_in_colour(image), quality, lossless=False, method=6)
        return bytes(data)

    def _decode(self, data: bytes) -> Any:
        return _opencv_decode(data)


class AVIF(StillCodec):
    """AVIF (AV1 image), libavif with libaom at speed 4, monochrome, tuned as libavif ships.

    The file's boxes cost 268 bytes, much at low rates: a comparison by payload stands beside the
    one by files.
    """

    name = "avif"
    library = "avif"
    qualities = (0, 10, 20, 35, 50, 65)

    def payload_size(self, data: bytes) -> int:
        """Return the length of the AV1 stream, the content of the last box."""
        return len(data) - data.index(b"mdat") - 4

    def _encode(self, image: Image, quality: int) -> bytes:
        colour = _in_colour(image)  # imagecodecs codes grey arrays without loss, whatever is asked
        data = imagecodecs().avif_encode(
            colour, quality, speed=4, pixelformat="400", codec="aom", numthreads=1
        )
        return bytes(data)


class JPEGXL(StillCodec):
    """JPEG XL (ISO/IEC 18181), libjxl, VarDCT at effort 9, bare codestream.

    `quality` is cjxl's, from which libjxl makes a distance. Effort 9 saves 3 to 9 % over the
    default 7.
    """

    name = "jpegxl"
    library = "jpegxl"
    qualities = (0, 5, 15, 30, 60, 85)
    highest = 99

    def _encode(self, image: Image, quality: int) -> bytes:
        data = imagecodecs().jpegxl_encode(
            image, quality, effort=9, usecontainer=False, numthreads=1
        )
        return bytes(data)


def _in_colour(image: Image) -> Image:
    return np.repeat(image[:, :, np.newaxis], 3, axis=2)


def _opencv_decode(data: bytes) -> Any:
    if not data:
        raise ValueError("no data")
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    if decoded is None:
        raise ValueError("OpenCV does not take it for an image")
    return decoded


def _without_segments(data: bytes, marker: int) -> bytes:
    """Return a JPEG or JPEG 2000 codestream without the header segments of one marker.

    Both start with a bare marker and hold segments, a marker and a length of two bytes each, up
    to the first scan or tile-part (Rec. ITU-T T.81, B.1.1; T.800, A.1).
    """
    kept, position = [data[:2]], 2
    while (found := _word(data, position)) not in (_SOS, _SOT):
        end = position + 2 + _word(data, position + 2)
        if found != marker:
            kept.append(data[position:end])
        position = end
    return b"".join([*kept, data[position:]])


def _word(data: bytes, position: int) -> int:
    if position + 2 > len(data):
        raise ValueError("the file ends within its header")
    return int.from_bytes(data[position : position + 2], "big")
