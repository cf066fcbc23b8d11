"""Readers of pictures and streams, each as a target."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from PIL import Image as PillowImage

from dmic_gym.codecs import X265Codec, uniform_map
from dmic_gym.deploy.decoding import decode_data
from dmic_gym.deploy.mp4 import to_mp4
from dmic_gym.deploy.pictures import Picture, read_picture, write_picture
from dmic_gym.deploy.streams import encode_grey, encode_main

from .targets import Result, Target, UnprovenError

_START_CODES = [b"\0\0\1", b"\0\0\0\1", b"\0\0\3", b"\x42\x01", b"\x26\x01", b"\x78\x01"]
BOXES = [b"moov", b"mdat", b"stsz", b"hvcC", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\1"]


def picture(bits: int = 8, shape: tuple[int, ...] = (2, 70, 97)) -> Picture:
    """Return smooth frames with some noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0 : shape[-2], 0 : shape[-1]]
    waves = 128 + 60 * np.sin(x / 9.0) * np.cos(y / 13.0) + rng.normal(0, 6, shape)
    samples = np.clip(waves, 0, 255).astype(np.uint16) << (bits - 8)
    return Picture(samples.astype(np.uint8 if bits == 8 else np.uint16), bits)


def coded(bits: int, main: bool) -> list[bytes]:
    """Return the access units of two frames."""
    made = picture(bits)
    code = encode_main if main else encode_grey
    return code(made, [uniform_map(made.shape, 64, 34)] * 2, preset="ultrafast")


def _decoded(data: bytes) -> Result:
    decoding = decode_data(data)
    if decoding.word:
        raise UnprovenError(decoding.word)
    return decoding.picture.samples


def hevc(_: Path) -> Target:
    streams = [b"".join(coded(8, False)), b"".join(coded(12, False))]
    return Target(streams, _decoded, protected=True, words=_START_CODES)


def main10(_: Path) -> Target:
    streams = [b"".join(coded(10, True)), b"".join(coded(8, True))]
    return Target(streams, _decoded, protected=True, words=_START_CODES)


def mp4(_: Path) -> Target:
    files = [to_mp4(coded(8, True)), to_mp4(coded(10, True))]
    return Target(files, _decoded, protected=True, words=BOXES)


def of_files(folder: Path, name: str, read: Callable[[Path], Result]) -> Callable[[bytes], Result]:
    path = folder / name

    def write_and_read(data: bytes) -> Result:
        path.write_bytes(data)
        return read(path)

    return write_and_read


def _images(folder: Path, seeds: list[bytes], *, protected: bool = False) -> Target:
    read = of_files(folder, "image", lambda path: read_picture(path).samples)
    return Target(seeds, read, protected=protected)


def _written(folder: Path, suffix: str, *pictures: Picture) -> list[bytes]:
    path, seeds = folder / f"image{suffix}", []
    for each in pictures:
        write_picture(each, path)
        seeds.append(path.read_bytes())
    return seeds


def png(folder: Path) -> Target:
    seeds = _written(folder, ".png", picture(8, (40, 53)), picture(12, (40, 53)))
    return _images(folder, seeds, protected=True)


def pgm(folder: Path) -> Target:
    seeds = _written(folder, ".pgm", picture(8, (40, 53)), picture(12, (40, 53)))
    plain = " ".join(map(str, picture(8, (20, 31)).samples.ravel()))
    return _images(folder, [*seeds, f"P2\n31 20\n255\n{plain}".encode()])


def tiff_deflate(folder: Path) -> Target:
    """What `dmic decode` writes."""
    seeds = _written(folder, ".tiff", picture(8, (3, 20, 31)), picture(12, (40, 53)))
    return _images(folder, seeds)


def tiff(folder: Path) -> Target:
    """What others write."""
    forms: tuple[dict[str, Any], ...] = (
        *({"compression": name} for name in ("lzw", "packbits", "jpeg", "jpeg2000", "zstd")),
        *({}, {"tile": (16, 32)}, {"bigtiff": True, "byteorder": ">"}, {"rowsperstrip": 7}),
    )
    seeds = []
    for form in forms:
        file = BytesIO()
        tifffile.imwrite(file, picture(8, (40, 53)).samples, photometric="minisblack", **form)
        seeds.append(file.getvalue())
    return _images(folder, seeds)


def jpeg(folder: Path) -> Target:
    _, seed = cv2.imencode(".jpg", picture(8, (40, 53)).samples)
    return _images(folder, [seed.tobytes()])


def others(folder: Path) -> Target:
    """BMP, GIF, WebP, JPEG 2000."""
    image, seeds = PillowImage.fromarray(picture(8, (40, 53)).samples), []
    for format in ("BMP", "GIF", "WEBP", "JPEG2000"):
        file = BytesIO()
        image.save(file, format)
        seeds.append(file.getvalue())
    return _images(folder, seeds)


def foreign(_: Path) -> Target:
    """HEVC of other encoders, without checksums; a picture with a word is no wrong one."""
    made = picture(8)
    with X265Codec(preset="ultrafast", chroma=True) as codec:
        coded = codec.encode(list(made.frames), [uniform_map(made.shape, 64, 34)] * 2)
    streams = [each.bitstream for each in coded]
    return Target(
        [b"".join(streams), to_mp4(streams)],
        lambda data: decode_data(data).picture.samples,
        words=_START_CODES + BOXES,
        divisible=True,
    )
