"""Still-image codecs at constant quality: what would be used today in place of HEVC."""

from __future__ import annotations

from collections.abc import Mapping

from dmic_gym.codecs.stills.base import StillCodec
from dmic_gym.codecs.stills.formats import AVIF, JPEG, JPEG2000, JPEGXL, WebP

__all__ = ["AVIF", "JPEG", "JPEG2000", "JPEGXL", "STILLS", "StillCodec", "WebP"]

STILLS: Mapping[str, StillCodec] = {
    codec.name: codec for codec in (JPEG(), JPEG2000(), WebP(), AVIF(), JPEGXL())
}
"""Still codecs by name."""
