"""Streams of `encode_main` as MP4 files with one ``hvc1`` track, and back.

Written by FFmpeg's muxer. Read here, and only in the form that it writes: FFmpeg's demuxer
allocates what a stranger's sample table says.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from fractions import Fraction

import av

from dmic_gym.deploy.limits import DEFAULT_LIMITS, Limits
from dmic_gym.deploy.streams import join
from dmic_gym.errors import DecodeError, EncodeError

_TO_SAMPLE_TABLE = (b"moov", b"trak", b"mdia", b"minf", b"stbl")
_SAMPLE_ENTRY = 78
"""Bytes of a VisualSampleEntry before its boxes (ISO/IEC 14496-12, 12.1.3.2)."""
_HVCC_HEADER = 22
"""Bytes of an HEVCDecoderConfigurationRecord before its arrays (ISO/IEC 14496-15, 8.3.3.1)."""
_DAMAGED = "The MP4 file is cut, damaged, or was not written by dmic encode"


def is_mp4(data: bytes) -> bool:
    """Whether these are the first bytes of an MP4 file."""
    return data[4:8] == b"ftyp"


def to_mp4(units: Sequence[bytes], rate: int | Fraction = 25) -> bytes:
    """Return an MP4 file of the access units of `encode_main`.

    Args:
        units: one Annex B access unit a frame.
        rate: frames a second.

    Raises:
        EncodeError: FFmpeg's muxer failed.
    """
    out = io.BytesIO()
    duration = 1 / Fraction(rate)
    try:
        with (
            av.open(io.BytesIO(b"".join(units)), format="hevc") as source,
            av.open(out, "w", format="mp4", options={"fflags": "+bitexact"}) as container,
        ):
            track = container.add_stream_from_template(source.streams.video[0])
            track.codec_context.codec_tag = "hvc1"
            for index, unit in enumerate(units):
                packet = av.Packet(unit)
                packet.stream = track
                packet.time_base = duration
                packet.pts = packet.dts = index
                packet.duration = 1
                packet.is_keyframe = True
                container.mux(packet)
    except av.FFmpegError as error:
        raise EncodeError(
            f"FFmpeg could not write {len(units)} access units as MP4, or they are no HEVC stream: "
            f"{error}"
        ) from error
    return out.getvalue()


def from_mp4(data: bytes, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Return the Annex B stream in an MP4 file of `to_mp4`, for `decode_stream`.

    Raises:
        DecodeError: the file is cut, damaged, or of another form.
    """
    try:
        top = dict(_boxes(memoryview(data)))
        table = memoryview(data)
        for name in _TO_SAMPLE_TABLE:
            table = dict(_boxes(table))[name]
        boxes = dict(_boxes(table))
        parameter_sets = _parameter_sets(boxes[b"stsd"])
        pictures = [join(units) for units in _samples(top[b"mdat"], boxes[b"stsz"], limits)]
    except (KeyError, struct.error, IndexError, ValueError) as error:
        raise DecodeError(f"{_DAMAGED}.") from error
    return b"".join([join(parameter_sets), *pictures])


def _boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield type and content of the boxes that fill `data` (ISO/IEC 14496-12, 4.2)."""
    position = 0
    while position < len(data):
        if len(data) - position < 8 and not any(data[position:]):
            return  # a DICOM fragment is padded to even length
        size, name = struct.unpack_from(">I4s", data, position)
        if size < 8 or position + size > len(data):
            raise DecodeError(f"{_DAMAGED}: a box is larger than the file.")
        yield name, data[position + 8 : position + size]
        position += size


def _parameter_sets(description: memoryview) -> list[bytes]:
    """Return VPS, SPS and PPS of a sample description box with one ``hvc1`` entry."""
    entry = dict(_boxes(description[8:]))[b"hvc1"]
    record = dict(_boxes(entry[_SAMPLE_ENTRY:]))[b"hvcC"]
    units = list[bytes]()
    position = _HVCC_HEADER + 1
    for _ in range(record[_HVCC_HEADER]):
        (count,) = struct.unpack_from(">H", record, position + 1)
        position += 3
        for _ in range(count):
            (size,) = struct.unpack_from(">H", record, position)
            units.append(bytes(record[position + 2 : position + 2 + size]))
            position += 2 + size
    return units


def _samples(media: memoryview, sizes: memoryview, limits: Limits) -> Iterator[list[bytes]]:
    """Yield the NAL units of each sample; samples fill the media data in order."""
    same, count = struct.unpack_from(">II", sizes, 4)
    if count > limits.max_units:
        raise DecodeError(f"The MP4 file has more than {limits.max_units} samples.")
    lengths = [same] * count if same else list(struct.unpack_from(f">{count}I", sizes, 12))
    if sum(lengths) != len(media):
        raise DecodeError(f"{_DAMAGED}: its samples do not fill its media data.")
    position = 0
    for length in lengths:
        yield list(_length_prefixed(media[position : position + length]))
        position += length


def _length_prefixed(sample: memoryview) -> Iterator[bytes]:
    position = 0
    while position < len(sample):
        (size,) = struct.unpack_from(">I", sample, position)
        if not 2 <= size <= len(sample) - position - 4:
            raise DecodeError(f"{_DAMAGED}: a NAL unit is longer than its sample.")
        yield bytes(sample[position + 4 : position + 4 + size])
        position += 4 + size
