"""One episode of video: a group of pictures that is decided and coded frame by frame."""

from __future__ import annotations

import numpy as np

from dmic_gym.envs.evaluator import TOOL_ERRORS, Anchors, ToolError
from dmic_gym.envs.results import Reference
from dmic_gym.envs.video_evaluator import GopReference, VideoEvaluator
from dmic_gym.envs.video_observations import (
    CTU_LEVEL,
    FRAME_LEVEL,
    Progress,
    VideoObservationBuilder,
)
from dmic_gym.envs.video_results import FrameResult
from dmic_gym.envs.video_settings import Mode
from dmic_gym.envs.video_view import FrameView
from dmic_gym.types import QPMap


class VideoEpisode:
    """Decides the QPs of a group's frames and codes each when it is decided.

    Args:
        evaluator: encoder and segmenter.
        builder: shows the frames.
        reference: the group.
        base_qp: the anchor's.
        mode: what a step decides.

    Attributes:
        evaluator, builder, reference, base_qp: as given.
        session: the frames coded so far.
        anchors: the group at constant QPs.
        rewards: paid for each frame so far.
        running: False when the group is coded, or a tool has failed.
    """

    def __init__(
        self,
        evaluator: VideoEvaluator,
        builder: VideoObservationBuilder,
        reference: GopReference,
        base_qp: int,
        mode: Mode,
    ) -> None:
        self.evaluator, self.builder = evaluator, builder
        self.reference, self.base_qp = reference, base_qp
        self.session = evaluator.open(reference, base_qp)
        self.anchors = Anchors(evaluator, reference, base_qp)
        self.rewards: list[float] = []
        self.running = True
        self._mode = mode
        self._show_frame()

    @property
    def frames(self) -> list[FrameResult]:
        """The results of the frames coded so far."""
        return self.session.frames

    @property
    def qp_maps(self) -> QPMap:
        """Absolute QPs, int16 (T, rows, cols); the base QP where undecided."""
        rows, cols = self.evaluator.map_shape(self.reference.gop.clip)
        maps = np.full((len(self.reference.gop), rows, cols), self.base_qp, np.int16)
        for index, frame in enumerate(self.frames):
            maps[index] = frame.qp_map
        if not self.session.over:
            maps[self.session.index] = self.builder.qp_map()
        return maps

    def decide(self, qp: int) -> bool:
        """Set the QP of the current frame or CTU; return whether the frame can be coded."""
        if self.builder.level == CTU_LEVEL:
            self.builder.decide(qp)
            return self.builder.over
        if self._mode == "frame":
            self.builder.frame_qp = qp
            return True
        self.builder.decide_frame(qp)
        return False

    def code(self) -> FrameResult | ToolError:
        """Code the decided frame, and show the next one if there is one.

        Threads may do so at once, each with an episode of its own.

        Returns:
            The frame, or a tool's failure in its place.
        """
        try:
            self.evaluator.gop_anchor(self.reference, self.base_qp)
            return self.encode()
        except TOOL_ERRORS as error:
            return error

    def encode(self) -> FrameResult:
        """Do what `code` does, without the anchor that a reward needs.

        Raises:
            CodecError: the codec failed.
            SegmenterError: the segmenter failed.
        """
        result = self.session.encode(self.builder.qp_map())
        if not self.session.over:
            self._show_frame()
        return result

    def close(self) -> None:
        """Free the encoder."""
        self.running = False
        self.session.close()

    def _show_frame(self) -> None:
        session, size = self.session, self.evaluator.codec.ctu_size
        original = self.reference.frame(session.index)
        known = Reference(original.sample, original.key, session.importance)
        level = CTU_LEVEL if self._mode == "ctu" else FRAME_LEVEL
        view = FrameView(known, session.previous, size)
        self.builder.begin_frame(view, self.base_qp, self._progress(), level)

    def _progress(self) -> Progress:
        if not self.frames:
            return Progress()
        last, count = self.frames[-1], len(self.frames)
        return Progress(
            position=count / len(self.reference.gop),
            pixels=count * last.mask.size,
            bits=sum(frame.encoded.bits for frame in self.frames),
            consistency=last.figures.consistency_dice,
            qp_map=last.qp_map,
        )
