from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmic_gym.codecs import CTU_SIZES, X265Codec
from dmic_gym.codecs.hevc.nal import (
    BitReader,
    count_pictures,
    nal_units,
    slice_bits,
    without_watermark,
)
from dmic_gym.codecs.hevc.sps import read_sps
from dmic_gym.errors import DecodeError
from tests.support import random_map, texture


def exp_golomb(value: int) -> str:
    """Rec. ITU-T H.265, 9.2: as many zeros as binary digits after the first of value + 1."""
    digits = bin(value + 1)[2:]
    return "0" * (len(digits) - 1) + digits


@given(st.lists(st.one_of(st.integers(0, 70_000), st.tuples(st.integers(0, 255))), max_size=30))
def test_reads_back_what_was_written(codes: list[int | tuple[int]]) -> None:
    """Integers as Exp-Golomb codes, tuples as eight bits, with emulation prevention (7.4.2)."""
    bits = "".join(exp_golomb(c) if isinstance(c, int) else f"{c[0]:08b}" for c in codes) + "1"
    bits += "0" * (-len(bits) % 8)
    payload = bytearray()
    for byte in (int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)):
        if byte <= 3 and payload[-2:] == b"\0\0":
            payload.append(3)
        payload.append(byte)
    reader = BitReader(bytes(payload))
    for code in codes:
        assert (code if isinstance(code, int) else code[0]) == (
            reader.ue() if isinstance(code, int) else reader.u(8)
        )


def test_reading_beyond_the_end_is_a_decode_error() -> None:
    for payload in (b"", b"\x00", b"\x00\x00\x00\x00"):
        with pytest.raises(DecodeError, match="cut short"):
            BitReader(payload).ue()
    with pytest.raises(DecodeError, match="cut short"):
        BitReader(b"\xff").u(9)


def test_units_and_their_types() -> None:
    stream = b"\0\0\0\1\x40\1abc" + b"\0\0\1\x42\1de" + b"\0\0\0\1\x28\1\xff"
    units = list(nal_units(stream))
    assert [unit.nal_type for unit in units] == [32, 33, 20]
    assert b"".join(stream[unit.start : unit.end] for unit in units) == stream
    assert [stream[unit.header : unit.end] for unit in units] == [
        b"\x40\1abc",
        b"\x42\1de",
        b"\x28\1\xff",
    ]
    assert slice_bits(stream) == 8 * 7


@given(st.binary(max_size=60))
def test_any_bytes_have_units_or_none(stream: bytes) -> None:
    for unit in nal_units(stream):
        assert 0 <= unit.start < unit.header < unit.end <= len(stream)
    assert 0 <= slice_bits(stream) <= 8 * len(stream)


@pytest.mark.parametrize("ctu_size", CTU_SIZES)
@pytest.mark.parametrize(("preset", "sao"), [("ultrafast", False), ("medium", True)])
def test_streams_of_x265(preset: str, sao: bool, ctu_size: int) -> None:
    shape = (100, 90)
    with X265Codec(ctu_size, preset) as codec:
        stream = codec.encode([texture(shape)], [random_map(shape, ctu_size)])[0].bitstream
    assert [unit.nal_type for unit in nal_units(stream)] == [32, 33, 34, 20]
    assert read_sps(stream).sao is sao
    assert without_watermark(stream, sao_flags=int(sao)) == stream


def test_the_sao_setting_is_read_from_the_stream() -> None:
    for sao in (0, 1):
        codec = X265Codec(64, "medium", {"sao": sao})
        stream = codec.encode([texture((64, 64))], [np.array([[30]])])[0].bitstream
        assert read_sps(stream).sao is bool(sao)


@pytest.mark.parametrize("stream", [b"", b"\0\0\0\1\x40\1abc", b"\0\0\1\x02\1ab"])
def test_only_one_idr_slice_is_touched(stream: bytes) -> None:
    with pytest.raises(DecodeError, match="one IDR picture"):
        without_watermark(stream, sao_flags=0)


SLICE, NEXT_SLICE = b"\0\0\1\x28\1\x80", b"\0\0\1\x28\1\x40"
MD5, CRC = b"\x84\x11\0" + bytes(range(1, 17)), b"\x84\x03\1ab"
OTHER = b"\xff\x01" + b"\xff\x2d" + b"x" * 300  # type 256, 300 bytes


@pytest.mark.parametrize(
    ("stream", "counts"),
    [
        (b"", (0, 0)),
        (SLICE + NEXT_SLICE + SLICE, (2, 0)),
        (SLICE + b"\0\0\1\x50\1" + MD5 + b"\x80", (1, 1)),
        (SLICE + b"\0\0\1\x50\1" + OTHER + MD5 + b"\x80", (1, 1)),
        (SLICE + b"\0\0\1\x50\1" + CRC + b"\x80", (1, 0)),
        (SLICE + b"\0\0\1\x50\1" + OTHER + b"\x80", (1, 0)),
        (SLICE + b"\0\0\1\x4e\1" + MD5 + b"\x80", (1, 0)),  # a prefix SEI is none of a picture's
    ],
)
def test_pictures_and_their_md5s_are_counted(stream: bytes, counts: tuple[int, int]) -> None:
    """Written by hand after Rec. ITU-T H.265, 7.3.5 and D.2.19."""
    assert count_pictures(stream) == counts


@given(
    st.lists(st.sampled_from([b"\0\0\1", b"\x28\1", b"\x50\1", b"\x84"]) | st.binary(max_size=9))
)
def test_any_bytes_have_pictures_or_none(parts: list[bytes]) -> None:
    pictures, hashes = count_pictures(b"".join(parts))
    assert 0 <= pictures <= len(parts) * 4
    assert 0 <= hashes <= len(parts) * 4
