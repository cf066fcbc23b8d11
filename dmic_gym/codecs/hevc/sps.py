"""What a stream's sequence parameter set says of its pictures.

Section numbers are those of Rec. ITU-T H.265 (08/2021).
"""

from __future__ import annotations

from dataclasses import dataclass

from dmic_gym.codecs.hevc.nal import BitReader, nal_units
from dmic_gym.errors import DecodeError

SPS_TYPE = 33

_MAX_PAYLOAD = 256
"""Bytes that hold every element read here, however long its Exp-Golomb codes."""

_CHROMA_SCALES = {0: (1, 1), 1: (2, 2), 2: (2, 1), 3: (1, 1)}
"""SubWidthC, SubHeightC by chroma_format_idc (table 6-1)."""


@dataclass(frozen=True)
class SPS:
    """Elements of a sequence parameter set (7.3.2.2.1).

    Attributes:
        profile_idc: 1 Main, 2 Main 10, 4 format range extensions.
        chroma_format_idc: 0 is 4:0:0, 1 is 4:2:0.
        width: of the picture in luma samples, conformance window applied.
        height: likewise.
        coded_width: of the picture as coded, before the window.
        coded_height: likewise.
        bit_depth: of luma.
        bit_depth_chroma: of chroma.
        sao: sample_adaptive_offset_enabled_flag.
    """

    profile_idc: int
    chroma_format_idc: int
    width: int
    height: int
    coded_width: int
    coded_height: int
    bit_depth: int
    bit_depth_chroma: int
    sao: bool

    @property
    def sao_flags(self) -> int:
        """How many SAO flags a slice header has (7.3.6.1): for luma and, if any, for chroma."""
        return self.sao * (2 if self.chroma_format_idc else 1)


def read_sps(stream: bytes) -> SPS:
    """Read the first SPS of an Annex B stream of one layer; see `parse_sps`."""
    for nal in nal_units(stream):
        if nal.nal_type == SPS_TYPE:
            return parse_sps(stream[nal.header : min(nal.end, nal.header + _MAX_PAYLOAD)])
    raise DecodeError("The stream has no sequence parameter set.")


def parse_sps(unit: bytes) -> SPS:
    """Read an SPS NAL unit, header included: one sub-layer, no scaling lists, as x265 writes it.

    Raises:
        DecodeError: it is cut short, or has more sub-layers.
    """
    bits = BitReader(unit[2:_MAX_PAYLOAD])
    bits.u(4)  # vps id
    if bits.u(3):  # sps_max_sub_layers_minus1
        raise DecodeError("The stream has temporal sub-layers, which dmic does not write.")
    bits.u(1 + 2 + 1)  # temporal id nesting, profile space, tier
    profile_idc = bits.u(5)
    bits.u(32 + 48)  # compatibility and constraint flags (7.3.3)
    bits.u(8)  # general_level_idc
    bits.ue()  # sps id
    chroma_format_idc = bits.ue()
    if chroma_format_idc == 3:
        bits.u(1)
    coded = bits.ue(), bits.ue()
    window = [bits.ue() for _ in range(4)] if bits.u(1) else [0] * 4
    depths = bits.ue() + 8, bits.ue() + 8
    bits.ue()  # log2_max_pic_order_cnt_lsb_minus4
    bits.u(1)  # sub_layer_ordering_info_present_flag: one sub-layer, so no loop
    for _ in range(3 + 6):  # decoded picture buffer, block sizes and depths
        bits.ue()
    bits.u(1)  # scaling_list_enabled_flag
    bits.u(1)  # amp_enabled_flag
    scale_x, scale_y = _CHROMA_SCALES.get(chroma_format_idc, (1, 1))
    return SPS(
        profile_idc=profile_idc,
        chroma_format_idc=chroma_format_idc,
        width=coded[0] - scale_x * (window[0] + window[1]),
        height=coded[1] - scale_y * (window[2] + window[3]),
        coded_width=coded[0],
        coded_height=coded[1],
        bit_depth=depths[0],
        bit_depth_chroma=depths[1],
        sao=bool(bits.u(1)),
    )
