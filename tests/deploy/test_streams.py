"""Round trips of streams, what strangers' decoders make of them, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dmic_gym.codecs.hevc.sps import read_sps
from dmic_gym.deploy.endmark import Excess, end_mark, nal_type
from dmic_gym.deploy.limits import Limits
from dmic_gym.deploy.pictures import Picture
from dmic_gym.deploy.streams import decode_stream, encode_grey, encode_main, join, split
from dmic_gym.errors import DecodeError, InvalidInputError
from tests.codecs import libde265
from tests.deploy.makers import ffmpeg_luma, maps, needs_ffmpeg, picture, probe

Encode = Callable[..., list[bytes]]
WHOLE = Excess(0, 0)
CASES = [
    (encode, depth)
    for encode, depths in ((encode_grey, (8, 10, 12)), (encode_main, (8, 10)))
    for depth in depths
]


def coded(encode: Encode, original: Picture, qp: int = 30) -> bytes:
    return b"".join(encode(original, maps(original, qp), preset="ultrafast"))


def resealed(units: list[bytes], excess: Excess = WHOLE) -> bytes:
    """A stream of these units with a right end mark: a forger's."""
    return join(units) + end_mark(units, excess)


@pytest.mark.parametrize(("encode", "bit_depth"), CASES)
@pytest.mark.parametrize("shape", [(64, 64), (70, 75), (97, 64), (31, 30), (1, 1)])
@pytest.mark.parametrize("frames", [1, 3])
def test_round_trip(encode: Encode, bit_depth: int, shape: tuple[int, int], frames: int) -> None:
    original = picture(shape, bit_depth, frames)
    decoded = decode_stream(coded(encode, original, 12))
    assert decoded.bit_depth == bit_depth
    assert decoded.samples.shape == original.samples.shape
    difference = decoded.samples.astype(int) - original.samples
    assert np.abs(difference).mean() < 1.2 * 2 ** (bit_depth - 8)


@needs_ffmpeg
@pytest.mark.parametrize(("encode", "bit_depth"), CASES)
@pytest.mark.parametrize("shape", [(96, 72), (71, 75)])
def test_ffmpeg_sees_the_same(
    encode: Encode, bit_depth: int, shape: tuple[int, int], tmp_path: Path
) -> None:
    original = picture(shape, bit_depth, 2)
    path = tmp_path / "stream.hevc"
    path.write_bytes(coded(encode, original))
    even = encode is encode_main
    height, width = (side + side % 2 if even else side for side in shape)
    found = probe(path)
    profile = {8: "Main", 10: "Main 10"}[bit_depth] if even else "Rext"
    assert (found["codec_name"], found["profile"]) == ("hevc", profile)
    assert (found["height"], found["width"]) == (height, width)
    assert (found["color_range"], found["nb_read_frames"]) == ("pc", "2")
    luma = ffmpeg_luma(path, bit_depth).reshape(2, height, width)
    ours = decode_stream(path.read_bytes()).samples
    np.testing.assert_array_equal(luma[:, : shape[0], : shape[1]], ours)


@pytest.mark.skipif(not libde265.available(), reason=str(libde265.skip_reason() or ""))
@pytest.mark.parametrize(("encode", "bit_depth"), CASES)
def test_libde265_sees_the_same(encode: Encode, bit_depth: int) -> None:
    stream = coded(encode, picture((71, 75), bit_depth))
    image = libde265.decode(stream, 64).image
    np.testing.assert_array_equal(image[:71, :75], decode_stream(stream).samples)


@pytest.mark.parametrize(("encode", "bit_depth"), CASES)
def test_the_whole_range_survives(encode: Encode, bit_depth: int) -> None:
    """Black, white and each grey between in flat blocks: what is lost is coding's."""
    levels = np.linspace(0, 2**bit_depth - 1, 64).round().astype(int)
    blocks = levels.reshape(8, 8).repeat(16, 0).repeat(16, 1)
    original = Picture.of(blocks.astype(np.uint8 if bit_depth == 8 else np.uint16), bit_depth)
    decoded = decode_stream(coded(encode, original, 0)).samples.astype(int)
    assert np.abs(decoded - blocks).max() <= 2 ** (bit_depth - 8)
    assert (decoded.min(), decoded.max()) == (0, 2**bit_depth - 1)


@pytest.mark.parametrize("encode", [encode_grey, encode_main])
def test_frames_are_independent(encode: Encode) -> None:
    original = picture((70, 75), frames=3)
    units = encode(original, maps(original), preset="ultrafast")
    sets = [unit for unit in split(units[0]) if nal_type(unit) in (32, 33, 34)]
    assert len(sets) == 3
    assert {len(split(unit)) for unit in units[1:2]} == {2}, "later frames repeat no headers"
    alone = decode_stream(resealed([*sets, *split(units[1])]))
    whole = decode_stream(b"".join(units))
    np.testing.assert_array_equal(alone.frames[0, :70, :75], whole.frames[1])


