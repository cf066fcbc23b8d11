"""Low Delay P: what `X265Codec.video` gives, frame by frame, and what other decoders see in it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest

from dmic_gym.codecs import CTU_SIZES, Encoded, FFmpegCodec, X265Codec, uniform_map
from dmic_gym.codecs.base import VideoCodec, VideoStream
from dmic_gym.codecs.hevc import codec as hevc_codec
from dmic_gym.codecs.hevc import selftest, x265
from dmic_gym.codecs.hevc.decoder import decode_stream
from dmic_gym.codecs.hevc.encoder_pool import OpenEncoder
from dmic_gym.codecs.hevc.nal import nal_units
from dmic_gym.codecs.hevc.regions import NO_OFFSET, regions_of_interest
from dmic_gym.codecs.hevc.sps import read_sps
from dmic_gym.errors import EncodeError, InvalidInputError, SelfTestError
from dmic_gym.types import AnyQPMap, Samples
from tests.codecs import libde265
from tests.support import Image, binary_noise, random_map, texture

Maps = Sequence[AnyQPMap]

needs_libde265 = pytest.mark.skipif(
    not libde265.available(), reason=str(libde265.skip_reason() or "libde265")
)

# The string of DESIGN's section on video, written out: a plain run knows nothing of our code.
LOW_DELAY_P = (
    "crf={qp}:qcomp=1:ipratio=1:pbratio=1:aq-mode=1:aq-strength=1e-6:cutree=0:log-level=none:"
    "frame-threads=1:pools=none:wpp=0:rc-lookahead=0:bframes=0:scenecut=0:info=0:"
    "ctu={ctu}:qg-size={ctu}:psy-rd=0:psy-rdoq=0:rdoq-level=2:"
    "keyint=-1:min-keyint=1:ref=4:weightp=0:early-skip=0:rskip=0"
)
IDR, P = 20, 1
"""Types of VCL NAL units (Rec. ITU-T H.265, table 7-1): IDR_N_LP and TRAIL_R."""


def moving(shape: tuple[int, int], count: int, seed: int = 0) -> list[Image]:
    """Frames of a texture that moves, with noise that does not: every frame has residual."""
    rng = np.random.default_rng(seed)
    still = texture((shape[0] + 16, shape[1] + 16), seed).astype(int)
    cuts = [still[t % 8 :, 2 * t % 16 :][: shape[0], : shape[1]] for t in range(count)]
    return [np.clip(cut + rng.normal(0, 8, shape), 0, 255).astype(np.uint8) for cut in cuts]


def coded(
    codec: X265Codec, frames: Sequence[Samples], maps: Maps, base_qp: int = 30
) -> list[Encoded]:
    with codec.video(frames[0].shape, base_qp) as stream:
        return [stream.encode(frame, qps) for frame, qps in zip(frames, maps, strict=True)]


def random_maps(shape: tuple[int, int], ctu_size: int, count: int, **limits: int) -> list[AnyQPMap]:
    return [random_map(shape, ctu_size, seed, **limits) for seed in range(count)]


def joined(*gops: list[Encoded]) -> bytes:
    return b"".join(encoded.bitstream for gop in gops for encoded in gop)


def plain_run(frames: list[Image], qp: int, ctu_size: int, preset: str) -> bytes:
    """Code frames with x265 and the string above, without any region of interest."""
    context: Any = av.VideoCodecContext.create("libx265", "w")
    context.height, context.width = frames[0].shape
    context.pix_fmt, context.time_base = "gray", Fraction(1, 25)
    context.options = {"preset": preset, "x265-params": LOW_DELAY_P.format(qp=qp, ctu=ctu_size)}
    packets = []
    for number, frame in enumerate(frames):
        made = av.VideoFrame.from_ndarray(frame, format="gray")
        made.pts = number
        packets += context.encode(made)
    return b"".join(bytes(packet) for packet in [*packets, *context.encode(None)])


def types(bitstream: bytes) -> list[int]:
    """Types of the VCL NAL units."""
    return [unit.nal_type for unit in nal_units(bitstream) if unit.nal_type < 32]


@pytest.fixture
def codec() -> Iterator[X265Codec]:
    with X265Codec(32, "ultrafast") as made:
        yield made


def test_each_frame_comes_at_once_and_any_decoder_returns_it(codec: X265Codec) -> None:
    frames = moving((100, 90), 6)
    gop = coded(codec, frames, random_maps((100, 90), 32, 6))
    assert types(joined(gop)) == [IDR] + [P] * 5
    assert [types(encoded.bitstream) for encoded in gop] == [[IDR], *[[P]] * 5]
    decoded = decode_stream(joined(gop)).frames
    for encoded, picture in zip(gop, decoded, strict=True):
        np.testing.assert_array_equal(encoded.reconstruction, picture)
        assert encoded.reconstruction.flags["C_CONTIGUOUS"]


def test_parameter_sets_come_with_the_first_frame_alone(codec: X265Codec) -> None:
    gop = coded(codec, moving((70, 64), 4), random_maps((70, 64), 32, 4))
    assert [encoded.bits == 8 * len(encoded.bitstream) for encoded in gop] == [True] * 4
    assert [encoded.bits > encoded.slice_bits for encoded in gop] == [True, False, False, False]


@pytest.mark.parametrize("ctu_size", CTU_SIZES)
@pytest.mark.parametrize("preset", ["ultrafast", "medium"])
def test_uniform_maps_are_a_plain_x265_run(ctu_size: int, preset: str) -> None:
    frames = moving((75, 100), 4)
    for qp in (22, 51):
        maps = [uniform_map((75, 100), ctu_size, qp)] * 4
        gop = coded(X265Codec(ctu_size, preset), frames, maps, qp)
        assert joined(gop) == plain_run(frames, qp, ctu_size, preset)


def wrong_qps(gop: list[Encoded], maps: Maps, ctu_size: int) -> tuple[int, int]:
    """Return how many blocks with residual libde265 reads, and how many of another QP."""
    checked = wrong = 0
    pictures = libde265.decode_all(joined(gop), ctu_size)
    for encoded, picture, qps in zip(gop, pictures, maps, strict=True):
        np.testing.assert_array_equal(picture.image, encoded.reconstruction)
        rows, cols = (
            np.minimum(np.arange(blocks) * picture.unit // ctu_size, ctus - 1)  # padding: the last
            for blocks, ctus in zip(picture.qp.shape, qps.shape, strict=True)
        )
        asked = qps[np.ix_(rows, cols)]
        checked += picture.coded.sum()
        wrong += (picture.coded & (picture.qp != asked)).sum()
    return int(checked), int(wrong)


@needs_libde265
@pytest.mark.parametrize("ctu_size", CTU_SIZES)
@pytest.mark.parametrize("preset", ["ultrafast", "medium"])
def test_every_coded_block_has_the_qp_asked_for(ctu_size: int, preset: str) -> None:
    shape, codec = (101, 139), X265Codec(ctu_size, preset)
    maps = random_maps(shape, ctu_size, 5)
    checked, wrong = wrong_qps(coded(codec, moving(shape, 5), maps), maps, ctu_size)
    assert checked > 150
    assert wrong == 0
    same: Maps = [uniform_map(shape, ctu_size, 26)] * 5
    checked, wrong = wrong_qps(coded(codec, moving(shape, 5), same, 26), same, ctu_size)
    assert checked > 150
    assert wrong == 0


@needs_libde265
def test_a_map_leaves_no_trace_in_the_next_frame(codec: X265Codec) -> None:
    """x265 keeps the offsets of the last frame that had any."""
    maps: Maps = [random_map((96, 96), 32), *[uniform_map((96, 96), 32, 30)] * 2] * 2
    noise = [binary_noise((96, 96), seed) for seed in range(6)]
    assert wrong_qps(coded(codec, noise, maps), maps, 32) == (6 * 36, 0)


@needs_libde265
@pytest.mark.parametrize("shape", [(1, 1), (1, 70), (17, 33), (63, 65)])
@pytest.mark.parametrize("ctu_size", CTU_SIZES)
def test_frames_of_any_size_have_the_qps_too(shape: tuple[int, int], ctu_size: int) -> None:
    maps = random_maps(shape, ctu_size, 3, low=20)
    gop = coded(X265Codec(ctu_size, "ultrafast"), moving(shape, 3), maps)
    assert decode_stream(joined(gop)).frames.shape == (3, *shape)
    assert wrong_qps(gop, maps, ctu_size)[1] == 0


@pytest.mark.parametrize("shape", [(64, 32), (90, 20), (32, 32)])
def test_frames_of_one_column_of_ctus(shape: tuple[int, int]) -> None:
    """Coded as they are, x265 makes other bytes of them each time, and its own MD5 is wrong."""
    codec = X265Codec(32, "ultrafast", {"hash": 1})
    frames, maps = moving(shape, 5), random_maps(shape, 32, 5)
    gops = [joined(coded(codec, frames, maps)) for _ in range(8)]
    assert len(set(gops)) == 1
    assert decode_stream(gops[0]).verified
    assert decode_stream(gops[0]).frames.shape == (5, *shape)


def test_padding_has_the_qp_of_its_neighbour() -> None:
    frames, maps = moving((64, 32), 3), random_maps((64, 32), 32, 3)
    wide = [np.pad(frame, ((0, 0), (0, 32)), mode="edge") for frame in frames]
    twice = [np.repeat(qps, 2, axis=1) for qps in maps]
    with X265Codec(32, "ultrafast") as codec:
        narrow, whole = coded(codec, frames, maps), coded(codec, wide, twice)
    for one, other in zip(narrow[1:], whole[1:], strict=True):
        assert one.bitstream == other.bitstream
    np.testing.assert_array_equal(narrow[2].reconstruction, whole[2].reconstruction[:, :32])


@pytest.mark.parametrize(
    ("bit_depth", "chroma", "profile"), [(8, True, 1), (10, True, 2), (10, False, 4), (12, True, 4)]
)
def test_deeper_samples_and_chroma(bit_depth: int, chroma: bool, profile: int) -> None:
    codec = X265Codec(32, "ultrafast", bit_depth=bit_depth, chroma=chroma)
    dtype, scale = codec.sample_format.dtype.type, 2 ** (bit_depth - 8)
    frames = [frame * dtype(scale) for frame in moving((51, 67), 3)]
    gop = coded(codec, frames, random_maps((51, 67), 32, 3, high=codec.qp_range[1]))
    assert read_sps(joined(gop)).profile_idc == profile
    decoded = decode_stream(joined(gop))
    assert decoded.bit_depth == bit_depth
    for encoded, picture in zip(gop, decoded.frames, strict=True):
        np.testing.assert_array_equal(encoded.reconstruction, picture[:51, :67])


@needs_libde265
def test_gops_join_to_one_stream(codec: X265Codec) -> None:
    frames, maps = moving((70, 90), 6), random_maps((70, 90), 32, 6)
    gops = [coded(codec, frames[:4], maps[:4], 25), coded(codec, frames[4:], maps[4:], 40)]
    stream = joined(*gops)
    pictures = [encoded.reconstruction for gop in gops for encoded in gop]
    np.testing.assert_array_equal(decode_stream(stream).frames, pictures)
    np.testing.assert_array_equal([p.image for p in libde265.decode_all(stream, 32)], pictures)


def test_same_bytes_again_beside_another_and_in_threads(codec: X265Codec) -> None:
    frames, maps = moving((64, 96), 4), random_maps((64, 96), 32, 4)
    alone = joined(coded(codec, frames, maps))
    assert joined(coded(codec, frames, maps)) == alone
    with codec.video((64, 96), 30) as one, codec.video((64, 96), 30) as other:
        pairs = [(one.encode(f, m), other.encode(f, m)) for f, m in zip(frames, maps, strict=True)]
    assert [joined(list(gop)) for gop in zip(*pairs, strict=True)] == [alone, alone]
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(lambda _: joined(coded(codec, frames, maps)), range(8))) == {alone}


def test_a_stream_may_end_early(codec: X265Codec) -> None:
    frames, maps = moving((64, 64), 5), random_maps((64, 64), 32, 5)
    whole = coded(codec, frames, maps)
    assert joined(coded(codec, frames[:2], maps[:2])) == joined(whole[:2])
    assert decode_stream(joined(whole[:2])).frames.shape == (2, 64, 64)
    with codec.video((64, 64), 30):
        pass


def test_a_closed_stream_refuses(codec: X265Codec) -> None:
    frame, qps = texture((64, 64)), uniform_map((64, 64), 32, 30)
    stream = codec.video((64, 64), 30)
    stream.encode(frame, qps)
    for _ in range(2):
        stream.close()
        with pytest.raises(EncodeError, match="closed: begin another"):
            stream.encode(frame, qps)


def test_a_closed_codec_begins_no_stream() -> None:
    codec = X265Codec(32, "ultrafast")
    stream = codec.video((64, 64), 30)
    codec.close()
    with pytest.raises(EncodeError, match="closed: make a new X265Codec"):
        codec.video((64, 64), 30)
    assert stream.encode(texture((64, 64)), uniform_map((64, 64), 32, 30)).bits > 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_begins_streams_of_its_own(codec: X265Codec) -> None:
    """An encoder's threads stay in the parent: using or closing it would hang."""
    frame, qps = texture((64, 64)), uniform_map((64, 64), 32, 30)
    stream = codec.video((64, 64), 30)
    first = stream.encode(frame, qps).bitstream
    child = os.fork()
    if child == 0:
        try:
            with pytest.raises(EncodeError, match="before the process forked"):
                stream.encode(frame, qps)
            stream.close()
            os._exit(codec.video((64, 64), 30).encode(frame, qps).bitstream != first)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert len(stream.encode(frame, qps).bitstream) < len(first)


