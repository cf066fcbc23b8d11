"""Low Delay P: frames that are predicted from those before them, each decoded at once."""

from __future__ import annotations

from typing import Self

import av
import numpy as np
from av.bitstream import BitStreamFilterContext
from av.video.frame import PictureType

from dmic_gym.codecs.base import Encoded, check_image, check_qp_map, check_shape
from dmic_gym.codecs.hevc.codec import HEVCCodec, Job
from dmic_gym.codecs.hevc.decoder import OpenDecoder
from dmic_gym.codecs.hevc.encoder_pool import EncoderKey, OpenEncoder, filtered
from dmic_gym.codecs.hevc.nal import slice_bits
from dmic_gym.errors import CodecError, EncodeError, InvalidInputError, checked_integer
from dmic_gym.types import AnyQPMap, Samples


class X265Stream:
    """Frames of one size coded one after the other by libx265; made by `X265Codec.video`.

    It holds an encoder and a decoder and serves one thread at a time. What is coded cannot be
    taken back; a stream in which x265 or the decoder failed is closed.
    """

    def __init__(self, codec: HEVCCodec, shape: tuple[int, int], base_qp: int) -> None:
        self._codec = codec
        self.shape = check_shape(shape)
        self.base_qp = checked_integer("base_qp", base_qp, *codec.qp_range)
        self._session: _Session | None = None
        self._closed = False

    def encode(self, frame: Samples, qp_map: AnyQPMap) -> Encoded:
        """Code the next frame and decode it: the first is IDR, every other one P.

        Args:
            frame: (H, W) of the stream, uint8, beyond 8 bits uint16 of 0..2**bit_depth - 1.
            qp_map: integers (ceil(H / ctu_size), ceil(W / ctu_size)), absolute QPs within the
                codec's `qp_range`.

        Returns:
            Its access unit, the first with the parameter sets of the stream, and the picture.

        Raises:
            InvalidInputError: frame or map have a wrong type, shape or range; nothing was coded.
            CodecError: encoder or decoder failed, or the stream is closed.
        """
        if self._closed:
            raise EncodeError("This stream is closed: begin another with codec.video(...).")
        job = self._job(frame, qp_map)
        try:
            return self._coded(job)
        except CodecError:
            self.close()
            raise

    def close(self) -> None:
        """Free the encoder and the decoder; encoding afterwards raises EncodeError."""
        self._closed, self._session = True, None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _job(self, frame: Samples, qp_map: AnyQPMap) -> Job:
        codec = self._codec
        checked = check_image(frame, codec.sample_format.bit_depth)
        if checked.shape != self.shape:
            raise InvalidInputError(
                f"frame has shape {checked.shape}, the stream's have {self.shape}: begin another "
                "stream for another size."
            )
        qps = check_qp_map(qp_map, self.shape, codec.ctu_size, codec.qp_range)
        return codec.job(checked, qps, self.base_qp, low_delay=True)

    def _coded(self, job: Job) -> Encoded:
        self._session = self._session or _Session(job, self._codec.preset)
        bitstream, picture = self._session.run(job)
        height, width = self.shape
        return Encoded(
            bitstream=bitstream,
            reconstruction=np.ascontiguousarray(picture[:height, :width]),
            bits=8 * len(bitstream),
            slice_bits=slice_bits(bitstream),
        )


class _Session:
    """The open encoder, filter and decoder of a stream."""

    def __init__(self, job: Job, preset: str) -> None:
        key = EncoderKey(job.picture.shape, preset, job.params, job.sample_format)
        self._encoder = OpenEncoder(key)
        self._crop = BitStreamFilterContext(job.crop, "hevc") if job.crop else None
        self._decoder = OpenDecoder()

    def run(self, job: Job) -> tuple[bytes, Samples]:
        try:
            packet = self._encoder.packet(job.picture, job.regions, PictureType.NONE)
            bitstream = bytes(filtered(packet, self._crop) if self._crop else packet)
        except av.FFmpegError as error:
            raise EncodeError(
                f"x265 refused a {job.picture.shape} frame with {job.params}: {error}"
            ) from error
        return bitstream, self._decoder.decode(bitstream)


def coded_after_black(codec: HEVCCodec, frame: Samples, qp_map: AnyQPMap) -> bytes:
    """Return a frame's access unit in a stream that begins with a black one: a P frame's."""
    with X265Stream(codec, frame.shape, int(qp_map.flat[0])) as stream:
        stream.encode(np.zeros_like(frame), qp_map)
        return stream.encode(frame, qp_map).bitstream
