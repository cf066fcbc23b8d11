from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmic_gym.codecs import X265Codec
from dmic_gym.codecs.hevc.nal import nal_units
from dmic_gym.codecs.hevc.sps import SPS_TYPE, parse_sps, read_sps
from dmic_gym.errors import DecodeError
from tests.support import random_map, texture

SHAPE = (61, 83)


@pytest.fixture(scope="module")
def stream() -> bytes:
    with X265Codec(16, "ultrafast") as codec:
        return codec.encode([texture(SHAPE)], [random_map(SHAPE, 16)])[0].bitstream


def test_size_before_and_after_the_window(stream: bytes) -> None:
    sps = read_sps(stream)
    assert (sps.height, sps.width) == SHAPE
    assert (sps.coded_height, sps.coded_width) == (64, 96)


def test_a_stream_without_one_is_refused(stream: bytes) -> None:
    units = [unit for unit in nal_units(stream) if unit.nal_type != SPS_TYPE]
    with pytest.raises(DecodeError, match="no sequence parameter set"):
        read_sps(b"".join(stream[unit.start : unit.end] for unit in units))


def test_every_cut_is_read_alike_or_refused(stream: bytes) -> None:
    unit = next(stream[u.header : u.end] for u in nal_units(stream) if u.nal_type == SPS_TYPE)
    whole, refused = parse_sps(unit), 0
    for length in range(len(unit)):
        try:
            assert parse_sps(unit[:length]) == whole
        except DecodeError:
            refused += 1
    assert refused > 20


def test_sub_layers_are_refused(stream: bytes) -> None:
    unit = next(stream[u.header : u.end] for u in nal_units(stream) if u.nal_type == SPS_TYPE)
    with pytest.raises(DecodeError, match="sub-layers"):
        parse_sps(unit[:2] + bytes([unit[2] | 2]) + unit[3:])


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(unit: bytes) -> None:
    try:
        parse_sps(unit)
    except DecodeError:
        return
    assert len(unit) > 15
