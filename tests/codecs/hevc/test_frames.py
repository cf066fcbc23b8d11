"""Pictures of 8, 10 and 12 bits in 4:0:0 and 4:2:0: QPs, profile, range, loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from dmic_gym.codecs.hevc import frames as frames_module
from dmic_gym.codecs.hevc.frames import FrameEncoder, SampleFormat, check_bit_depth
from dmic_gym.codecs.hevc.nal import nal_units
from dmic_gym.codecs.hevc.sps import read_sps
from dmic_gym.errors import EncodeError, InvalidInputError, SelfTestError
from tests.codecs import libde265
from tests.support import binary_noise, random_map, texture

FORMATS = [SampleFormat(depth, chroma) for depth in (8, 10, 12) for chroma in (False, True)]
needs_libde265 = pytest.mark.skipif(
    not libde265.available(), reason=str(libde265.skip_reason() or "available")
)


def black_and_white(shape: tuple[int, int], form: SampleFormat) -> npt.NDArray[Any]:
    white = form.dtype.type(2**form.bit_depth - 1)
    return np.asarray((binary_noise(shape) // 255) * white, form.dtype)


@needs_libde265
@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.pix_fmt)
@pytest.mark.parametrize("ctu_size", [64, 32, 16])
def test_every_ctu_has_the_qp_asked_for(form: SampleFormat, ctu_size: int) -> None:
    shape = (200, 218)
    qps = random_map(shape, ctu_size, form.bit_depth, high=form.max_qp)
    stream = FrameEncoder(form, ctu_size, "ultrafast").encode(black_and_white(shape, form), qps)
    decoded = libde265.decode(stream, ctu_size)
    rows, cols = qps.shape
    read = [row[:cols] for row in libde265.ctu_qps(decoded)[:rows]]
    assert read == [[{int(qp)} for qp in row] for row in qps]


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.pix_fmt)
@pytest.mark.parametrize("shape", [(64, 64), (97, 95), (31, 30), (1, 1)])
def test_headers(form: SampleFormat, shape: tuple[int, int]) -> None:
    samples = texture(shape).astype(form.dtype)
    qps = np.full((-(-shape[0] // 64), -(-shape[1] // 64)), 30)
    stream = FrameEncoder(form, 64, "ultrafast").encode(samples, qps)
    sps = read_sps(stream)
    main = {8: 1, 10: 2, 12: 4}[form.bit_depth]
    assert sps.profile_idc == (main if form.chroma else 4)
    assert sps.chroma_format_idc == int(form.chroma)
    assert (sps.bit_depth, sps.bit_depth_chroma) == (form.bit_depth, form.bit_depth)
    even = (shape[0] + shape[0] % 2, shape[1] + shape[1] % 2)
    assert (sps.height, sps.width) == (even if form.chroma else shape)
    assert [unit.nal_type for unit in nal_units(stream)] == [32, 33, 34, 20, 40]


def test_parameter_sets_do_not_depend_on_picture_or_map() -> None:
    encoder = FrameEncoder(SampleFormat(10, True), 32, "ultrafast")
    found = set()
    for seed in range(4):
        samples = texture((70, 90), seed).astype(np.uint16) << np.uint16(seed % 3)
        stream = encoder.encode(samples, random_map((70, 90), 32, seed))
        slices = next(unit for unit in nal_units(stream) if unit.nal_type == 20)
        found.add(stream[: slices.start])
    assert len(found) == 1


def test_12_bit_qps_end_where_ffmpeg_is_right() -> None:
    encoder = FrameEncoder(SampleFormat(12), 64, "ultrafast")
    samples = texture((64, 64)).astype(np.uint16) << np.uint16(4)
    streams = {qp: encoder.encode(samples, np.array([[qp]])) for qp in (48, 49, 51)}
    assert streams[51] == streams[49] != streams[48]


def test_8_bit_samples_are_scaled_up() -> None:
    encoder = FrameEncoder(SampleFormat(10), 64, "ultrafast")
    deep = texture((64, 64)).astype(np.uint16) * np.uint16(4)
    qp_map = np.array([[30]])
    assert encoder.encode_bitstream(texture((64, 64)), qp_map) == encoder.encode(deep, qp_map)


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.pix_fmt)
def test_an_encoder_that_drops_offsets_is_refused(
    monkeypatch: pytest.MonkeyPatch, form: SampleFormat
) -> None:
    monkeypatch.setattr(frames_module, "regions_of_interest", lambda *_: iter(()))
    encoder = FrameEncoder(form, 16, "superfast")
    with pytest.raises(SelfTestError, match="ignores QP offsets"):
        encoder.encode(np.zeros((64, 64), form.dtype), np.full((4, 4), 30))


def test_what_x265_refuses_is_an_encode_error(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = FrameEncoder(SampleFormat(), 64, "ultrafast")
    monkeypatch.setattr(frames_module, "x265_params", lambda *_: "level-idc=1")
    with pytest.raises(EncodeError, match="x265 refused a 256 x 256 picture"):
        encoder.encode_bitstream(np.zeros((256, 256), np.uint8), np.full((4, 4), 30))


@pytest.mark.parametrize(("depth", "nearest"), [(9, 8), (16, 12), (0, 8), (11, 10)])
def test_other_depths_are_refused(depth: int, nearest: int) -> None:
    with pytest.raises(InvalidInputError, match=f"Nearest: {nearest}"):
        check_bit_depth(depth)
