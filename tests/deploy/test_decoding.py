"""Any HEVC stream is decoded; what nothing in it proves is said."""

from __future__ import annotations

import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import dmic_gym
from dmic_gym.codecs import X265Codec, uniform_map
from dmic_gym.deploy.decoding import (
    NO_CHECKSUM,
    NO_END_MARK,
    UnprovenStreamWarning,
    decode_data,
)
from dmic_gym.deploy.endmark import START_MARK
from dmic_gym.deploy.limits import Limits
from dmic_gym.deploy.mp4 import to_mp4
from dmic_gym.deploy.pictures import read_picture
from dmic_gym.deploy.streams import encode_grey, join, split
from dmic_gym.errors import DecodeError
from tests.deploy.makers import maps, needs_ffmpeg, picture
from tests.support import texture

Command = Callable[..., tuple[int, str, str]]
IMAGE = texture((70, 75))


def foreign(**params: int) -> bytes:
    """A stream of the environments' codec, which marks nothing."""
    with X265Codec(preset="ultrafast", x265_params=params) as codec:
        (coded,) = codec.encode([IMAGE], [uniform_map(IMAGE.shape, 64, 30)])
        return coded.bitstream


@pytest.mark.parametrize(("params", "word"), [({}, NO_CHECKSUM), ({"hash": 1}, NO_END_MARK)])
def test_an_environments_bitstream_comes_with_a_word(params: dict[str, int], word: str) -> None:
    stream = foreign(**params)
    with X265Codec() as codec:
        expected = codec.decode(stream)[0]
    with pytest.warns(UnprovenStreamWarning, match=word[:30]):
        decoded = dmic_gym.decode(stream)
    np.testing.assert_array_equal(decoded, expected)
    assert decode_data(stream).word == word
    with pytest.raises(DecodeError, match="Refused by strict decoding: written by another encoder"):
        dmic_gym.decode(stream, strict=True)


def test_streams_of_ours_come_without_a_word() -> None:
    stream = dmic_gym.encode(IMAGE, agent="anchor", preset="ultrafast")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(dmic_gym.decode(stream), dmic_gym.decode(stream, strict=True))


def test_a_cut_stream_of_ours_is_not_taken_for_a_foreign_one() -> None:
    original = picture((70, 75), frames=3)
    stream = b"".join(encode_grey(original, maps(original), preset="ultrafast"))
    units = split(stream)
    for count in range(len(units)):
        cut = join(units[:count])
        with pytest.raises(DecodeError):
            decode_data(cut)
    unmarked = [unit for unit in units[:-1] if unit != START_MARK]
    decoding = decode_data(join(unmarked))
    assert decoding.word == NO_END_MARK
    np.testing.assert_array_equal(decoding.picture.samples, decode_data(stream).picture.samples)


def test_damage_of_a_foreign_stream_with_md5_is_refused() -> None:
    stream = bytearray(foreign(hash=1))
    stream[-60] ^= 4
    with pytest.raises(DecodeError):
        decode_data(bytes(stream))


def test_limits_hold_for_foreign_streams() -> None:
    stream = foreign()
    for limits, words in (
        (Limits(max_side=32), r"outside 1\.\.32"),
        (Limits(max_bytes=100), "limit of 100"),
        (Limits(seconds=-1.0), "took more than"),
        (Limits(max_units=2), "more than 2 NAL units"),
    ):
        with pytest.raises(DecodeError, match=words):
            decode_data(stream, limits)


@needs_ffmpeg
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "yuv444p12le", "gray"])
@pytest.mark.parametrize("suffix", ["hevc", "mp4"])
def test_what_x265_writes_with_its_own_settings(
    pix_fmt: str, suffix: str, dmic: Command, tmp_path: Path
) -> None:
    """B pictures, open GOPs, its own SEI; the ffmpeg program says what the luma is."""
    source = ["-f", "lavfi", "-i", "testsrc2=size=130x98:rate=10:duration=1.2", "-pix_fmt", pix_fmt]
    code = ["-c:v", "libx265", "-x265-params", "log-level=none", f"x.{suffix}"]
    subprocess.run(["ffmpeg", "-v", "error", *source, *code], cwd=tmp_path, check=True)
    planes = ["-vf", "extractplanes=y", "-f", "rawvideo", "-"]
    raw = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", f"x.{suffix}", *planes],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    ).stdout
    depth = 10 if "10" in pix_fmt else 12 if "12" in pix_fmt else 8
    luma = np.frombuffer(raw, np.uint8 if depth == 8 else np.uint16).reshape(12, 98, 130)
    decoding = decode_data((tmp_path / f"x.{suffix}").read_bytes())
    np.testing.assert_array_equal(decoding.picture.samples, luma)
    assert decoding.picture.bit_depth == depth

    exit_code, _, err = dmic("decode", f"x.{suffix}", "y.tiff")
    assert exit_code == 0
    assert f"note: 'x.{suffix}' was {NO_CHECKSUM}" in err.replace("\n", " ")
    np.testing.assert_array_equal(read_picture(tmp_path / "y.tiff", depth).samples, luma)
    exit_code, _, err = dmic("decode", f"x.{suffix}", "z.tiff", "--strict")
    assert exit_code == 2
    assert "Refused by strict decoding" in err
    assert not (tmp_path / "z.tiff").exists()


def test_a_foreign_stream_in_an_mp4_of_ours(tmp_path: Path) -> None:
    with X265Codec(preset="ultrafast", chroma=True) as codec:
        (coded,) = codec.encode([IMAGE], [uniform_map(IMAGE.shape, 64, 30)])
    decoding = decode_data(to_mp4([coded.bitstream]))
    assert decoding.word == NO_CHECKSUM
    np.testing.assert_array_equal(decoding.picture.samples[:70, :75], coded.reconstruction)
