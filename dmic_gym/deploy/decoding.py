"""Decoding HEVC of any origin: streams of ours are proven whole, others come with a word."""

from __future__ import annotations

from dataclasses import dataclass

from dmic_gym.deploy.endmark import is_marked
from dmic_gym.deploy.limits import DEFAULT_LIMITS, Limits
from dmic_gym.deploy.mp4 import from_mp4, is_mp4
from dmic_gym.deploy.pictures import Picture
from dmic_gym.deploy.streams import decode_stream, decode_within, picture_of, split
from dmic_gym.errors import DecodeError

NO_END_MARK = (
    "written by another encoder: the MD5 of each picture matches, but nothing says that none is "
    "missing"
)
NO_CHECKSUM = (
    "written by another encoder, with no checksum of its pictures: damage may have changed them"
)


class UnprovenStreamWarning(UserWarning):
    """Nothing in a stream proves that its pictures are the ones that were coded."""


@dataclass(frozen=True, eq=False)
class Decoding:
    """What a stream holds.

    Attributes:
        picture: its pictures; of colour the luma, of any range the samples as they are coded.
        word: what is not proven of them; empty for streams of ours.
    """

    picture: Picture
    word: str = ""


def decode_data(data: bytes, limits: Limits = DEFAULT_LIMITS, *, strict: bool = False) -> Decoding:
    """Decode an Annex B stream, or an MP4 file that holds one track of it.

    Args:
        data: of `encode`, or of any other HEVC encoder.
        limits: bounds on size and time; what goes beyond is refused.
        strict: refuse streams of other encoders, whose integrity nothing proves.

    Raises:
        DecodeError: the data are damaged, cut, of another format, beyond the limits, or refused by
            `strict`.
        InvalidInputError: `data` is no `bytes`.
    """
    stream = from_mp4(data, limits) if is_mp4(data) else data
    if is_marked(split(stream, limits)):
        return Decoding(decode_stream(stream, limits))
    decoded = decode_within(stream, limits)
    word = NO_END_MARK if decoded.verified else NO_CHECKSUM
    if strict:
        raise DecodeError(f"Refused by strict decoding: {word}.")
    return Decoding(picture_of(decoded), word)


def decode_picture(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Picture:
    """Return the pictures of data of `encode` alone; see `decode_data`."""
    return decode_data(data, limits, strict=True).picture
