"""What a DICOM data set says of the HEVC video in it: pixels, time, level and loss."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from fractions import Fraction
from typing import TYPE_CHECKING

from dmic_gym.deploy.pictures import Picture
from dmic_gym.errors import InvalidInputError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

FRAME_MS = 40.0
LEAST_MS = 1.0
"""Frame time where the source has none, and the least that is believed."""

LEVEL_SAMPLES = 8_912_896
LEVEL_RATE = 534_773_760
LEVEL_BITS = 40_000_000
"""Samples a picture, samples and bits a second of level 5.1, Main tier (Rec. ITU-T H.265, A.4)."""


_METHODS = {
    "1.2.840.10008.1.2.4.50": "ISO_10918_1",
    "1.2.840.10008.1.2.4.51": "ISO_10918_1",
    "1.2.840.10008.1.2.4.81": "ISO_14495_1",
    "1.2.840.10008.1.2.4.91": "ISO_15444_1",
}
"""The method of transfer syntaxes that may be lossy, where a data set gives a ratio alone."""


def describe_pixels(derived: Dataset, picture: Picture) -> None:
    """Set what PS3.5 8.2.10 and 8.2.11 demand; odd sides are even in the stream."""
    if picture.bit_depth not in (8, 10):
        raise InvalidInputError(
            f"DICOM holds HEVC of 8 or 10 bits, the picture has {picture.bit_depth}: window it, "
            "or write .hevc."
        )
    height, width = picture.shape
    derived.Rows, derived.Columns = height + height % 2, width + width % 2
    derived.NumberOfFrames = len(picture.frames)
    derived.SamplesPerPixel = 3
    derived.PhotometricInterpretation = "YBR_PARTIAL_420"
    derived.PlanarConfiguration = 0
    derived.BitsAllocated = 8 if picture.bit_depth == 8 else 16
    derived.BitsStored = picture.bit_depth
    derived.HighBit = picture.bit_depth - 1
    derived.PixelRepresentation = 0


def describe_grey(derived: Dataset, picture: Picture) -> None:
    """Set what describes grey pixels of 8 or 16 bits (A.8.3.4, A.8.4.4, C.8.6.3)."""
    allocated = 8 if picture.bit_depth == 8 else 16
    derived.Rows, derived.Columns = picture.shape
    derived.NumberOfFrames = len(picture.frames)
    derived.SamplesPerPixel, derived.PhotometricInterpretation = 1, "MONOCHROME2"
    derived.BitsAllocated, derived.PixelRepresentation = allocated, 0
    derived.BitsStored, derived.HighBit = picture.bit_depth, picture.bit_depth - 1
    derived.PresentationLUTShape = "IDENTITY"
    derived.RescaleIntercept, derived.RescaleSlope, derived.RescaleType = 0, 1, "US"


def describe_time(derived: Dataset, frames: int, fps: float | None = None) -> Fraction:
    """Say how frames follow each other (C.7.6.5, C.7.6.6); return their mean rate per second."""
    from pydicom.datadict import tag_for_keyword

    keyword, frame_ms = _increments(derived, frames)
    if fps is not None:
        keyword, frame_ms = "FrameTime", 1000 / fps
    if frames > 1:
        derived.FrameTime = f"{frame_ms:.10g}"
        derived.FrameIncrementPointer = tag_for_keyword(keyword)
    return _rate(frame_ms)


def frame_rate(dataset: Dataset, frames: int) -> Fraction:
    """Return how many frames a second a data set says, else 25; the mean where they vary."""
    return _rate(_increments(dataset, frames)[1])


def _increments(dataset: Dataset, frames: int) -> tuple[str, float]:
    """Return the attribute that says when frames follow, and their mean distance in ms."""
    vector = _numbers(dataset.get("FrameTimeVector"))
    if (
        len(vector) == frames > 1
        and LEAST_MS <= (mean := sum(vector[1:]) / (frames - 1)) < math.inf
    ):
        return "FrameTimeVector", mean
    return "FrameTime", _frame_time(dataset)


def _rate(frame_ms: float) -> Fraction:
    return 1000 / Fraction(frame_ms).limit_denominator(1000)


def _frame_time(derived: Dataset) -> float:
    """Return milliseconds a frame, as far as the source tells."""
    rates = (derived.get("RecommendedDisplayFrameRate"), derived.get("CineRate"))
    known = _numbers(derived.get("FrameTime"))
    known += [1000 / rate for rate in itertools.chain(*map(_numbers, rates)) if rate > 0]
    return next((each for each in known if LEAST_MS <= each < math.inf), FRAME_MS)


def _numbers(value: object) -> list[float]:
    return [float(str(each)) for each in _listed(value)]


def check_level(derived: Dataset, size: int, rate: Fraction) -> None:
    """Raise InvalidInputError where level 5.1 of the Main tier has no room."""
    samples, frames = int(derived.Rows) * int(derived.Columns), int(derived.NumberOfFrames)
    if samples > LEVEL_SAMPLES or (frames > 1 and samples * rate > LEVEL_RATE):
        raise InvalidInputError(
            f"{float(rate):g} frames of {samples} samples a second are more than level 5.1 takes "
            f"({LEVEL_SAMPLES} a frame, {LEVEL_RATE} a second): write .hevc or .mp4."
        )
    if frames > 1 and 8 * size * rate > LEVEL_BITS * frames:
        raise InvalidInputError(
            f"{size} bytes in {float(frames / rate):g} s are more than level 5.1 takes "
            f"({LEVEL_BITS} bits a second): raise the QP, or write .hevc or .mp4."
        )


def describe_loss(
    derived: Dataset, picture: Picture, size: int, source: FileDataset | None
) -> None:
    """Append this compression to what was lost before, as many ratios as methods (C.7.6.1.1.5)."""
    original = picture.samples.nbytes
    ratios = _listed(derived.get("LossyImageCompressionRatio"))
    methods = _listed(derived.get("LossyImageCompressionMethod"))
    if len(methods) < len(ratios) and source is not None:
        methods += [_METHODS.get(source.file_meta.TransferSyntaxUID, "")]
    known = [pair for pair in zip(ratios, methods, strict=False) if all(pair)]
    ratios, methods = [ratio for ratio, _ in known], [method for _, method in known]
    derived.LossyImageCompression = "01"
    derived.LossyImageCompressionRatio = [*ratios, f"{original / size:.4g}"]
    derived.LossyImageCompressionMethod = [*methods, "ISO_23008_2"]


def _listed(value: object) -> list[object]:
    if isinstance(value, Iterable) and not isinstance(value, str):
        return list(value)
    return [] if value in (None, "") else [value]
