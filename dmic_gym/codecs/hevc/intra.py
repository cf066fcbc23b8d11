"""What both x265 codecs share: checking, fitting the picture, the self-test, decoding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

from dmic_gym.codecs.base import (
    Encoded,
    Image,
    QPMap,
    check_ctu_size,
    check_image,
    check_qp_map,
)
from dmic_gym.codecs.hevc.decoder import decode_picture
from dmic_gym.codecs.hevc.nal import slice_bits
from dmic_gym.codecs.hevc.params import (
    Overrides,
    RegionOfInterest,
    check_preset,
    level_params,
    regions_of_interest,
    slice_qp,
    x265_params,
)
from dmic_gym.codecs.hevc.picture import crop_filter, padded
from dmic_gym.codecs.hevc.selftest import require_working_offsets
from dmic_gym.errors import EncodeError


@dataclass(frozen=True, eq=False)
class Job:
    """One picture as x265 is asked to code it.

    Attributes:
        picture: uint8 (H, W), at least a CTU a side.
        regions: QP offsets relative to the slice QP.
        params: the x265 parameter string, slice QP included.
        crop: FFmpeg bitstream filter that signals the true size, or None.
    """

    picture: Image
    regions: list[RegionOfInterest]
    params: str
    crop: str | None


class IntraCodec(ABC):
    """An all-intra x265 codec; subclasses say how a `Job` reaches x265."""

    def __init__(
        self, ctu_size: int = 64, preset: str = "medium", x265_params: Overrides | None = None
    ) -> None:
        self._ctu_size = check_ctu_size(ctu_size)
        self.preset = check_preset(preset)
        self.x265_params = dict(x265_params or {})
        self._closed = False

    @property
    def ctu_size(self) -> int:
        """Side of a CTU in luma samples."""
        return self._ctu_size

    def encode(self, image: Image, qp_map: QPMap) -> Encoded:
        """Code `image` with `qp_map` and decode the result.

        Args:
            image: uint8 (H, W), sides 1..4096.
            qp_map: integers (ceil(H / ctu_size), ceil(W / ctu_size)), absolute QPs 0..51.

        Raises:
            InvalidInputError: image or map has a wrong type, shape or range.
            SelfTestError: this x265 ignores QP offsets.
            EncodeError: the encoder refused, failed or is closed.
        """
        require_working_offsets(self)
        bitstream = self.encode_bitstream(image, qp_map)
        return Encoded(
            bitstream=bitstream,
            reconstruction=self.decode(bitstream),
            bits=8 * len(bitstream),
            slice_bits=slice_bits(bitstream),
        )

    def encode_bitstream(self, image: Image, qp_map: QPMap) -> bytes:
        """Code without decoding and without self-test; see `encode`."""
        if self._closed:
            raise EncodeError(f"This codec is closed: make a new {type(self).__name__}.")
        image = check_image(image)
        qps = check_qp_map(qp_map, image.shape, self._ctu_size)
        picture = padded(image, self._ctu_size)
        base_qp = slice_qp(qps)
        overrides = {**level_params(picture.shape, self._ctu_size), **self.x265_params}
        job = Job(
            picture=picture,
            regions=list(regions_of_interest(qps, base_qp, picture.shape, self._ctu_size)),
            params=x265_params(base_qp, self._ctu_size, overrides),
            crop=crop_filter(image.shape, self._ctu_size),
        )
        return self._run(job)

    def decode(self, bitstream: bytes) -> Image:
        """Decode a stream of one 8-bit 4:0:0 picture to uint8 (H, W); raise DecodeError if not."""
        return decode_picture(bitstream)

    def close(self) -> None:
        """Free what the codec holds; encoding afterwards raises EncodeError."""
        self._closed = True

    @property
    def configuration(self) -> tuple[str, ...]:
        """All that decides what this codec makes of an image and a map, as a key for caches."""
        params = x265_params(0, self._ctu_size, self.x265_params)
        return type(self).__name__, self.preset, params

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(ctu_size={self._ctu_size}, preset={self.preset!r})"

    @abstractmethod
    def _run(self, job: Job) -> bytes: ...
