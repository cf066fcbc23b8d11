"""What an agent sees of video: a frame as an image, and what was coded before it."""

from __future__ import annotations

from dataclasses import dataclass
from math import log2, sqrt
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from dmic_gym.envs.image_view import SIDE
from dmic_gym.envs.observations import (
    BASE_QP,
    FIXED,
    QP_SCALE,
    Observation,
    ObservationBuilder,
    empty_observations,
    observation_space,
)
from dmic_gym.envs.video_view import FrameView
from dmic_gym.types import Images, QPMap


class VideoFeatures(NamedTuple):
    """The entries of the observation's ``video``, in order; see `VideoCodingEnv`."""

    level: float
    position: float
    first: float
    frame_offset: float
    bits_so_far: float
    consistency: float
    qp_before: float
    residual_mean: float
    residual_max: float


VIDEO_FEATURES = VideoFeatures._fields
"""Names of the entries of ``video``, in order."""

FRAME_LEVEL, CTU_LEVEL = 0, 1


@dataclass(frozen=True)
class Progress:
    """How far a group of pictures is coded, as an encoder knows it before the next frame.

    Attributes:
        position: index of the frame by the number of frames, 0 for the first.
        pixels: of the frames coded so far.
        bits: of the frames coded so far.
        consistency: consistency Dice of the last frame, 0 before the first.
        qp_map: int16 (rows, cols), of the last frame; None before the first.
    """

    position: float = 0.0
    pixels: int = 0
    bits: int = 0
    consistency: float = 0.0
    qp_map: QPMap | None = None


def video_observation_space() -> spaces.Dict:
    """Return the space of observations; `VideoCodingEnv` documents its keys."""
    picture = spaces.Box(0, 255, (2, SIDE, SIDE), np.uint8)
    low = np.array(VideoFeatures(0, 0, 0, -1, 0, 0, 0, 0, 0), np.float32)
    video = spaces.Box(low, np.ones_like(low), dtype=np.float32)
    added: dict[str, spaces.Space[Any]] = {"previous": picture, "previous_ctu": picture}
    return spaces.Dict({**observation_space().spaces, **added, "video": video})


class VideoObservationBuilder(ObservationBuilder):
    """Builds the observations of a frame that is decided as a whole, by its CTUs, or both.

    Args:
        arrays: from `empty_observations` of `video_observation_space`; None makes some for one.
        row: the place of this frame in `arrays`.

    Attributes:
        frame_qp: QP of the frame, which stands for CTUs that are undecided.
        level: what the next action sets: `FRAME_LEVEL` or `CTU_LEVEL`.
    """

    def __init__(self, arrays: Observation | None = None, row: int = 0) -> None:
        space = video_observation_space()
        super().__init__(empty_observations(1, space) if arrays is None else arrays, row)
        self.frame_qp, self.level = 0, CTU_LEVEL
        self._progress = Progress()
        self._frame: FrameView | None = None

    def begin_frame(self, view: FrameView, base_qp: int, progress: Progress, level: int) -> None:
        """Start with a frame of which nothing is decided."""
        self._frame, self._progress = view, progress
        self.frame_qp, self.level = base_qp, level
        self.arrays["previous"][self._row] = view.previous
        self.begin(view, base_qp)
        if level == FRAME_LEVEL:
            self._observe_frame(view)

    def decide_frame(self, qp: int) -> None:
        """Set the frame's QP and go to its first CTU."""
        view = self._frame
        assert view is not None
        self.frame_qp, self.level = qp, CTU_LEVEL
        self.begin(view, self.base_qp)

    def qp_map(self) -> QPMap:
        """Return the QP map, int16 (rows, cols); the frame's QP where undecided."""
        view = self._frame
        assert view is not None
        undecided = [self.frame_qp] * (view.count - len(self._qps))
        return np.array(self._qps + undecided, np.int16).reshape(view.rows, view.cols)

    def _observe(self, view: FrameView, index: int) -> None:  # type: ignore[override]
        super()._observe(view, index)
        before = self._progress.qp_map
        window = view.previous_window(index)
        self.arrays["previous_ctu"][self._row] = window
        self._observe_video(window, 0 if before is None else int(before.flat[index]))

    def _observe_frame(self, view: FrameView) -> None:
        """Show the whole frame in the place of a CTU."""
        before = self._progress.qp_map
        self.arrays["ctu"][self._row] = view.frame
        self.arrays["previous_ctu"][self._row] = view.previous
        self.arrays["progress"][self._row, 0] = 255
        features = self.arrays["features"][self._row]
        features[:] = 0.0
        features[FIXED] = view.fixed.mean(axis=0)
        features[BASE_QP] = self.base_qp / QP_SCALE
        self._observe_video(view.previous, 0.0 if before is None else float(before.mean()))

    def _observe_video(self, previous: Images, qp_before: float) -> None:
        so_far = self._progress
        rate = so_far.bits / so_far.pixels if so_far.pixels else 0.0
        residual = previous[1]
        self.arrays["video"][self._row] = VideoFeatures(
            level=self.level,
            position=so_far.position,
            first=float(so_far.qp_map is None),
            frame_offset=(self.frame_qp - self.base_qp) / QP_SCALE,
            bits_so_far=min(log2(1.0 + 255.0 * rate) / 8.0, 1.0),
            consistency=so_far.consistency,
            qp_before=qp_before / QP_SCALE,
            residual_mean=min(3.0 * sqrt(residual.mean() / 255.0), 1.0),
            residual_max=residual.max() / 255.0,
        )
