"""Pictures, maps and outside decoders for the tests of the deployable codec."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from dmic_gym.codecs.base import uniform_map
from dmic_gym.codecs.hevc.picture import SampleFormat
from dmic_gym.deploy.pictures import Picture
from dmic_gym.types import Samples
from tests.support import texture

needs_ffmpeg = pytest.mark.skipif(
    shutil.which("ffmpeg") is None or shutil.which("ffprobe") is None,
    reason="needs the programs ffmpeg and ffprobe (apt install ffmpeg)",
)


def picture(shape: tuple[int, int] = (70, 75), bit_depth: int = 8, frames: int = 1) -> Picture:
    """Smooth frames with noise that differ from each other and use the whole depth."""
    dtype = SampleFormat(bit_depth).dtype
    stack: Samples = np.stack([texture(shape, n) for n in range(frames)]).astype(dtype)
    rng = np.random.default_rng(bit_depth)
    samples = stack * dtype.type(1 << bit_depth - 8)
    samples += rng.integers(0, 1 << bit_depth - 8, stack.shape).astype(dtype)
    return Picture(samples if frames > 1 else samples[0], bit_depth)


def maps(coded: Picture, qp: int = 30, ctu_size: int = 64) -> list[npt.NDArray[np.int16]]:
    """A map for each frame, its QPs near `qp` and different in each."""
    flat = uniform_map(coded.shape, ctu_size, qp)
    steps = np.arange(flat.size).reshape(flat.shape) % 5
    return [np.asarray(flat + steps + n, np.int16) for n in range(len(coded.frames))]


def probe(path: Path) -> dict[str, Any]:
    """What ffprobe says of the video stream in a file, after decoding it with MD5 checks."""
    entries = "codec_name,codec_tag_string,profile,width,height,pix_fmt,color_range,nb_read_frames"
    command = ["ffprobe", "-v", "error", "-count_frames", "-select_streams", "v"]
    command += ["-show_entries", f"stream={entries}", "-of", "json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    (stream,) = json.loads(done.stdout)["streams"]
    found: dict[str, Any] = stream
    return found


def ffmpeg_luma(path: Path, bit_depth: int) -> npt.NDArray[Any]:
    """The luma of all frames as the ffmpeg program decodes it, flat; MD5s checked."""
    pix_fmt = "gray" if bit_depth == 8 else f"gray{bit_depth}le"
    command = ["ffmpeg", "-v", "error", "-err_detect", "crccheck+explode", "-i", str(path)]
    command += ["-vf", "extractplanes=y", "-pix_fmt", pix_fmt, "-f", "rawvideo", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stderr == b""
    return np.frombuffer(done.stdout, np.uint8 if bit_depth == 8 else np.uint16)
