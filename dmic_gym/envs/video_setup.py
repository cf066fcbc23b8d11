"""What the environments of video share: clips, evaluator, draws, verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

from dmic_gym.envs.dataset_cache import DatasetCache
from dmic_gym.envs.evaluator import TOOL_ERRORS, ToolError
from dmic_gym.envs.settings import check_base_qps, find_item
from dmic_gym.envs.setup import EncoderSetup
from dmic_gym.envs.video_episode import VideoEpisode
from dmic_gym.envs.video_evaluator import VideoEvaluator
from dmic_gym.envs.video_observations import VideoObservationBuilder
from dmic_gym.envs.video_results import FrameResult
from dmic_gym.envs.video_settings import Mode, VideoCodingSettings, make_clips
from dmic_gym.envs.video_verdict import FrameVerdict, failed, judge
from dmic_gym.errors import InvalidInputError, checked_integer
from dmic_gym.tasks.data.clip import Clip, Gop
from dmic_gym.types import RGB

if TYPE_CHECKING:
    from dmic_gym.tasks.data.clips.registry import ClipSpec

_CLIP_BYTES = 768 << 20
"""Bound on the kept clips: synthetic ones take half a second to make, 2.6 MB to keep."""


class VideoSetup(EncoderSetup):
    """Chooses groups of pictures and base QPs, and owns the evaluator.

    Args:
        settings: what the user chose.
        workers: threads that encode.

    Attributes:
        evaluator: encoder and segmenter.
        mode: what a step decides.
        gop: frames in a group.
    """

    def __init__(self, settings: VideoCodingSettings, *, workers: int = 1) -> None:
        super().__init__(settings)
        self.mode: Mode = settings.mode
        self.gop = settings.gop
        self._clips = DatasetCache(settings.load_clips(), _CLIP_BYTES)
        self.evaluator = VideoEvaluator(
            self._codec,
            settings.load_segmenter(),
            importance=settings.importance,
            workers=workers,
        )

    @property
    def dataset(self) -> Sequence[Clip]:
        """Where clips come from."""
        return self._clips.dataset

    @dataset.setter
    def dataset(self, dataset: ClipSpec) -> None:
        self._clips = DatasetCache(make_clips(dataset), _CLIP_BYTES)

    def _draw(self, rng: np.random.Generator, options: Mapping[str, Any] | None) -> tuple[Gop, int]:
        """Return frames and base QP of an episode: those of `options`, else random ones."""
        options = options or {}
        if unknown := sorted(options.keys() - {"clip", "start", "base_qp"}):
            raise InvalidInputError(
                f"reset(options=...) has unknown keys {unknown}. Valid: clip, start, base_qp."
            )
        choice, start, qp = (options.get(key) for key in ("clip", "start", "base_qp"))
        if choice is None:
            clip = self._clips[int(rng.integers(len(self._clips)))]
        else:
            clip = find_item(self._clips, choice, Clip)
        if start is None:
            start = int(rng.integers(max(len(clip) - self.gop, 0) + 1))
        start = checked_integer("options['start']", start, 0, len(clip) - 1)
        gop = Gop(clip, start, min(start + self.gop, len(clip)))
        if qp is None:
            return gop, self.base_qps[int(rng.integers(len(self.base_qps)))]
        return gop, check_base_qps([qp], self._qp_range)[0]

    def _begin(self, builder: VideoObservationBuilder, gop: Gop, base_qp: int) -> VideoEpisode:
        """Begin an episode."""
        reference = self.evaluator.reference(gop)
        return VideoEpisode(self.evaluator, builder, reference, base_qp, self.mode)

    def _qp(self, episode: VideoEpisode, action: int) -> int:
        """Return the QP that an action comes to."""
        return int(self._qps_of(episode.builder.frame_qp)[action])

    def _verdict(self, episode: VideoEpisode, found: FrameResult | ToolError) -> FrameVerdict:
        """Pay for the frame coded last, or end an episode that a tool's failure has hit.

        Raises:
            CodecError, SegmenterError: too many episodes in a row have failed.
        """
        try:
            if isinstance(found, TOOL_ERRORS):
                raise found
            verdict = judge(self.reward, episode, found)
        except TOOL_ERRORS as error:
            verdict = failed(episode, error)
            self._failures.add(error)
            return verdict
        if verdict.terminated:
            self._failures.clear()
        return verdict

    def _free(self) -> None:
        """End the threads, and close the codec if this environment made it."""
        self.evaluator.close()
        super()._free()


def picture_of(setup: VideoSetup, episode: VideoEpisode) -> RGB | None:
    """Draw the current frame and the encode of the one coded last."""
    if setup.render_mode is None:
        gym.logger.warn('render() needs gym.make(..., render_mode="rgb_array").')
        return None
    from dmic_gym.envs.rendering import PANEL_SIDE, draw

    frames, reference = episode.frames, episode.reference
    current = min(len(frames), len(reference.gop) - 1)
    last = reference.frame(len(frames) - 1) if frames else None
    return draw(
        reference.frame(current),
        episode.qp_maps[current],
        setup.ctu_size,
        frames[-1] if frames else None,
        of=None if episode.session.over else last,
        side=PANEL_SIDE,
    )


def reset_info(episode: VideoEpisode) -> dict[str, Any]:
    """Return the info of a reset; `VideoCodingEnv` documents it."""
    gop = episode.reference.gop
    names = {"sample": gop.name, "clip": gop.clip.name, "start": gop.start}
    return {**names, "base_qp": episode.base_qp}
