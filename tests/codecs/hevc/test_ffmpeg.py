from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dmic_gym.codecs import Codec, FFmpegCodec, X265Codec, uniform_map
from dmic_gym.codecs.hevc import ffmpeg
from dmic_gym.codecs.hevc.ffmpeg import find_ffmpeg
from dmic_gym.errors import CodecError, EncodeError, InvalidInputError, MissingDependencyError
from tests.support import random_map, texture

imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="no imageio-ffmpeg")
SYSTEM = shutil.which("ffmpeg")
PROGRAMS = [
    pytest.param(
        SYSTEM, id="system", marks=pytest.mark.skipif(SYSTEM is None, reason="no ffmpeg program")
    ),
    pytest.param(None, id="imageio-ffmpeg"),
]
IMAGE, QPS = texture((70, 90)), random_map((70, 90), 64)


@pytest.fixture
def program(request: pytest.FixtureRequest) -> str:
    return str(request.param or imageio_ffmpeg.get_ffmpeg_exe())


def script(folder: Path, text: str) -> str:
    """Write a program that stands for ffmpeg."""
    path = folder / "fake-ffmpeg"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("program", PROGRAMS, indirect=True)
@pytest.mark.parametrize(
    ("shape", "ctu_size", "preset"),
    [
        ((131, 129), 64, "medium"),
        ((131, 129), 32, "ultrafast"),
        ((131, 129), 16, "ultrafast"),
        ((17, 33), 64, "ultrafast"),
        ((1, 1), 16, "medium"),
    ],
)
def test_same_pictures_as_the_library(
    program: str, shape: tuple[int, int], ctu_size: int, preset: str
) -> None:
    process = FFmpegCodec(ctu_size, preset, executable=program)
    with X265Codec(ctu_size, preset) as library:
        for qps in (uniform_map(shape, ctu_size, 33), random_map(shape, ctu_size, 7)):
            image = texture(shape, int(qps.sum()))
            theirs, ours = process.encode([image], [qps])[0], library.encode([image], [qps])[0]
            np.testing.assert_array_equal(theirs.reconstruction, ours.reconstruction)
            assert abs(theirs.slice_bits - ours.slice_bits) <= 8 * 8


def test_the_same_input_gives_the_same_bytes() -> None:
    assert len({FFmpegCodec(64, "ultrafast").encode_bitstream(IMAGE, QPS) for _ in range(2)}) == 1


@pytest.mark.parametrize("program", PROGRAMS, indirect=True)
def test_a_long_filter_chain_goes_through_a_file(
    program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = FFmpegCodec(16, "ultrafast", executable=program)
    commands: list[list[str]] = []
    run = subprocess.run

    def watched(command: list[str], **kwargs: Any) -> Any:
        commands.append(command)
        return run(command, **kwargs)

    monkeypatch.setattr(subprocess, "run", watched)
    short = codec.encode([IMAGE], [random_map(IMAGE.shape, 16)])[0]
    assert "-vf" in commands[-1]
    monkeypatch.setattr(ffmpeg, "_MAX_ARGUMENT", 100)
    long = codec.encode([IMAGE], [random_map(IMAGE.shape, 16)])[0]
    assert "-vf" not in commands[-1]
    scripts = [Path(word) for word in commands[-1] if word.endswith(".filters")]
    assert len(scripts) == 1
    assert not scripts[0].exists()
    np.testing.assert_array_equal(short.reconstruction, long.reconstruction)
    assert short.bitstream == long.bitstream


@pytest.mark.parametrize("program", PROGRAMS, indirect=True)
def test_a_map_of_thousands_of_ctus(program: str) -> None:
    shape = (816, 800)
    image, qps = texture(shape), random_map(shape, 16, low=35)
    theirs = FFmpegCodec(16, "ultrafast", executable=program).encode([image], [qps])[0]
    with X265Codec(16, "ultrafast") as codec:
        np.testing.assert_array_equal(
            theirs.reconstruction, codec.encode([image], [qps])[0].reconstruction
        )


def test_stderr_is_in_the_error(tmp_path: Path) -> None:
    program = script(tmp_path, "cat > /dev/null; echo 'the disk is on fire' >&2; exit 3")
    with pytest.raises(EncodeError, match="status 3: the disk is on fire") as caught:
        FFmpegCodec(64, executable=program).encode([IMAGE], [QPS])
    assert isinstance(caught.value, CodecError)


def test_a_program_that_returns_nothing_failed(tmp_path: Path) -> None:
    with pytest.raises(EncodeError, match="status 0"):
        FFmpegCodec(64, executable=script(tmp_path, "cat > /dev/null")).encode([IMAGE], [QPS])


def test_a_program_that_does_not_read_failed(tmp_path: Path) -> None:
    image = texture((600, 600))
    with pytest.raises(EncodeError, match="status 1"):
        FFmpegCodec(64, executable=script(tmp_path, "exit 1")).encode(
            [image], [uniform_map(image.shape, 64, 30)]
        )


def test_a_program_that_hangs_is_killed(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    program = script(tmp_path, f"echo $$ > {note}; exec tail -f /dev/null")
    with pytest.raises(EncodeError, match=r"more than 0\.3 s .* larger timeout=") as caught:
        FFmpegCodec(64, executable=program, timeout=0.3).encode([IMAGE], [QPS])
    assert isinstance(caught.value.__cause__, subprocess.TimeoutExpired)
    assert caught.value.__cause__.timeout == 0.3
    assert not Path(f"/proc/{note.read_text().strip()}").exists()


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(EncodeError, match="Could not start '/no/such/ffmpeg'"):
        FFmpegCodec(64, executable="/no/such/ffmpeg").encode([IMAGE], [QPS])


def test_a_real_refusal_has_ffmpegs_own_words() -> None:
    codec = FFmpegCodec(64, x265_params={"bframes": 99})
    with pytest.raises(EncodeError, match="libx265"):
        codec.encode([IMAGE], [QPS])


def test_the_systems_ffmpeg_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = script(tmp_path, "exit 0")
    Path(mine).rename(tmp_path / "ffmpeg")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_ffmpeg() == str(tmp_path / "ffmpeg")
    assert FFmpegCodec().executable == str(tmp_path / "ffmpeg")


def test_without_it_that_of_imageio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_ffmpeg() == imageio_ffmpeg.get_ffmpeg_exe()


def test_with_neither_the_error_says_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'dmic_gym\[ffmpeg\]'") as caught:
        FFmpegCodec()
    assert isinstance(caught.value, ImportError)


def test_pickle_keeps_all_arguments() -> None:
    codec = FFmpegCodec(32, "veryfast", {"hash": 1}, timeout=5.0)
    made = pickle.loads(pickle.dumps(codec))
    assert isinstance(made, FFmpegCodec)
    assert vars(made) == vars(codec)
    assert isinstance(codec, Codec)
    assert made.configuration == codec.configuration != X265Codec(32, "veryfast").configuration


def test_a_closed_codec_refuses() -> None:
    with FFmpegCodec(64, "ultrafast") as codec:
        assert codec.ctu_size == 64
    with pytest.raises(EncodeError, match="closed: make a new FFmpegCodec"):
        codec.encode([IMAGE], [QPS])


def test_bad_arguments() -> None:
    with pytest.raises(InvalidInputError, match="Nearest: 32"):
        FFmpegCodec(33)
    with pytest.raises(InvalidInputError, match="preset"):
        FFmpegCodec(64, "quick")
