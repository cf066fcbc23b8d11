"""The evaluator of video: what the QP maps of a group of pictures cost, and what is still seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from threading import RLock
from typing import Literal, Self, TypeVar

import numpy as np

from dmic_gym.codecs.base import Codec, VideoCodec, VideoStream, map_shape, uniform_map
from dmic_gym.envs.cache import ByteBoundedCache
from dmic_gym.envs.evaluator import segmented
from dmic_gym.envs.parallel import processor_seconds, start_pool
from dmic_gym.envs.results import Figures, encode_result
from dmic_gym.envs.video_results import (
    FrameResult,
    GopAnchor,
    GopReference,
    GopResult,
    clip_key,
    gop_key,
    gop_result,
)
from dmic_gym.errors import InvalidInputError, unknown_name
from dmic_gym.tasks.data.clip import Clip, Gop
from dmic_gym.tasks.segmenters.protocol import Segmenter, segmenter_for_clip
from dmic_gym.types import AnyQPMap, Image, Probability, Samples

__all__ = [
    "FrameResult",
    "GopAnchor",
    "GopReference",
    "GopResult",
    "GopSession",
    "VideoEvaluator",
]

Item = TypeVar("Item")
Made = TypeVar("Made")

Importance = Literal["previous", "original"]
IMPORTANCES: tuple[Importance, ...] = ("previous", "original")
"""Where the importance map of a frame comes from."""


class VideoEvaluator:
    """Codes groups of pictures with QP maps and asks the segmenter what is left.

    Importance maps of original frames, uniform encodes, and figures and masks of anchors are
    computed once and kept, least recently used first out.

    Args:
        codec: the encoder, which has to predict frames from earlier ones.
        segmenter: the network; of a `PerClipSegmenter`, each clip has its own.
        importance: what an encoder knows of a frame before coding it: the segmenter's probability
            on the "previous" reconstruction, which it has anyway, or on the "original" frame. A
            group's first frame has no previous one, and is asked for itself.
        workers: threads that may code groups at once, see `map`; with 1 the caller's own. An
            evaluator with more cannot be pickled. A segmenter that does not say ``in_parallel =
            True`` is called by one of them at a time.
        cache_bytes: bound on the kept importance maps, and on the kept uniform encodes; half of it
            is for anchors.

    Raises:
        InvalidInputError: the codec codes stills only, or `importance` is neither.
    """

    codec: Codec

    def __init__(
        self,
        codec: Codec,
        segmenter: Segmenter,
        *,
        importance: Importance = "previous",
        workers: int = 1,
        cache_bytes: int = 256 << 20,
    ) -> None:
        if not isinstance(codec, VideoCodec):
            raise InvalidInputError(
                f'{type(codec).__name__} codes stills only: pass "x265" or a codec with video().'
            )
        if importance not in IMPORTANCES:
            raise unknown_name("importance", importance, IMPORTANCES)
        self.codec = self._video = codec
        self.segmenter = segmenter
        self.importance: Importance = importance
        self._pool = start_pool(workers) if workers > 1 else None
        alone = workers == 1 or getattr(segmenter, "in_parallel", False)
        self._turn: AbstractContextManager[object] = nullcontext() if alone else RLock()
        self._importance: ByteBoundedCache[Probability] = ByteBoundedCache(cache_bytes, _nbytes)
        self._uniform = ByteBoundedCache[tuple[GopResult, float]](
            cache_bytes, lambda kept: kept[0].nbytes
        )
        self._anchors: ByteBoundedCache[GopAnchor] = ByteBoundedCache(cache_bytes // 2, _nbytes)

    def reference(self, gop: Gop) -> GopReference:
        """Return what is known of a group before coding; the frames' importance maps are kept.

        Raises:
            SegmenterError: the segmenter failed.
        """
        clip, indices = gop.clip, range(gop.start, gop.stop)
        keys = [(clip_key(clip), index) for index in indices]

        def computed(missing: list[int]) -> list[Probability]:
            segmenter = self.segmenter_of(clip)
            return [self.segment(segmenter, clip.frames[indices[n]]) for n in missing]

        importance = self._importance.get_all(keys, computed)
        return GopReference(gop, gop_key(gop), np.stack(importance))

    def open(self, reference: GopReference, base_qp: int) -> GopSession:
        """Begin to code a group frame by frame.

        Args:
            reference: the group.
            base_qp: the QP that maps are coded relative to; a uniform map of it is the anchor.

        Raises:
            CodecError: the codec failed.
        """
        stream = self._video.video(reference.gop.clip.shape, base_qp)
        return GopSession(self, reference, stream)

    def score(
        self, reference: GopReference, base_qp: int, qp_maps: Sequence[AnyQPMap]
    ) -> GopResult:
        """Encode, decode and segment all frames of a group.

        Args:
            reference: the group.
            base_qp: see `open`.
            qp_maps: integers (rows, cols), one a frame.

        Raises:
            InvalidInputError: the maps do not fit the frames, or the segmenter's output is wrong.
            CodecError: the codec failed.
            SegmenterError: the segmenter failed.
        """
        if len(qp_maps) != len(reference.gop):
            raise InvalidInputError(
                f"{reference.name} has {len(reference.gop)} frames, got {len(qp_maps)} QP maps: "
                "pass one a frame."
            )
        with self.open(reference, base_qp) as session:
            for qp_map in qp_maps:
                session.encode(qp_map)
            return session.result()

    def uniform(self, reference: GopReference, qp: int) -> tuple[GopResult, float]:
        """Return the encode at constant `qp`, which is kept, and the seconds that keeping saved.

        See `Evaluator.uniform`.

        Raises:
            CodecError: the codec failed.
            SegmenterError: the segmenter failed.
        """
        made = False

        def timed() -> tuple[GopResult, float]:
            nonlocal made
            made, begin = True, processor_seconds()
            return self._at(reference, qp), processor_seconds() - begin

        result, seconds = self._uniform.get((reference.key, qp), timed)
        self._anchors.get((reference.key, qp), lambda: GopAnchor.of(result))
        return result, 0.0 if made else seconds

    def anchor(self, reference: GopReference, qp: int) -> Figures:
        """Return the anchor's figures at constant `qp`; each is encoded once."""
        return self.anchors(reference, [qp])[0]

    def anchors(self, reference: GopReference, qps: Sequence[int]) -> list[Figures]:
        """Return the anchor's figures at each of the constant `qps`; see `anchor`.

        Raises:
            CodecError: the codec failed.
            SegmenterError: the segmenter failed.
        """
        return [self.gop_anchor(reference, qp).figures for qp in qps]

    def gop_anchor(self, reference: GopReference, qp: int) -> GopAnchor:
        """Return the anchor at constant `qp` with the figures and masks of its frames, kept.

        Raises:
            CodecError: the codec failed.
            SegmenterError: the segmenter failed.
        """
        return self._anchors.get((reference.key, qp), lambda: GopAnchor.of(self._at(reference, qp)))

    def segmenter_of(self, clip: Clip) -> Segmenter:
        """Return the segmenter of a clip's frames."""
        with self._turn:
            return segmenter_for_clip(self.segmenter, clip)

    def segment(self, segmenter: Segmenter, frame: Samples) -> Probability:
        """Return a clip's segmenter's checked probability of one frame, float32 (H, W), a copy.

        Raises:
            InvalidInputError: the segmenter returned another shape, type or range.
            SegmenterError: the segmenter failed.
        """
        images = np.asarray(frame, np.uint8)[np.newaxis]
        with self._turn:
            probability: Probability = segmented(segmenter, images)[0].copy()
        return probability

    def map(self, call: Callable[[Item], Made], items: Sequence[Item]) -> list[Made]:
        """Return ``[call(item) for item in items]``, made by the threads where there are any."""
        if self._pool is None or len(items) == 1:
            return [call(item) for item in items]
        return list(self._pool.map(call, items))

    def close(self) -> None:
        """End the threads. The codec stays open: who made it closes it."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def map_shape(self, clip: Clip) -> tuple[int, int]:
        """Return (rows, cols) of the QP map of a clip's frames."""
        return map_shape(clip.shape, self.codec.ctu_size)

    def _at(self, reference: GopReference, qp: int) -> GopResult:
        gop = reference.gop
        qp_map = uniform_map(gop.clip.shape, self.codec.ctu_size, qp)
        return self.score(reference, qp, [qp_map] * len(gop))


