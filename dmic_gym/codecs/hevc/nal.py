"""Reading HEVC byte streams: NAL units and the few syntax elements that codec control needs.

Section numbers are those of Rec. ITU-T H.265 (08/2021).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, pairwise

from dmic_gym.errors import DecodeError

_START_CODE = re.compile(rb"\x00?\x00\x00\x01")
_VCL_TYPES = range(32)
_IDR_TYPES = (19, 20)


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


def without_watermark(stream: bytes, *, sao: bool) -> bytes:
    """Return an intra stream of x265 with its frame-counter watermark bit set to the first frame's.

    x265 writes ``slice_loop_filter_across_slices_enabled_flag`` as a function of the picture
    count modulo 31, so equal pictures of a kept encoder differ in that bit. A picture of a single
    slice has no slice boundary, so the flag means nothing; set to 1 it is what a fresh encoder
    writes. The header (7.3.6.1) holds no two zero bytes in a row with either value, so emulation
    prevention is not touched.

    Args:
        stream: one picture, one slice.
        sao: its SPS's sample_adaptive_offset_enabled_flag.
    """
    slices = [nal for nal in nal_units(stream) if nal.nal_type in _VCL_TYPES]
    if len(slices) != 1 or slices[0].nal_type not in _IDR_TYPES:
        raise DecodeError("Expected one IDR picture of one slice.")
    payload = slices[0].header + 2
    bits = BitReader(stream[payload : payload + 8])
    bits.u(2)  # first_slice_segment_in_pic_flag, no_output_of_prior_pics_flag
    bits.ue()  # pps id
    bits.ue()  # slice_type
    if sao:
        bits.u(1)  # slice_sao_luma_flag; 4:0:0 has no chroma flag
    bits.ue()  # slice_qp_delta
    byte, bit = divmod(bits.position, 8)
    changed = bytearray(stream)
    changed[payload + byte] |= 0x80 >> bit
    return bytes(changed)
