"""Codec control: pictures + QP maps -> bitstream -> pictures. Knows nothing of diagnosis or RL."""

from dmic_gym.codecs.base import (
    CTU_SIZES,
    QP_RANGE,
    Codec,
    Encoded,
    VideoCodec,
    VideoStream,
    map_shape,
    uniform_map,
)
from dmic_gym.codecs.hevc.decoder import Decoded, decode_stream
from dmic_gym.codecs.hevc.ffmpeg import FFmpegCodec
from dmic_gym.codecs.hevc.x265 import X265Codec

__all__ = [
    "CTU_SIZES",
    "QP_RANGE",
    "Codec",
    "Decoded",
    "Encoded",
    "FFmpegCodec",
    "VideoCodec",
    "VideoStream",
    "X265Codec",
    "decode_stream",
    "map_shape",
    "uniform_map",
]
