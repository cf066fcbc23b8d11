"""Reading HEVC byte streams: NAL units and the few syntax elements that codec control needs.

Section numbers are those of Rec. ITU-T H.265 (08/2021).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, pairwise

from dmic_gym.errors import DecodeError

_START_CODE = re.compile(rb"\x00?\x00\x00\x01")
_VCL_TYPES = range(32)
_IDR_TYPES = (19, 20)
_SUFFIX_SEI = 40
_PICTURE_HASH, _MD5 = 132, 0
_MAX_SEI = 4096


@dataclass(frozen=True)
class NalUnit:
    """A NAL unit's place in a byte stream: offsets of its start code, its header and its end."""

    nal_type: int
    start: int
    header: int
    end: int


def nal_units(stream: bytes) -> Iterator[NalUnit]:
    """Yield the NAL units of an Annex B byte stream in order."""
    codes = chain(_START_CODE.finditer(stream), [None])
    for code, following in pairwise(codes):
        end = following.start() if following else len(stream)
        if code and code.end() < end:
            yield NalUnit(stream[code.end()] >> 1 & 0x3F, code.start(), code.end(), end)


def slice_bits(stream: bytes) -> int:
    """Return the bits of the coded slices (VCL NAL units), start codes included."""
    return 8 * sum(nal.end - nal.start for nal in nal_units(stream) if nal.nal_type in _VCL_TYPES)


class BitReader:
    """Reads fixed-length and Exp-Golomb codes (9.2) from a NAL unit's payload.

    Raises:
        DecodeError: the payload ends before the code does.
    """

    def __init__(self, payload: bytes) -> None:
        rbsp = payload.replace(b"\x00\x00\x03", b"\x00\x00")
        self._value = int.from_bytes(rbsp, "big")
        self._left = 8 * len(rbsp)
        self.position = 0

    def u(self, count: int) -> int:
        """Read `count` bits as an unsigned number."""
        if count > self._left:
            raise DecodeError("The stream's headers are cut short.")
        self._left -= count
        self.position += count
        return self._value >> self._left & ((1 << count) - 1)

    def ue(self) -> int:
        """Read an unsigned Exp-Golomb code."""
        zeros = 0
        while not self.u(1):
            zeros += 1
        return (1 << zeros) - 1 + self.u(zeros)


def count_pictures(stream: bytes) -> tuple[int, int]:
    """Return how many pictures a stream of one layer holds, and how many carry an MD5."""
    pictures = hashes = 0
    for nal in nal_units(stream):
        payload = stream[nal.header + 2 : min(nal.end, nal.header + _MAX_SEI)]
        if nal.nal_type in _VCL_TYPES:
            pictures += payload[:1] >= b"\x80"  # first_slice_segment_in_pic_flag
        elif nal.nal_type == _SUFFIX_SEI:
            hashes += _holds_md5(payload)
    return pictures, hashes


def _holds_md5(payload: bytes) -> bool:
    """Whether a suffix SEI has a decoded picture hash message of type MD5 (D.2.19)."""
    bits = BitReader(payload)
    with contextlib.suppress(DecodeError):
        while True:
            kind, size = _sei_number(bits), _sei_number(bits)
            if kind == _PICTURE_HASH:
                return bits.u(8) == _MD5
            bits.u(8 * size)
    return False


def _sei_number(bits: BitReader) -> int:
    """Read a payload type or size (7.3.5): bytes of 255 that add up with the last, smaller one."""
    total = 0
    while (byte := bits.u(8)) == 255:
        total += byte
    return total + byte


def without_watermark(stream: bytes, *, sao_flags: int) -> bytes:
    """Return an intra stream of x265 with its frame-counter watermark bit set to the first frame's.

    x265 writes ``slice_loop_filter_across_slices_enabled_flag`` as a function of the picture
    count modulo 31, so equal pictures of a kept encoder differ in that bit. A picture of a single
    slice has no slice boundary, so the flag means nothing; set to 1 it is what a fresh encoder
    writes. The header (7.3.6.1) holds no two zero bytes in a row with either value, so emulation
    prevention is not touched.

    Args:
        stream: one picture, one slice.
        sao_flags: how many SAO flags its slice header has; see `SPS`.
    """
    slices = [nal for nal in nal_units(stream) if nal.nal_type in _VCL_TYPES]
    if len(slices) != 1 or slices[0].nal_type not in _IDR_TYPES:
        raise DecodeError("Expected one IDR picture of one slice.")
    payload = slices[0].header + 2
    bits = BitReader(stream[payload : payload + 8])
    bits.u(2)  # first_slice_segment_in_pic_flag, no_output_of_prior_pics_flag
    bits.ue()  # pps id
    bits.ue()  # slice_type
    bits.u(sao_flags)  # slice_sao_luma_flag, slice_sao_chroma_flag
    bits.ue()  # slice_qp_delta
    byte, bit = divmod(bits.position, 8)
    changed = bytearray(stream)
    changed[payload + byte] |= 0x80 >> bit
    return bytes(changed)
