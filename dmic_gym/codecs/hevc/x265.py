"""The default codec: libx265 inside the process, through PyAV."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

import av

from dmic_gym.codecs.hevc.codec import HEVCCodec, Job
from dmic_gym.codecs.hevc.encoder_pool import EncoderKey, process_pool
from dmic_gym.codecs.hevc.selftest import require_working_offsets
from dmic_gym.codecs.hevc.video import X265Stream, coded_after_black
from dmic_gym.errors import EncodeError


class X265Codec(HEVCCodec):
    """HEVC coding by libx265 with an exact QP per CTU: stills by `encode`, frames by `video`.

    Args:
        ctu_size: 64, 32 or 16.
        preset: x265's speed preset; "medium" is the benchmark's, "ultrafast" trains fastest.
        x265_params: x265 settings that replace or extend ours, such as ``{"hash": 1}`` for an MD5
            in each picture. The self-test runs with them, so a setting that makes x265 drop QP
            offsets is refused.
        bit_depth: of the frames: 8, 10 or 12.
        chroma: False codes 4:0:0 (format range extensions profile); True codes 4:2:0 with
            mid-grey chroma, which is Main at 8 bits and Main 10 at 10.

    A uniform QP map gives byte for byte the anchor: x265 at that constant QP. Coding units
    without residual carry no QP of their own (Rec. ITU-T H.265, 8.6.1), every other one has
    exactly the QP of its CTU. Encoders of stills stay open between images, in one bounded
    pool for the whole process.

    Raises:
        InvalidInputError: an argument is none of the valid ones.
    """

    def video(self, shape: tuple[int, int], base_qp: int) -> X265Stream:
        """Begin a stream in Low Delay P: an IDR frame, then P frames with four references.

        Every frame has the QPs of its map, as stills have; of uniform maps of `base_qp` alone the
        coded slices are those of x265 at that constant QP. It stays open when the codec closes.

        Args:
            shape: (H, W) of its frames, sides 1..4096.
            base_qp: the QP that maps are coded relative to, within `qp_range`.

        Raises:
            InvalidInputError: an argument is none of the valid ones.
            SelfTestError: this x265 ignores QP offsets in P frames.
            EncodeError: the codec is closed.
        """
        self._check_open()
        stream = X265Stream(self, shape, base_qp)
        require_working_offsets(self, partial(coded_after_black, self), "P frames")
        return stream

    def close(self) -> None:
        """Free the kept encoders of this preset; encoding afterwards raises EncodeError."""
        super().close()
        process_pool().drop(lambda key: key.preset == self.preset)

    def _run(self, job: Job) -> bytes:
        key = EncoderKey(job.picture.shape, self.preset, job.params, job.sample_format)
        try:
            with process_pool().lend(key) as encoder:
                return encoder.encode(job.picture, job.regions, job.crop)
        except av.FFmpegError as error:
            raise EncodeError(
                f"x265 refused a {job.picture.shape} image at preset {self.preset!r} "
                f"with {job.params}: {error}"
            ) from error

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = self._ctu_size, self.preset, self.x265_params
        return partial(type(self), **asdict(self.sample_format)), arguments