class GopSession:
    """A group of pictures that is coded frame by frame; `VideoEvaluator.open` makes it.

    What is coded cannot be taken back. The session ends with its last frame, or by `close`.

    Attributes:
        reference: the group.
        frames: the results of the frames coded so far.
    """

    def __init__(
        self, evaluator: VideoEvaluator, reference: GopReference, stream: VideoStream
    ) -> None:
        self.reference = reference
        self.frames: list[FrameResult] = []
        self._evaluator = evaluator
        self._segmenter = evaluator.segmenter_of(reference.gop.clip)
        self._stream: VideoStream | None = stream

    @property
    def index(self) -> int:
        """Of the next frame, 0..T-1; T when all are coded."""
        return len(self.frames)

    @property
    def over(self) -> bool:
        """Whether all frames are coded."""
        return self.index == len(self.reference.gop)

    @property
    def frame(self) -> Image:
        """The next frame as it was recorded, uint8 (H, W)."""
        self._running()
        frame: Image = self.reference.gop.frames[self.index]
        return frame

    @property
    def importance(self) -> Probability:
        """What the encoder knows of the next frame, float32 (H, W); see `VideoEvaluator`."""
        self._running()
        if self._evaluator.importance == "original" or not self.frames:
            probability: Probability = self.reference.importance[self.index]
            return probability
        return self.frames[-1].probability

    @property
    def previous(self) -> Samples | None:
        """The reconstruction of the frame coded last, uint8 (H, W); None before the first."""
        return self.frames[-1].encoded.reconstruction if self.frames else None

    def encode(self, qp_map: AnyQPMap) -> FrameResult:
        """Code, decode and segment the next frame.

        Args:
            qp_map: integers (rows, cols), absolute QPs.

        Raises:
            InvalidInputError: all frames are coded, the map does not fit, or the segmenter's
                output is wrong.
            CodecError: the codec failed.
            SegmenterError: the segmenter failed.
        """
        stream = self._running()
        try:
            result = self._coded(stream, qp_map)
        except Exception:
            self.close()  # the encoder may be a frame ahead of the segmenter
            raise
        self.frames.append(result)
        if self.over:
            self.close()
        return result

    def result(self) -> GopResult:
        """Return what the whole group came to; raise InvalidInputError if frames are left."""
        if not self.over:
            raise InvalidInputError(
                f"{self.reference.name}: {self.index} of {len(self.reference.gop)} frames are "
                "coded. Call encode() for the others first."
            )
        return gop_result(self.reference, self.frames)

    def close(self) -> None:
        """Free encoder and decoder; doing it twice is harmless."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _running(self) -> VideoStream:
        if self._stream is None:
            raise InvalidInputError(
                f"{self.reference.name}: its {len(self.reference.gop)} frames are coded, or the "
                "session was closed, or a frame failed. Open another session."
            )
        return self._stream

    def _coded(self, stream: VideoStream, qp_map: AnyQPMap) -> FrameResult:
        reference = self.reference.frame(self.index)
        encoded = stream.encode(reference.sample.image, qp_map)
        probability = self._evaluator.segment(self._segmenter, encoded.reconstruction)
        found = encode_result(reference, encoded, probability, qp_map)
        return FrameResult(found.figures, encoded, found.mask, found.qp_map, probability)


def _nbytes(kept: Probability | GopAnchor) -> int:
    return kept.nbytes
