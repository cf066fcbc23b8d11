"""Coding single pictures of 8, 10 or 12 bits, for streams that leave the house."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.frame import PictureType

from dmic_gym.codecs.base import MAX_QP, QPMap, check_ctu_size, check_qp_map
from dmic_gym.codecs.hevc.canvas import TIME_BASE, with_regions
from dmic_gym.codecs.hevc.encoder_pool import cropped
from dmic_gym.codecs.hevc.params import (
    Overrides,
    check_preset,
    level_params,
    regions_of_interest,
    slice_qp,
    x265_params,
)
from dmic_gym.codecs.hevc.picture import crop_filter, padded
from dmic_gym.codecs.hevc.selftest import require_working_offsets
from dmic_gym.errors import EncodeError, InvalidInputError

BIT_DEPTHS = (8, 10, 12)

Samples = npt.NDArray[np.unsignedinteger[Any]]
"""uint8, or uint16 beyond 8 bits."""


@dataclass(frozen=True)
class SampleFormat:
    """How samples are stored: depth, and whether there is chroma.

    Attributes:
        bit_depth: 8, 10 or 12.
        chroma: False is 4:0:0; True is 4:2:0 whose chroma is mid-grey everywhere.
    """

    bit_depth: int = 8
    chroma: bool = False

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger[Any]]:
        """Of one sample."""
        return np.dtype(np.uint8) if self.bit_depth == 8 else np.dtype(np.uint16)

    @property
    def max_qp(self) -> int:
        """The largest QP that is coded; larger ones become it.

        At 12 bits it is 49: FFmpeg (5.1 and 8, against x265's MD5 and libde265) decodes 50 and 51
        to wrong pictures.
        """
        return 49 if self.bit_depth == 12 else MAX_QP

    @property
    def pix_fmt(self) -> str:
        """FFmpeg's name."""
        depth = "" if self.bit_depth == 8 else f"{self.bit_depth}le"
        return ("yuv420p" if self.chroma else "gray") + depth

    @property
    def x265_params(self) -> Overrides:
        """Settings on top of the anchor's.

        ``hash`` adds an MD5 of the samples. With ``keyint=1`` x265 states the range extensions'
        profile; with 2 it states Main and Main 10 where they apply, and a single picture is intra
        all the same. (``vui-timing-info=0`` would save ten bytes, but x265 4.2 then writes an SPS
        of one bit too many, against E.2.1.)
        """
        shared: Overrides = {"hash": 1, "range": "full"}
        return {**shared, "keyint": 2} if self.chroma else shared


class FrameEncoder:
    """x265 with an exact QP per CTU, a fresh encoder for each picture.

    Every picture is an IDR picture with its own parameter sets, which are equal for all pictures
    of one size. Luma is full range, 0..2**bit_depth - 1, and the stream says so.

    Args:
        sample_format: of the pictures.
        ctu_size: 64, 32 or 16.
        preset: x265's.

    Raises:
        InvalidInputError: an argument is none of the valid ones.
    """

    def __init__(
        self,
        sample_format: SampleFormat = SampleFormat(),
        ctu_size: int = 64,
        preset: str = "medium",
    ) -> None:
        self.sample_format = sample_format
        self.ctu_size = check_ctu_size(ctu_size)
        self.preset = check_preset(preset)

    @property
    def configuration(self) -> tuple[str, ...]:
        """All that decides what this encoder makes of a picture and a map."""
        params = x265_params(0, self.ctu_size, self.x265_params)
        return type(self).__name__, self.sample_format.pix_fmt, self.preset, params

    @property
    def x265_params(self) -> dict[str, str | int | float]:
        """Settings on top of the anchor's."""
        return dict(self.sample_format.x265_params)

    def encode(self, samples: Samples, qp_map: QPMap) -> bytes:
        """Code one picture to an Annex B stream.

        Args:
            samples: (H, W), uint8 or, beyond 8 bits, uint16. In 4:2:0 an odd side is made even by
                repeating its last row or column; the stream has the even size.
            qp_map: integers (ceil(H / ctu_size), ceil(W / ctu_size)), absolute luma QPs 0..51;
                see `SampleFormat.max_qp`.

        Raises:
            InvalidInputError: the map does not fit.
            SelfTestError: this x265 ignores QP offsets.
            EncodeError: the encoder refused or failed.
        """
        require_working_offsets(self)
        return self.encode_bitstream(samples, qp_map)

    def encode_bitstream(self, image: Samples, qp_map: QPMap) -> bytes:
        """Code without the self-test; see `encode`. Samples of uint8 are scaled up to the depth."""
        asked = check_qp_map(qp_map, image.shape, self.ctu_size)
        qps = np.minimum(asked, self.sample_format.max_qp)
        even = _evened(image) if self.sample_format.chroma else image
        picture = padded(even, self.ctu_size)
        base_qp = slice_qp(qps)
        depth = self.sample_format.bit_depth
        if picture.dtype == np.uint8:
            picture = picture * self.sample_format.dtype.type(1 << depth - 8)
        regions = list(regions_of_interest(qps, base_qp, picture.shape, self.ctu_size, depth))
        frame = with_regions(self._frame(picture), regions)
        overrides = {**level_params(picture.shape, self.ctu_size), **self.x265_params}
        return self._run(
            frame,
            x265_params(base_qp, self.ctu_size, overrides),
            crop_filter(even.shape, self.ctu_size),
        )

    def _frame(self, picture: Samples) -> av.VideoFrame:
        height, width = picture.shape
        frame = av.VideoFrame(width, height, self.sample_format.pix_fmt)
        frame.pts, frame.time_base = 0, TIME_BASE
        frame.pict_type = PictureType.I
        dtype = self.sample_format.dtype
        for plane in frame.planes:
            np.frombuffer(memoryview(plane), dtype)[...] = 1 << self.sample_format.bit_depth - 1
        luma = np.frombuffer(memoryview(frame.planes[0]), dtype)
        luma.reshape(-1, frame.planes[0].line_size // dtype.itemsize)[:height, :width] = picture
        return frame

    def _run(self, frame: av.VideoFrame, params: str, crop: str | None) -> bytes:
        context = av.VideoCodecContext.create("libx265", "w")
        context.width, context.height = frame.width, frame.height
        context.pix_fmt = self.sample_format.pix_fmt
        context.time_base = TIME_BASE
        context.options = {"preset": self.preset, "x265-params": params}
        try:
            packets = context.encode(frame) or context.encode(None)
        except av.FFmpegError as error:
            raise EncodeError(
                f"x265 refused a {frame.width} x {frame.height} picture "
                f"({self.sample_format.pix_fmt}) with {params}: {error}"
            ) from error
        if len(packets) != 1:
            raise EncodeError(f"x265 returned {len(packets)} packets for one frame.")
        return bytes(cropped(packets[0], crop) if crop else packets[0])


def _evened(samples: Samples) -> Samples:
    height, width = samples.shape
    return np.pad(samples, ((0, height % 2), (0, width % 2)), mode="edge")


def check_bit_depth(bit_depth: int) -> int:
    """Return `bit_depth` if it is 8, 10 or 12, else raise InvalidInputError."""
    if bit_depth not in BIT_DEPTHS:
        nearest = min(BIT_DEPTHS, key=lambda depth: abs(depth - bit_depth))
        raise InvalidInputError(
            f"bit_depth={bit_depth!r} is none of 8, 10, 12. Nearest: {nearest}."
        )
    return bit_depth