@pytest.mark.parametrize(
    ("shape", "base_qp", "words"),
    [
        ((64, 4097), 30, "1..4096, got 4097. Nearest: 4096"),
        ((0, 64), 30, "1..4096"),
        ((64.5, 64), 30, "integer"),
        ((3, 64, 64), 30, r"shape must be \(H, W\)"),
        ((64, 64), 52, "base_qp must be 0..51, got 52. Nearest: 51"),
        ((64, 64), 30.0, "base_qp must be an integer"),
    ],
)
def test_no_stream(codec: X265Codec, shape: Any, base_qp: Any, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        codec.video(shape, base_qp)


def test_wrong_frames_and_maps_are_refused_and_harm_nothing(codec: X265Codec) -> None:
    frames, maps = moving((64, 64), 3), random_maps((64, 64), 32, 3)
    wrong: list[tuple[Any, Any, str]] = [
        (texture((64, 65)), maps[0], r"shape \(64, 65\), the stream's have \(64, 64\)"),
        (frames[0].astype(float), maps[0], "uint8"),
        (frames[0], maps[0][:1], "qp_map has shape"),
        (frames[0], maps[0] + 52, "use np.clip"),
        (frames[0], maps[0] + 0.5, "round it first"),
    ]
    gop = []
    with codec.video((64, 64), 30) as stream:
        for frame, qps in zip(frames, maps, strict=True):
            for bad_frame, bad_map, words in wrong:
                with pytest.raises(InvalidInputError, match=words):
                    stream.encode(bad_frame, bad_map)
            gop.append(stream.encode(frame, qps))
    assert joined(gop) == joined(coded(codec, frames, maps))


@pytest.mark.parametrize("override", [{"aq-mode": 0}, {"qp": 30}])
def test_settings_that_drop_offsets_are_refused(override: dict[str, int]) -> None:
    with pytest.raises(SelfTestError, match="ignores QP offsets"):
        X265Codec(32, "ultrafast", override).video((64, 64), 30)


def test_offsets_lost_in_p_frames_alone_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stills pass; each kind of frame has a self-test of its own."""
    monkeypatch.setattr(selftest, "_passed", set())
    codec, true = X265Codec(32, "ultrafast"), OpenEncoder.packet

    def without_offsets(self: Any, picture: Any, regions: Any, kind: Any) -> Any:
        return true(self, picture, NO_OFFSET if self._count else regions, kind)

    with monkeypatch.context() as patch:
        patch.setattr(OpenEncoder, "packet", without_offsets)
        with pytest.raises(SelfTestError):
            codec.video((64, 64), 30)
    assert codec.video((64, 64), 30).encode(texture((64, 64)), np.full((2, 2), 9)).bits > 0


@needs_libde265
def test_a_wrong_map_is_noticed(codec: X265Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    def shifted(qps: Any, *rest: Any) -> Any:
        return regions_of_interest(np.roll(qps, 1, axis=1), *rest)

    codec.video((96, 96), 30)
    noise, maps = [binary_noise((96, 96), t) for t in range(3)], random_maps((96, 96), 32, 3)
    monkeypatch.setattr(hevc_codec, "regions_of_interest", shifted)
    assert wrong_qps(coded(codec, noise, maps), maps, 32)[1] > 50


@pytest.mark.parametrize("override", [{"rc-lookahead": 5}, {"frame-threads": 2}])
def test_a_stream_whose_frames_come_late_closes(
    override: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(x265, "require_working_offsets", lambda *_: None)
    frame, qps = texture((64, 64)), uniform_map((64, 64), 32, 30)
    with X265Codec(32, "ultrafast", override).video((64, 64), 30) as stream:
        with pytest.raises(EncodeError, match="0 packets for one frame"):
            stream.encode(frame, qps)
        with pytest.raises(EncodeError, match="This stream is closed"):
            stream.encode(frame, qps)


def test_intra_frames_between_carry_the_crop_as_well() -> None:
    codec = X265Codec(64, "ultrafast", {"keyint": 2})
    gop = coded(codec, moving((40, 50), 4), random_maps((40, 50), 64, 4))
    assert [encoded.bits > encoded.slice_bits for encoded in gop] == [True, False] * 2
    assert decode_stream(joined(gop[2:])).frames.shape == (2, 40, 50)


def test_who_codes_video(codec: X265Codec) -> None:
    assert isinstance(codec, VideoCodec)
    assert isinstance(codec.video((64, 64), 30), VideoStream)
    assert not isinstance(FFmpegCodec(32), VideoCodec)


@pytest.mark.slow
@needs_libde265
@pytest.mark.parametrize("preset", ["ultrafast", "superfast", "medium", "slow"])
@pytest.mark.parametrize("ctu_size", CTU_SIZES)
@pytest.mark.parametrize(("bit_depth", "chroma"), [(8, False), (8, True), (10, True), (12, False)])
def test_every_qp_in_every_form(preset: str, ctu_size: int, bit_depth: int, chroma: bool) -> None:
    codec = X265Codec(ctu_size, preset, {"hash": 1}, bit_depth=bit_depth, chroma=chroma)
    dtype, (low, high) = codec.sample_format.dtype.type, codec.qp_range
    for seed, shape in enumerate([(100, 140), (60, 34), (250, 218)]):
        frames = [frame * dtype(2 ** (bit_depth - 8)) for frame in moving(shape, 6, seed)]
        maps = random_maps(shape, ctu_size, 6, low=low, high=high)
        gop = coded(codec, frames, maps, base_qp=high - 7 * seed)
        assert wrong_qps(gop, maps, ctu_size)[1] == 0
        assert decode_stream(joined(gop)).verified


@pytest.mark.slow
@pytest.mark.parametrize("ctu_size", CTU_SIZES)
def test_long_streams_are_plain_runs(ctu_size: int) -> None:
    """x265 marks pictures by their count modulo 31."""
    frames = moving((70, 100), 70)
    for qp in (0, 22, 32, 51):
        gop = coded(X265Codec(ctu_size), frames, [uniform_map((70, 100), ctu_size, qp)] * 70, qp)
        assert joined(gop) == plain_run(frames, qp, ctu_size, "medium")
