"""What a still-image codec at constant quality is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import ModuleType
from typing import Any, ClassVar

import cv2
import numpy as np

from dmic_gym.codecs.base import check_image
from dmic_gym.errors import DecodeError, EncodeError, InvalidInputError, MissingDependencyError
from dmic_gym.types import Image

TOOL_ERRORS = (RuntimeError, ValueError, cv2.error)


class StillCodec(ABC):
    """A still-image codec: grey, one quality for the whole image, deterministic.

    Its operating point is a quality of its own scale, where an HEVC codec has a base QP; higher
    is better and costs more. To add one, give a subclass these attributes, `_encode` and, if it
    is none of imagecodecs', `version` and `_decode`.

    Attributes:
        name: for tables and on the command line.
        qualities: operating points of a rate-distortion curve, ascending, whose Dice on 300x300
            angiograms covers that of the HEVC anchor at QP 22 to 47 as far as the format reaches.
        lowest, highest: bounds of the quality.
        library: imagecodecs' name of the format.
    """

    name: ClassVar[str]
    qualities: ClassVar[tuple[int, ...]]
    lowest: ClassVar[int] = 0
    highest: ClassVar[int] = 100
    library: ClassVar[str]

    @property
    def version(self) -> str:
        """Library and version that codes, such as ``"libjxl 0.11.2"``."""
        return str(getattr(imagecodecs(), f"{self.library}_version")())

    def encode(self, image: Image, quality: int) -> bytes:
        """Code an image to a file that any decoder of the format reads.

        Args:
            image: uint8 (H, W).
            quality: from `lowest` to `highest`.

        Raises:
            InvalidInputError: another array or quality.
            MissingDependencyError: the library is not installed.
            EncodeError: the encoder failed.
        """
        image = check_image(image)
        if not self.lowest <= quality <= self.highest:
            nearest = min(max(quality, self.lowest), self.highest)
            raise InvalidInputError(
                f"{self.name} has no quality {quality!r}: pass {self.lowest}..{self.highest}. "
                f"Nearest: {nearest}."
            )
        try:
            return self._encode(image, int(quality))
        except TOOL_ERRORS as error:
            raise EncodeError(f"{self.name} could not encode {image.shape}: {error}") from error

    def decode(self, data: bytes) -> Image:
        """Return the image in `data`, uint8 (H, W).

        Raises:
            MissingDependencyError: the library is not installed.
            DecodeError: `data` is not such a file, or damaged so that the decoder notices.
        """
        try:
            decoded = self._decode(data)
        except TOOL_ERRORS as error:
            raise DecodeError(f"{self.name} could not decode {len(data)} bytes: {error}") from error
        return np.ascontiguousarray(decoded, dtype=np.uint8)

    def payload_size(self, data: bytes) -> int:
        """Return how many bytes of a file of `encode` are the coded image, without container."""
        return len(data)

    def _decode(self, data: bytes) -> Any:
        return getattr(imagecodecs(), f"{self.library}_decode")(data, numthreads=1)

    @abstractmethod
    def _encode(self, image: Image, quality: int) -> bytes: ...

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def imagecodecs() -> ModuleType:
    """Import imagecodecs, or raise MissingDependencyError that says what to type."""
    try:
        import imagecodecs as found
    except ImportError as error:
        raise MissingDependencyError(
            "This codec needs imagecodecs: pip install dmic_gym[codecs]"
        ) from error
    module: ModuleType = found
    return module
