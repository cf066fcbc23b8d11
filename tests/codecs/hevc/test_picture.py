"""Pictures of 8, 10 and 12 bits in 4:0:0 and 4:2:0: QPs, profile, range, loss."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from dmic_gym.codecs import Codec, FFmpegCodec, X265Codec
from dmic_gym.codecs.hevc import codec as hevc_codec
from dmic_gym.codecs.hevc import selftest
from dmic_gym.codecs.hevc.decoder import decode_stream
from dmic_gym.codecs.hevc.encoder_pool import KeptEncoder
from dmic_gym.codecs.hevc.nal import nal_units
from dmic_gym.codecs.hevc.picture import SampleFormat, check_bit_depth
from dmic_gym.codecs.hevc.pool import IdlePool
from dmic_gym.codecs.hevc.regions import REGION
from dmic_gym.codecs.hevc.sps import read_sps
from dmic_gym.errors import EncodeError, InvalidInputError, SelfTestError
from tests.codecs import libde265
from tests.support import binary_noise, random_map, texture

FORMATS = [SampleFormat(depth, chroma) for depth in (8, 10, 12) for chroma in (False, True)]
every_format = pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.pix_fmt)
needs_libde265 = pytest.mark.skipif(
    not libde265.available(), reason=str(libde265.skip_reason() or "available")
)


def codec_for(
    form: SampleFormat, ctu_size: int = 64, preset: str = "ultrafast", **overrides: Any
) -> X265Codec:
    return X265Codec(ctu_size, preset, overrides, bit_depth=form.bit_depth, chroma=form.chroma)


def deep_texture(shape: tuple[int, int], form: SampleFormat, seed: int = 0) -> npt.NDArray[Any]:
    low = np.random.default_rng(seed).integers(0, 1 << form.bit_depth - 8, shape)
    return (texture(shape, seed).astype(int) << form.bit_depth - 8 | low).astype(form.dtype)


def black_and_white(shape: tuple[int, int], form: SampleFormat) -> npt.NDArray[Any]:
    white = form.dtype.type(2**form.bit_depth - 1)
    return np.asarray((binary_noise(shape) // 255) * white, form.dtype)


@needs_libde265
@every_format
@pytest.mark.parametrize("ctu_size", [64, 32, 16])
def test_every_ctu_has_the_qp_asked_for(form: SampleFormat, ctu_size: int) -> None:
    codec, image = codec_for(form, ctu_size), black_and_white((200, 218), form)
    maps = [random_map(image.shape, ctu_size, n, high=codec.qp_range[1]) for n in range(3)]
    for encoded, qps in zip(codec.encode([image] * 3, maps), maps, strict=True):
        decoded = libde265.decode(encoded.bitstream, ctu_size)
        rows, cols = qps.shape
        read = [row[:cols] for row in libde265.ctu_qps(decoded)[:rows]]
        assert read == [[{int(qp)} for qp in row] for row in qps]
        np.testing.assert_array_equal(decoded.image, encoded.reconstruction)


@every_format
@pytest.mark.parametrize("shape", [(64, 64), (97, 95), (31, 30), (1, 1)])
def test_headers_and_size(form: SampleFormat, shape: tuple[int, int]) -> None:
    image, qps = deep_texture(shape, form), random_map(shape, 64, low=20, high=22)
    (encoded,) = codec_for(form, hash=1).encode([image], [qps])
    sps = read_sps(encoded.bitstream)
    main = {8: 1, 10: 2, 12: 4}[form.bit_depth]
    assert sps.profile_idc == (main if form.chroma else 4)
    assert sps.chroma_format_idc == int(form.chroma)
    assert (sps.bit_depth, sps.bit_depth_chroma) == (form.bit_depth, form.bit_depth)
    even = (shape[0] + shape[0] % 2, shape[1] + shape[1] % 2)
    assert (sps.height, sps.width) == (even if form.chroma else shape)
    assert [unit.nal_type for unit in nal_units(encoded.bitstream)] == [32, 33, 34, 20, 40]
    assert (encoded.reconstruction.shape, encoded.reconstruction.dtype) == (shape, form.dtype)
    error = np.abs(encoded.reconstruction.astype(int) - image).mean()
    assert error < 4 << form.bit_depth - 8


@every_format
@pytest.mark.parametrize("preset", ["ultrafast", "medium"])  # without and with SAO
def test_frames_of_a_kept_encoder_are_those_of_fresh_ones(
    form: SampleFormat, preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """x265 marks every picture by its count modulo 31; with 4:2:0 each second could be no IDR."""
    shape, codec = (70, 90), codec_for(form, preset=preset, hash=1)
    images = [deep_texture(shape, form, n % 5) for n in range(40)]
    maps = [random_map(shape, 64, n, 30, 31) for n in range(40)]
    kept = [encoded.bitstream for encoded in codec.encode(images, maps)]
    for image, qps, stream in zip(images, maps, kept, strict=True):
        monkeypatch.setattr("dmic_gym.codecs.hevc.encoder_pool._pool", IdlePool(KeptEncoder))
        assert codec.encode_bitstream(image, qps) == stream
    whole = decode_stream(b"".join(kept))
    assert (len(whole.frames), whole.bit_depth, whole.verified) == (40, form.bit_depth, True)


def test_each_map_is_asked_for_when_its_frame_is_coded(monkeypatch: pytest.MonkeyPatch) -> None:
    codec, events = X265Codec(64, "ultrafast"), []
    codec.encode([texture((64, 64))], [np.array([[30]])])
    encode = codec.encode_bitstream

    def noted(*arguments: Any) -> bytes:
        events.append("coded")
        return encode(*arguments)

    def planned() -> Iterator[Any]:
        for qp in (30, 31, 32):
            events.append("planned")
            yield np.array([[qp]])

    monkeypatch.setattr(codec, "encode_bitstream", noted)
    frames = [texture((64, 64), n) for n in range(3)]
    assert len(codec.encode(frames, planned())) == 3
    assert events == ["planned", "coded"] * 3


def test_as_many_maps_as_frames_of_one_size() -> None:
    codec, frame, qps = X265Codec(64, "ultrafast"), texture((64, 64)), np.array([[30]])
    for count in (1, 3):
        with pytest.raises(InvalidInputError, match="2 frames need as many QP maps"):
            codec.encode([frame] * 2, [qps] * count)
    with pytest.raises(InvalidInputError, match="one size"):
        codec.encode([frame, texture((64, 80))], [qps, qps])
    with pytest.raises(InvalidInputError, match=r"pass \[image\]"):
        codec.encode(frame, qps)  # type: ignore[arg-type]
    assert codec.encode([], []) == []


def test_parameter_sets_do_not_depend_on_picture_or_map() -> None:
    form = SampleFormat(10, True)
    images = [deep_texture((70, 90), form, n) for n in range(4)]
    maps = [random_map((70, 90), 32, n) for n in range(4)]
    found = set()
    for encoded in codec_for(form, 32).encode(images, maps):
        slices = next(unit for unit in nal_units(encoded.bitstream) if unit.nal_type == 20)
        found.add(encoded.bitstream[: slices.start])
    assert len(found) == 1


def test_12_bit_qps_end_where_ffmpeg_is_right() -> None:
    assert X265Codec().qp_range == X265Codec(bit_depth=10).qp_range == (0, 51)
    codec = X265Codec(64, "ultrafast", bit_depth=12)
    assert codec.qp_range == (0, 49)
    with pytest.raises(InvalidInputError, match=r"spans 50\.\.50, valid is 0\.\.49"):
        codec.encode([np.zeros((64, 64), np.uint16)], [np.array([[50]])])


@pytest.mark.parametrize(
    ("depth", "image", "words"),
    [
        (10, np.zeros((64, 64), np.uint8), "must be a uint16 array"),
        (8, np.zeros((64, 64), np.uint16), "must be a uint8 array"),
        (10, np.full((64, 64), 1024, np.uint16), r"reaches 1024, 10 bits hold 0\.\.1023"),
    ],
)
def test_samples_of_another_depth_are_refused(
    depth: int, image: npt.NDArray[Any], words: str
) -> None:
    with pytest.raises(InvalidInputError, match=words):
        X265Codec(64, "ultrafast", bit_depth=depth).encode([image], [np.array([[30]])])


@pytest.mark.parametrize("form", [SampleFormat(10), SampleFormat(8, True)], ids=lambda f: f.pix_fmt)
@pytest.mark.parametrize("shape", [(131, 129), (17, 33)])
def test_the_ffmpeg_codec_makes_the_same_pictures(
    form: SampleFormat, shape: tuple[int, int]
) -> None:
    pytest.importorskip("imageio_ffmpeg", reason="no imageio-ffmpeg")
    image, qps = deep_texture(shape, form), random_map(shape, 32, 7)
    codecs: list[Codec] = [
        codec_for(form, 32),
        FFmpegCodec(32, "ultrafast", bit_depth=form.bit_depth, chroma=form.chroma),
    ]
    ours, theirs = (codec.encode([image], [qps])[0].reconstruction for codec in codecs)
    np.testing.assert_array_equal(theirs, ours)


def test_pickle_keeps_the_format() -> None:
    codec = X265Codec(32, "fast", {"hash": 1}, bit_depth=10, chroma=True)
    made = pickle.loads(pickle.dumps(codec))
    assert made.configuration == codec.configuration
    assert repr(made) == "X265Codec(ctu_size=32, preset='fast', bit_depth=10, chroma=True)"


@every_format
def test_an_encoder_that_drops_offsets_is_refused(
    monkeypatch: pytest.MonkeyPatch, form: SampleFormat
) -> None:
    monkeypatch.setattr(selftest, "_passed", set())
    monkeypatch.setattr(hevc_codec, "regions_of_interest", lambda *_: np.empty(0, REGION))
    with pytest.raises(SelfTestError, match="ignores QP offsets"):
        codec_for(form, 16).encode([np.zeros((64, 64), form.dtype)], [np.full((4, 4), 30)])


def test_what_x265_refuses_is_an_encode_error(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = X265Codec(64, "ultrafast")
    monkeypatch.setattr(hevc_codec, "x265_params", lambda *_: "level-idc=1")
    with pytest.raises(EncodeError, match=r"x265 refused a \(256, 256\) image"):
        codec.encode_bitstream(np.zeros((256, 256), np.uint8), np.full((4, 4), 30))


@pytest.mark.parametrize(("depth", "nearest"), [(9, 8), (16, 12), (0, 8), (11, 10)])
def test_other_depths_are_refused(depth: int, nearest: int) -> None:
    for make in (check_bit_depth, lambda depth: X265Codec(bit_depth=depth)):
        with pytest.raises(InvalidInputError, match=f"Nearest: {nearest}"):
            make(depth)
