"""HEVC in MP4 files: written by FFmpeg's muxer, read by ourselves.

FFmpeg's demuxer allocates what a stranger's sample table says. Section numbers are those of
ISO/IEC 14496-12 and 14496-15.
"""

from __future__ import annotations

import io
import itertools
import struct
from collections.abc import Iterator, Sequence
from fractions import Fraction

import av

from dmic_gym.deploy.limits import DEFAULT_LIMITS, Limits
from dmic_gym.deploy.streams import join
from dmic_gym.errors import DecodeError, EncodeError

Boxes = dict[bytes, list[memoryview]]

_TO_SAMPLE_TABLE = (b"mdia", b"minf", b"stbl")
_SAMPLE_ENTRIES = (b"hvc1", b"hev1")
_SAMPLE_ENTRY = 78
"""Bytes of a VisualSampleEntry before its boxes (12.1.3.2)."""
_HVCC_HEADER = 22
"""Bytes of an HEVCDecoderConfigurationRecord before its arrays (14496-15, 8.3.3.1)."""
_DAMAGED = "The MP4 file is cut or damaged"
_REMUX = "Type: ffmpeg -i IN -map 0:v:0 -c copy OUT.mp4"


def is_mp4(data: bytes) -> bool:
    """Whether these are the first bytes of an MP4 file."""
    return isinstance(data, bytes) and data[4:8] == b"ftyp"


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
    """Return the Annex B stream of an MP4 file's only HEVC track, pictures in decoding order.

    Raises:
        DecodeError: the file is cut, damaged, fragmented, has no HEVC track or several, or is
            several files in a row.
    """
    if len(data) > limits.max_bytes:
        raise DecodeError(f"The MP4 file has more than {limits.max_bytes} bytes.")
    try:
        top = _boxes(memoryview(data))
        if len(top[b"moov"]) > 1 or len(top[b"ftyp"]) > 1:
            raise DecodeError("These are several MP4 files, one behind the other: split them.")
        if b"moof" in top:
            raise DecodeError(f"The MP4 file is fragmented. {_REMUX}")
        table = _hevc_table(top[b"moov"][0])
        parameter_sets, prefix = _configuration(table[b"stsd"][0])
        samples = _samples(memoryview(data), table, limits)
        pictures = [join(list(_length_prefixed(sample, prefix))) for sample in samples]
        return b"".join([join(parameter_sets), *pictures])
    except (KeyError, struct.error, IndexError, ValueError) as error:
        raise DecodeError(f"{_DAMAGED}.") from error


def _boxes(data: memoryview) -> Boxes:
    """Return the contents of the boxes that fill `data`, by type (4.2)."""
    found = Boxes()
    position = 0
    while position < len(data):
        if len(data) - position < 8 and not any(data[position:]):
            break  # a DICOM fragment is padded to even length
        size, name = struct.unpack_from(">I4s", data, position)
        header = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, position + 8)
            header = 16
        elif size == 0:
            size = len(data) - position  # the last box may reach to the end of the file
        if size < header or position + size > len(data):
            raise DecodeError(f"{_DAMAGED}: a box is larger than the file.")
        found.setdefault(name, []).append(data[position + header : position + size])
        position += size
    return found


def _hevc_table(movie: memoryview) -> Boxes:
    """Return the boxes of the sample table of the one track that is HEVC (8.5.1)."""
    tables = list[Boxes]()
    for boxes in map(_boxes, _boxes(movie)[b"trak"]):
        for name in _TO_SAMPLE_TABLE:
            boxes = _boxes(boxes[name][0])
        if any(entry in _SAMPLE_ENTRIES for entry in _boxes(boxes[b"stsd"][0][8:])):
            tables.append(boxes)
    if len(tables) != 1:
        raise DecodeError(f"The MP4 file has {len(tables)} HEVC tracks, not one. {_REMUX}")
    return tables[0]


def _configuration(description: memoryview) -> tuple[list[bytes], int]:
    """Return VPS, SPS and PPS of a sample description box, and the bytes of a NAL unit's length."""
    entries = _boxes(description[8:])
    entry = next(entries[name][0] for name in _SAMPLE_ENTRIES if name in entries)
    record = _boxes(entry[_SAMPLE_ENTRY:])[b"hvcC"][0]
    units = list[bytes]()
    position = _HVCC_HEADER + 1
    for _ in range(record[_HVCC_HEADER]):
        (count,) = struct.unpack_from(">H", record, position + 1)
        position += 3
        for _ in range(count):
            (size,) = struct.unpack_from(">H", record, position)
            units.append(bytes(record[position + 2 : position + 2 + size]))
            position += 2 + size
    return units, 1 + (record[_HVCC_HEADER - 1] & 3)


def _samples(data: memoryview, table: Boxes, limits: Limits) -> Iterator[memoryview]:
    """Yield the samples, which lie one behind the other in chunks (8.7)."""
    sizes = _sizes(table[b"stsz"][0], limits)
    if sum(sizes) > len(data):
        raise DecodeError(f"{_DAMAGED}: its samples are larger than the file.")
    queue, left = iter(sizes), len(sizes)
    for start, samples in zip(_starts(table, limits), _samples_of_chunks(table), strict=False):
        for size in itertools.islice(queue, samples):
            if start + size > len(data):
                raise DecodeError(f"{_DAMAGED}: a sample lies beyond its end.")
            yield data[start : start + size]
            start += size
            left -= 1
    if left:
        raise DecodeError(f"{_DAMAGED}: {left} of its samples are in no chunk.")


def _sizes(box: memoryview, limits: Limits) -> Sequence[int]:
    """Return the sizes of the samples (8.7.3)."""
    same, count = struct.unpack_from(">II", box, 4)
    if count > limits.max_units:
        raise DecodeError(f"The MP4 file has more than {limits.max_units} samples.")
    return [same] * count if same else struct.unpack_from(f">{count}I", box, 12)


def _starts(table: Boxes, limits: Limits) -> tuple[int, ...]:
    """Return where the chunks start (8.7.5)."""
    box, code = (table[b"co64"][0], "Q") if b"co64" in table else (table[b"stco"][0], "I")
    (count,) = struct.unpack_from(">I", box, 4)
    if count > limits.max_units:
        raise DecodeError(f"The MP4 file has more than {limits.max_units} chunks.")
    return struct.unpack_from(f">{count}{code}", box, 8)


def _samples_of_chunks(table: Boxes) -> Iterator[int]:
    """Yield how many samples each chunk holds (8.7.4); the last number goes on for ever."""
    box = table[b"stsc"][0]
    (count,) = struct.unpack_from(">I", box, 4)
    runs = [struct.unpack_from(">II", box, 8 + 12 * index) for index in range(count)]
    for (first, samples), (following, _) in itertools.pairwise(runs):
        yield from itertools.repeat(samples, following - first)
    yield from itertools.repeat(runs[-1][1])


def _length_prefixed(sample: memoryview, prefix: int) -> Iterator[bytes]:
    """Yield the NAL units of a sample."""
    position = 0
    while position < len(sample):
        size = int.from_bytes(sample[position : position + prefix], "big")
        position += prefix
        if not 2 <= size <= len(sample) - position:
            raise DecodeError(f"{_DAMAGED}: a NAL unit is longer than its sample.")
        yield bytes(sample[position : position + size])
        position += size
