"""Agents that step through a group of pictures as through an episode of `VideoCodingEnv`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dmic_gym.agents.baselines import Agent
from dmic_gym.agents.planning import offset_of
from dmic_gym.agents.stepping import stepper_of
from dmic_gym.agents.video_planning import GopPlan
from dmic_gym.envs.video_episode import VideoEpisode
from dmic_gym.envs.video_evaluator import GopReference, VideoEvaluator
from dmic_gym.envs.video_observations import FRAME_LEVEL, VideoObservationBuilder
from dmic_gym.envs.video_settings import Mode


class GopSteppingPlanner:
    """Agents that see `VideoCodingEnv`'s observations: one encode.

    Args:
        frame_agent: chooses each frame's offset to the base QP; None keeps the base QP.
        ctu_agent: chooses each CTU's offset to its frame's QP; None keeps the frame's QP. It may
            be the same agent.
        qp_offsets: the action table of both.
    """

    def __init__(
        self, frame_agent: Agent | None, ctu_agent: Agent | None, qp_offsets: Sequence[int]
    ) -> None:
        self.agents = (frame_agent, ctu_agent)
        self.qp_offsets = tuple(qp_offsets)

    def plan(self, evaluator: VideoEvaluator, reference: GopReference, base_qp: int) -> GopPlan:
        """Let the agents decide every frame, and code each when it is decided.

        Raises:
            InvalidInputError: an action is no index into the action table.
        """
        builder = VideoObservationBuilder()
        mode: Mode = "frame" if self.agents[1] is None else "hierarchical"
        episode = VideoEpisode(evaluator, builder, reference, base_qp, mode)
        steppers = {id(agent): stepper_of(agent) for agent in self.agents if agent is not None}
        try:
            while not episode.session.over:
                agent = self.agents[0 if builder.level == FRAME_LEVEL else 1]
                offset = 0
                if agent is not None:
                    action = steppers[id(agent)].action(builder)
                    offset = offset_of(action, self.qp_offsets, agent)
                qp = np.clip(builder.frame_qp + offset, *evaluator.codec.qp_range)
                if episode.decide(int(qp)):
                    episode.encode()
            return GopPlan(episode.session.result(), 1)
        finally:
            episode.close()
