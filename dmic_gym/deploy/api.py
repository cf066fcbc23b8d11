"""`dmic_gym.encode` and `dmic_gym.decode`."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from dmic_gym.deploy.allocation import AnyAgent
from dmic_gym.deploy.coder import Encoding, Settings, encode_picture
from dmic_gym.deploy.decoding import UnprovenStreamWarning, decode_data
from dmic_gym.deploy.limits import DEFAULT_LIMITS, Limits
from dmic_gym.deploy.pictures import Picture
from dmic_gym.deploy.rates import checked_rate
from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.segmenters.protocol import SegmenterSpec
from dmic_gym.types import Samples

__all__ = ["Encoding", "Settings", "decode", "encode", "encode_picture"]


def encode(
    image: npt.NDArray[Any],
    *,
    agent: AnyAgent | None = None,
    qp: int = 32,
    target_dice: float | None = None,
    target_bytes: int | None = None,
    ctu_size: int = 64,
    preset: str = "medium",
    format: str = "hevc",
    bit_depth: int | None = None,
    fps: float = 25,
    segmenter: SegmenterSpec = None,
    strict: bool = False,
) -> bytes:
    """Code a grey picture, or several of one size, with bits where the diagnosis needs them.

    **Retained Dice.** The encoder knows no expert mask, so it asks its posterior b, the calibrated
    posterior of the shipped network (with another segmenter, that segmenter's probability on the
    reference). The expected Dice of a mask m is ``E(m) = 2 sum(b in m) / (|m| + sum(b))``. With m0
    the segmenter's mask on the uncompressed picture and m that on the decoded one, retained Dice
    is ``E(m) / E(m0)``, at most 1, and 1 where m0 has no expected Dice. Of several frames the
    lowest counts.

    Args:
        image: uint8 (H, W), uint16 (H, W) of 10 or 12 bits, or frames (N, H, W); sides 1..4096.
        agent: chooses the QP map: a name (``dmic list``), or an object with ``predict`` or
            ``plan``. None is the shipped policy where there is one, else "anchor".
        qp: base QP, 0..51; without targets only.
        target_dice: find the highest base QP whose retained Dice is at least this, 0..1.
        target_bytes: find the lowest base QP whose result has at most so many bytes.
        ctu_size: 64, 32 or 16.
        preset: x265's.
        format: "hevc" is Annex B in 4:0:0; "mp4" is MP4 with an ``hvc1`` track in 4:2:0, Main or
            Main 10, for ordinary players, up to 10 bits; "main" is the stream of "mp4" without
            the container.
        bit_depth: 10 or 12, where uint16 samples are all dark; None is the least that holds them.
        fps: frames a second, 0..1000, which "mp4" alone keeps.
        segmenter: the diagnosis network, see `dmic_gym.load_segmenter`; None is the shipped one.
        strict: refuse a policy that was trained for another CTU size, instead of warning.

    Returns:
        The file. `decode` returns its pictures, and refuses it if a bit of it has changed.

    Raises:
        InvalidInputError: an argument is none of the valid ones, or the target cannot be reached;
            the message names what can.
        CodecError, SegmenterError: a tool failed.
    """
    array = np.asarray(image)
    if array.ndim == 3 and array.shape[-1] in (3, 4):
        raise InvalidInputError(
            f"image of shape {array.shape} looks like colour: convert it to grey (H, W) first."
        )
    settings = Settings(agent, qp, target_dice, target_bytes, ctu_size, preset, segmenter, strict)
    rate = checked_rate(fps)
    return encode_picture(Picture.of(array, bit_depth), settings, format, rate).data


def decode(data: bytes, limits: Limits = DEFAULT_LIMITS, *, strict: bool = False) -> Samples:
    """Decode what `encode` returned, or any other HEVC stream.

    Damaged and cut data of `encode` are refused: they hold checksums of everything. Streams of
    other encoders give an `UnprovenStreamWarning`, which says what nothing in them proves.

    Args:
        data: Annex B or MP4.
        limits: bounds on size and time; what goes beyond is refused.
        strict: refuse streams of other encoders.

    Returns:
        uint8 or, beyond 8 bits, uint16; (H, W), or (N, H, W) for several frames. Of colour the
        luma, and of limited range the samples as they are coded.

    Raises:
        DecodeError: the data are damaged, cut, no HEVC, or beyond the limits.
        InvalidInputError: `data` is no `bytes`.
    """
    decoding = decode_data(data, limits, strict=strict)
    if decoding.word:
        warnings.warn(f"The stream was {decoding.word}.", UnprovenStreamWarning, stacklevel=2)
    return decoding.picture.samples
