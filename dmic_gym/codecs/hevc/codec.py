"""What both x265 codecs share: checking, fitting the pictures, the self-test, decoding."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from dmic_gym.codecs.base import (
    Encoded,
    QPRange,
    check_ctu_size,
    check_frames,
    check_qp_map,
    map_shape,
)
from dmic_gym.codecs.hevc.decoder import decode_stream
from dmic_gym.codecs.hevc.nal import slice_bits
from dmic_gym.codecs.hevc.params import (
    LOW_DELAY_P,
    Overrides,
    check_preset,
    level_params,
    slice_qp,
    x265_params,
)
from dmic_gym.codecs.hevc.picture import SampleFormat, crop_filter, padded
from dmic_gym.codecs.hevc.regions import Regions, regions_of_interest
from dmic_gym.codecs.hevc.selftest import require_working_offsets
from dmic_gym.errors import EncodeError, InvalidInputError
from dmic_gym.types import AnyQPMap, QPMap, Samples

_LEAST_WIDTH = 2
"""In CTUs, in Low Delay P. With one, P frames of x265 4.2 differ from run to run, and no decoder
returns the pictures whose MD5 it writes."""


@dataclass(frozen=True, eq=False)
class Job:
    """One picture as x265 is asked to code it.

    Attributes:
        picture: (H, W), at least a CTU a side, in Low Delay P wider than one; even in 4:2:0.
        sample_format: its depth, and whether chroma is to be coded with it.
        regions: QP offsets relative to the slice QP.
        params: the x265 parameter string, slice QP included.
        crop: FFmpeg bitstream filter that signals the true size, or None.
    """

    picture: Samples
    sample_format: SampleFormat
    regions: Regions
    params: str
    crop: str | None

    @property
    def chroma(self) -> Samples:
        """The samples of both chroma planes, one after the other."""
        count = self.picture.size // 2 if self.sample_format.chroma else 0
        return np.full(count, self.sample_format.mid_grey, self.sample_format.dtype)


class HEVCCodec(ABC):
    """HEVC intra coding by x265; subclasses say how a `Job` reaches x265."""

    def __init__(
        self,
        ctu_size: int = 64,
        preset: str = "medium",
        x265_params: Overrides | None = None,
        *,
        bit_depth: int = 8,
        chroma: bool = False,
    ) -> None:
        self._ctu_size = check_ctu_size(ctu_size)
        self.preset = check_preset(preset)
        self.x265_params = dict(x265_params or {})
        self.sample_format = SampleFormat(bit_depth, chroma)
        self._closed = False

    @property
    def ctu_size(self) -> int:
        """Side of a CTU in luma samples."""
        return self._ctu_size

    @property
    def qp_range(self) -> QPRange:
        """Lowest and highest QP: 0..51, at 12 bits 0..49."""
        return self.sample_format.qp_range

    def encode(self, frames: Sequence[Samples], qp_maps: Iterable[AnyQPMap]) -> list[Encoded]:
        """Code pictures of one size, each by itself, and decode them again.

        Args:
            frames: (H, W) each, sides 1..4096; uint8, beyond 8 bits uint16 of 0..2**bit_depth - 1.
            qp_maps: as many, integers (ceil(H / ctu_size), ceil(W / ctu_size)), absolute QPs
                within `qp_range`. Each is asked for when its frame is coded.

        Returns:
            One `Encoded` a frame: an IDR picture with its parameter sets, which are equal for all.
            In 4:2:0 an odd side is coded with its last row or column repeated, and decoders show
            it; `Encoded.reconstruction` has the frame's size.

        Raises:
            InvalidInputError: frames or maps have a wrong type, shape, range or number.
            SelfTestError: this x265 ignores QP offsets.
            EncodeError: the encoder refused, failed or is closed.
        """
        checked = check_frames(frames, self.sample_format.bit_depth)
        require_working_offsets(self, self.encode_bitstream, "stills")
        return [self._encoded(frame, qp_map) for frame, qp_map in _paired(checked, qp_maps)]

    def encode_bitstream(self, frame: Samples, qp_map: AnyQPMap) -> bytes:
        """Code one checked frame without decoding and without self-test; see `encode`."""
        self._check_open()
        qps = check_qp_map(qp_map, frame.shape, self._ctu_size, self.qp_range)
        return self._run(self.job(frame, qps, slice_qp(qps)))

    def decode(self, bitstream: bytes) -> Samples:
        """Return the luma of any HEVC stream's pictures, (N, H, W); see `decode_stream`."""
        return decode_stream(bitstream).frames

    def close(self) -> None:
        """Free what the codec holds; encoding afterwards raises EncodeError."""
        self._closed = True

    def job(self, frame: Samples, qps: QPMap, base_qp: int, *, low_delay: bool = False) -> Job:
        """Return how x265 is asked to code a checked frame: as a still, or in Low Delay P."""
        ctu_size, sample_format = self._ctu_size, self.sample_format
        even = sample_format.even(frame.shape)
        least = _LEAST_WIDTH * ctu_size if low_delay and even[1] <= ctu_size else ctu_size
        picture = padded(frame, (max(even[0], ctu_size), max(even[1], least)))
        regions = regions_of_interest(
            padded(qps, map_shape(picture.shape, ctu_size)),
            base_qp,
            picture.shape,
            ctu_size,
            sample_format.bit_depth,
        )
        return Job(
            picture=picture,
            sample_format=sample_format,
            regions=regions,
            params=self._params(base_qp, picture.shape, low_delay=low_delay),
            crop=crop_filter(even, picture.shape),
        )

    @property
    def configuration(self) -> tuple[str, ...]:
        """All that decides what this codec makes of a picture and a map, as a key for caches."""
        return type(self).__name__, self.preset, self.sample_format.pix_fmt, self._params(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        depth, chroma = self.sample_format.bit_depth, self.sample_format.chroma
        more = f", bit_depth={depth}, chroma={chroma}" if depth > 8 or chroma else ""
        return f"{type(self).__name__}(ctu_size={self._ctu_size}, preset={self.preset!r}{more})"

    @abstractmethod
    def _run(self, job: Job) -> bytes: ...

    def _check_open(self) -> None:
        if self._closed:
            raise EncodeError(f"This codec is closed: make a new {type(self).__name__}.")

    def _params(self, qp: int, shape: tuple[int, int] = (0, 0), *, low_delay: bool = False) -> str:
        structure = {**self.sample_format.x265_params, **(LOW_DELAY_P if low_delay else {})}
        level = level_params(shape, self._ctu_size)
        return x265_params(qp, self._ctu_size, {**level, **structure, **self.x265_params})

    def _encoded(self, frame: Samples, qp_map: AnyQPMap) -> Encoded:
        bitstream = self.encode_bitstream(frame, qp_map)
        height, width = frame.shape
        return Encoded(
            bitstream=bitstream,
            reconstruction=np.ascontiguousarray(self.decode(bitstream)[0, :height, :width]),
            bits=8 * len(bitstream),
            slice_bits=slice_bits(bitstream),
        )


def _paired(
    frames: Sequence[Samples], qp_maps: Iterable[AnyQPMap]
) -> Iterator[tuple[Samples, AnyQPMap]]:
    """Yield each frame with its map; raise InvalidInputError if there are more of one kind."""
    for frame, qp_map in itertools.zip_longest(frames, qp_maps):
        if frame is None or qp_map is None:
            raise InvalidInputError(f"{len(frames)} frames need as many QP maps, no more or fewer.")
        yield frame, qp_map
