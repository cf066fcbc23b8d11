from __future__ import annotations

import struct
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from dmic_gym.deploy.decoding import decode_data, decode_picture
from dmic_gym.deploy.endmark import nal_type
from dmic_gym.deploy.limits import Limits
from dmic_gym.deploy.mp4 import from_mp4, is_mp4, to_mp4
from dmic_gym.deploy.streams import decode_stream, encode_main, split
from dmic_gym.errors import DecodeError, EncodeError
from tests.deploy.makers import ffmpeg_luma, maps, needs_ffmpeg, picture, probe


def units(shape: tuple[int, int] = (70, 75), bit_depth: int = 8, frames: int = 3) -> list[bytes]:
    original = picture(shape, bit_depth, frames)
    return encode_main(original, maps(original), preset="ultrafast")


@pytest.mark.parametrize("bit_depth", [8, 10])
@pytest.mark.parametrize("shape", [(64, 64), (71, 75), (1, 30)])
@pytest.mark.parametrize("frames", [1, 3])
def test_round_trip(shape: tuple[int, int], bit_depth: int, frames: int) -> None:
    coded = units(shape, bit_depth, frames)
    file = to_mp4(coded)
    assert is_mp4(file)
    decoded, expected = decode_picture(file), decode_stream(b"".join(coded))
    assert decoded.bit_depth == bit_depth
    np.testing.assert_array_equal(decoded.samples, expected.samples)
    assert decoded.shape == shape


@needs_ffmpeg
@pytest.mark.parametrize(("bit_depth", "profile"), [(8, "Main"), (10, "Main 10")])
def test_ffmpeg_sees_the_same(bit_depth: int, profile: str, tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(to_mp4(units((71, 75), bit_depth)))
    found = probe(path)
    assert (found["codec_tag_string"], found["profile"]) == ("hvc1", profile)
    assert (found["height"], found["width"]) == (72, 76)
    assert (found["color_range"], found["nb_read_frames"]) == ("pc", "3")
    luma = ffmpeg_luma(path, bit_depth).reshape(3, 72, 76)
    ours = decode_picture(path.read_bytes()).samples
    np.testing.assert_array_equal(luma[:, :71, :75], ours)


def test_parameter_sets_are_in_the_description_alone() -> None:
    file = to_mp4(units())
    kinds = [nal_type(unit) for unit in split(from_mp4(file))]
    assert kinds == [32, 33, 34, 48, *[20, 40] * 3, 60]
    assert file.count(b"\x42\x01\x01\x01\x60") == 1


def test_the_same_units_give_the_same_file_at_any_rate() -> None:
    coded = units()
    assert to_mp4(coded) == to_mp4(coded)
    slow = to_mp4(coded, Fraction(15, 2))
    assert slow != to_mp4(coded)
    assert from_mp4(slow) == from_mp4(to_mp4(coded))


def test_every_cut_is_refused() -> None:
    file = to_mp4(units((40, 50), frames=2))
    for length in range(len(file)):
        with pytest.raises(DecodeError):
            decode_stream(from_mp4(file[:length]))


def test_damage_anywhere_is_refused_or_harmless() -> None:
    file = to_mp4(units((40, 50), frames=2))
    expected = decode_picture(file).samples
    rng = np.random.default_rng(0)
    refused = 0
    for position in range(len(file)):
        damaged = bytearray(file)
        damaged[position] ^= 1 << int(rng.integers(8))
        try:
            found = decode_stream(from_mp4(bytes(damaged)))
        except DecodeError:
            refused += 1
        else:
            np.testing.assert_array_equal(found.samples, expected)
    assert refused > len(file) // 3


def test_padding_to_even_length_is_ignored() -> None:
    file = to_mp4(units())
    assert from_mp4(file + b"\0") == from_mp4(file)
    with pytest.raises(DecodeError, match="larger than the file"):
        from_mp4(file + b"\1" * 9)


def test_a_table_of_too_many_samples_is_refused() -> None:
    file = to_mp4(units())
    with pytest.raises(DecodeError, match="more than 2 samples"):
        from_mp4(file, Limits(max_units=2))
    place = file.index(b"stsz") + 8
    forged = file[:place] + struct.pack(">II", 1, 2**32 - 1) + file[place + 8 :]
    with pytest.raises(DecodeError, match="more than 65536 samples"):
        from_mp4(forged)


def test_what_is_no_stream_is_not_muxed() -> None:
    with pytest.raises(EncodeError, match="no HEVC stream"):
        to_mp4([b"nothing"])


def test_two_files_in_a_row_are_refused() -> None:
    file = to_mp4(units())
    with pytest.raises(DecodeError, match="several MP4 files, one behind the other"):
        from_mp4(file + file)


@needs_ffmpeg
@pytest.mark.parametrize(
    "options",
    [
        ["-movflags", "+faststart"],
        ["-tag:v", "hev1"],
        ["-metadata", "title=A title", "-video_track_timescale", "600"],
        ["-f", "mov"],
    ],
)
def test_a_remux_is_still_proven_whole(options: list[str], tmp_path: Path) -> None:
    """The marks survive, so nothing has to be said of it."""
    file = to_mp4(units(frames=5))
    (tmp_path / "in.mp4").write_bytes(file)
    command = ["ffmpeg", "-v", "error", "-i", "in.mp4", "-c", "copy", *options, "out.mp4"]
    subprocess.run(command, cwd=tmp_path, check=True)
    remuxed = (tmp_path / "out.mp4").read_bytes()
    assert remuxed != file
    decoding = decode_data(remuxed, strict=True)
    assert decoding.word == ""
    np.testing.assert_array_equal(decoding.picture.samples, decode_picture(file).samples)


@needs_ffmpeg
def test_a_file_with_sound_and_a_fragmented_one(tmp_path: Path) -> None:
    (tmp_path / "in.mp4").write_bytes(to_mp4(units(frames=5)))
    tone = ["-f", "lavfi", "-i", "sine=duration=0.2", "-map", "0:v", "-map", "1:a", "-c:v", "copy"]
    command = ["ffmpeg", "-v", "error", "-i", "in.mp4"]
    subprocess.run([*command, *tone, "sound.mp4"], cwd=tmp_path, check=True)
    assert len(decode_picture((tmp_path / "sound.mp4").read_bytes()).frames) == 5
    fragmented = ["-c", "copy", "-movflags", "frag_keyframe+empty_moov", "parts.mp4"]
    subprocess.run([*command, *fragmented], cwd=tmp_path, check=True)
    with pytest.raises(DecodeError, match=r"fragmented\. Type: ffmpeg"):
        from_mp4((tmp_path / "parts.mp4").read_bytes())


def test_samples_that_overlap_are_refused() -> None:
    """They would take more memory than the file has bytes."""
    file = to_mp4(units(frames=3))
    place = file.index(b"stsz") + 16
    forged = file[:place] + struct.pack(">I", len(file)) + file[place + 4 :]
    with pytest.raises(DecodeError, match="larger than the file"):
        from_mp4(forged)


def test_empty_parameter_sets_are_damage() -> None:
    file = to_mp4(units())
    place = file.index(b"hvcC") + 4 + 23 + 3
    assert file[place : place + 4] == b"\0\x18\x40\x01", "a VPS of 24 bytes"
    with pytest.raises(DecodeError, match="cut or damaged"):
        from_mp4(file[:place] + b"\0\0" + file[place + 2 :])