def test_every_cut_is_refused() -> None:
    stream = coded(encode_grey, picture((40, 50), frames=2), 40)
    for length in range(len(stream)):
        with pytest.raises(DecodeError):
            decode_stream(stream[:length])


def test_every_flipped_bit_of_the_headers_is_refused() -> None:
    """Among them those of the conformance window, which no decoder can notice."""
    original = picture((50, 61))
    stream = coded(encode_grey, original)
    whole = decode_stream(stream).samples
    for bit in range(8 * 110):
        damaged = bytearray(stream)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            decoded = decode_stream(bytes(damaged))
        except DecodeError:
            continue
        np.testing.assert_array_equal(decoded.samples, whole)


def test_zeros_behind_the_end_are_ignored() -> None:
    stream = coded(encode_main, picture())
    decoded = decode_stream(stream + b"\0")
    np.testing.assert_array_equal(decoded.samples, decode_stream(stream).samples)


def test_damage_under_a_forged_mark_is_found_by_the_md5() -> None:
    units = split(coded(encode_grey, picture()))[:-1]
    position = next(n for n, unit in enumerate(units) if nal_type(unit) == 20)
    slice_unit = bytearray(units[position])
    slice_unit[len(slice_unit) // 2] ^= 0x10
    with pytest.raises(DecodeError, match="HEVC decoder refused"):
        decode_stream(resealed([*units[:position], bytes(slice_unit), *units[position + 1 :]]))


def test_sizes_beyond_the_limits_are_refused() -> None:
    stream = coded(encode_grey, picture((70, 75)))
    with pytest.raises(DecodeError, match=r"75 x 70 samples .* outside 1\.\.64"):
        decode_stream(stream, Limits(max_side=64))
    with pytest.raises(DecodeError, match="nothing is left"):
        decode_stream(resealed(split(coded(encode_grey, picture((1, 1))))[:-1], Excess(1, 0)))
    many = coded(encode_grey, picture((70, 75), frames=3))
    with pytest.raises(DecodeError, match="3 x 75 x 70 samples are more than the limit of 12000"):
        decode_stream(many, Limits(max_samples=12_000))


def test_a_huge_size_in_the_header_is_refused_before_it_is_allocated() -> None:
    """By the decoder itself, which is told the most samples that a picture may have."""
    stream = coded(encode_grey, picture((700, 750)))
    with pytest.raises(DecodeError, match="HEVC decoder refused"):
        decode_stream(stream, Limits(max_side=64))


def test_other_limits() -> None:
    stream = coded(encode_grey, picture(frames=3))
    with pytest.raises(DecodeError, match="more than the limit of 100"):
        decode_stream(stream, Limits(max_bytes=100))
    with pytest.raises(DecodeError, match="more than 4 NAL units"):
        decode_stream(stream, Limits(max_units=4))
    with pytest.raises(DecodeError, match=r"Decoding took more than -1\.0 s"):
        decode_stream(stream, Limits(seconds=-1.0))


def test_streams_of_others_are_refused() -> None:
    units = split(coded(encode_grey, picture()))
    with pytest.raises(DecodeError, match="no end mark"):
        decode_stream(join(units[:-1]))
    with pytest.raises(DecodeError, match="no end mark"):
        decode_stream(b"")
    with pytest.raises(DecodeError, match="HEVC decoder refused"):
        decode_stream(resealed([*units[:-1], b"\x02\x01\x80"]))
    other = split(coded(encode_grey, picture((70, 91))))
    with pytest.raises(DecodeError, match="pictures of several sizes"):
        decode_stream(resealed([*units[:-1], *other[:-1]]))
    unproven = [unit for unit in units[:-1] if nal_type(unit) != 40]
    with pytest.raises(DecodeError, match="not each of its pictures has its MD5"):
        decode_stream(resealed(unproven))
    with pytest.raises(DecodeError, match=r"HEVC decoder refused|no picture"):
        decode_stream(resealed([b"\x28\x01\x80"]))
    with pytest.raises(InvalidInputError, match="must be bytes, got str"):
        decode_stream("stream")  # type: ignore[arg-type]


def test_what_cannot_be_encoded() -> None:
    original = picture(frames=2)
    for wrong in (maps(original)[:1], maps(original) * 2):
        with pytest.raises(InvalidInputError, match="2 frames need as many QP maps"):
            encode_grey(original, wrong)
    with pytest.raises(InvalidInputError, match=r"8 or 10 bits, the picture has 12: write \.hevc"):
        encode_main(picture(bit_depth=12), maps(picture()))


def test_profile_and_chroma_are_what_the_names_say() -> None:
    for bit_depth, profile in ((8, 1), (10, 2)):
        sps = read_sps(coded(encode_main, picture(bit_depth=bit_depth)))
        assert (sps.profile_idc, sps.chroma_format_idc) == (profile, 1)
    assert read_sps(coded(encode_grey, picture())).chroma_format_idc == 0
