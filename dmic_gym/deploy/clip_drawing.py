"""Coded clips side by side: as a video, and as a strip of a few frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from dmic_gym.agents.video_planning import GopPlanner
from dmic_gym.envs.rendering import agreement, captioned
from dmic_gym.envs.video_evaluator import FrameResult, VideoEvaluator
from dmic_gym.errors import EncodeError
from dmic_gym.tasks.data.clip import Clip
from dmic_gym.types import RGB, Masks

_GAP = 4


@dataclass(frozen=True, eq=False)
class CodedClip:
    """A clip that a planner has coded.

    Attributes:
        base_qp: it began with.
        frames: results, one a frame.
        scored: which frames count.
    """

    base_qp: int
    frames: Sequence[FrameResult]
    scored: Sequence[bool]

    @property
    def bits(self) -> int:
        """Of all frames, parameter sets included."""
        return sum(frame.encoded.bits for frame in self.frames)

    @property
    def quality(self) -> float:
        """Mean Dice over the scored frames, consistency Dice without expert masks."""
        pairs = zip(self.frames, self.scored, strict=True)
        return float(np.mean([frame.figures.quality for frame, counts in pairs if counts]))


def code(
    evaluator: VideoEvaluator, planner: GopPlanner, clip: Clip, base_qp: int, length: int
) -> CodedClip:
    """Let a planner code a clip in groups of `length` frames.

    Raises:
        CodecError: the encoder or decoder failed.
        SegmenterError: the segmenter failed.
    """
    references = [evaluator.reference(gop) for gop in clip.gops(length)]
    plans = [planner.plan(evaluator, reference, base_qp) for reference in references]
    frames = [frame for plan in plans for frame in plan.result.frames]
    return CodedClip(base_qp, frames, [bool(s) for one in references for s in one.scored])


def nearest_in_bits(
    evaluator: VideoEvaluator, planner: GopPlanner, clip: Clip, bits: int, length: int
) -> CodedClip:
    """Return the encode whose bits are nearest to `bits` in ratio, over all base QPs.

    Bits are taken to fall as the base QP rises, so that six encodes suffice.
    """
    low, high = evaluator.codec.qp_range
    tried: list[CodedClip] = []
    while low <= high:
        tried.append(code(evaluator, planner, clip, (low + high) // 2, length))
        if tried[-1].bits > bits:
            low = tried[-1].base_qp + 1
        else:
            high = tried[-1].base_qp - 1
    return min(tried, key=lambda coded: abs(np.log(coded.bits / bits)))


def truth_of(evaluator: VideoEvaluator, clip: Clip, length: int) -> Masks:
    """Return the expert masks, or those of the segmenter on the original frames."""
    if clip.masks is not None:
        return clip.masks
    return np.concatenate([evaluator.reference(gop).masks for gop in clip.gops(length)])


def draw_frame(coded: CodedClip, truth: Masks, index: int, title: str) -> RGB:
    """Draw a decoded frame, and below it where its mask and the true one agree.

    Green is found, blue is missed, red is invented.
    """
    frame = coded.frames[index]
    decoded = np.asarray(frame.encoded.reconstruction, np.uint8)
    plain = np.repeat(decoded[:, :, np.newaxis], 3, axis=2)
    caption = f"frame {index}, {frame.encoded.bits // 8} bytes, Dice {frame.figures.quality:.3f}"
    masks = agreement(decoded, frame.mask, truth[index])
    return np.concatenate([captioned(plain, title), captioned(masks, caption)])


def draw_pair(titled: Mapping[str, CodedClip], truth: Masks, index: int) -> RGB:
    """Draw one frame of several encodes side by side."""
    return _beside([draw_frame(coded, truth, index, title) for title, coded in titled.items()])


def draw_strip(titled: Mapping[str, CodedClip], truth: Masks, count: int = 5) -> RGB:
    """Draw `count` frames, evenly spaced to the last, a row for each encode."""
    indices = np.linspace(0, len(truth) - 1, count + 1).round().astype(int)[1:].tolist()
    return np.concatenate(
        [
            _beside([draw_frame(coded, truth, index, title) for index in indices])
            for title, coded in titled.items()
        ]
    )


def _beside(pictures: Sequence[RGB]) -> RGB:
    gap = np.full((pictures[0].shape[0], _GAP, 3), 255, np.uint8)
    return np.concatenate([part for one in pictures for part in (gap, one)][1:], axis=1)


def write_video(pictures: Sequence[RGB], path: Path, rate: int = 8) -> None:
    """Write pictures of one size as an MP4 that browsers play (H.264).

    Raises:
        EncodeError: FFmpeg failed, or the file cannot be written.
    """
    height, width = (side - side % 2 for side in pictures[0].shape[:2])
    try:
        with av.open(str(path), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=rate, options={"crf": "16"})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for picture in pictures:
                pixels = np.ascontiguousarray(picture[:height, :width])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode(None))
    except (av.FFmpegError, OSError) as error:
        raise EncodeError(f"FFmpeg could not write {str(path)!r}: {error}") from error
