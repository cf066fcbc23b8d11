"""Many `VideoCodingEnv` episodes in lockstep, their frames encoded by a pool of threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode

from dmic_gym.envs.evaluator import ToolError
from dmic_gym.envs.lockstep import Flags, LockstepEnv, Outcome
from dmic_gym.envs.parallel import default_workers
from dmic_gym.envs.setup import Ints
from dmic_gym.envs.vector_inputs import checked_groups
from dmic_gym.envs.verdict import Info
from dmic_gym.envs.video_episode import VideoEpisode
from dmic_gym.envs.video_evaluator import GopReference, GopResult
from dmic_gym.envs.video_observations import VideoObservationBuilder, video_observation_space
from dmic_gym.envs.video_results import FrameResult
from dmic_gym.envs.video_settings import (
    VideoArguments,
    VideoCodingSettings,
    shows_video_settings,
)
from dmic_gym.envs.video_setup import VideoSetup, picture_of, reset_info
from dmic_gym.errors import checked_integer
from dmic_gym.tasks.data.clip import Gop
from dmic_gym.types import RGB

if TYPE_CHECKING:
    from dmic_gym.tasks.data.clips.registry import ClipSpec


class VideoCodingVectorEnv(VideoSetup, LockstepEnv):
    """Many `VideoCodingEnv` episodes in lockstep: ``gym.make_vec("VideoCodingEnv-v0", ...)``.

    Same observations, actions, rewards, QP maps, bitstreams and figures as `VideoCodingEnv` for the
    same seeds and actions. The frames that are decided in a step are encoded and segmented in a
    thread pool; a segmenter that does not say ``in_parallel = True`` is called from one thread at a
    time. Clips may differ in size. Importance maps and anchor encodes are shared by all
    sub-environments.

    Autoreset, seeds and options are those of `CodingVectorEnv`: by default the step that ends an
    episode returns the next one's first observation, and ``infos["final_obs"]`` and
    ``infos["final_info"]`` hold the last ones of the old episode.

    Attributes:
        results: of the last episode that ended in each sub-environment, with bitstream and
            reconstructions; None before, and after a failure.

    Args:
        num_envs: number of episodes in step.
        dataset: as for `VideoCodingEnv`.
        autoreset_mode: `gymnasium.vector.AutoresetMode` or its name.
        copy: return copies of the observation buffers; without, the next call overwrites what the
            last one returned.
        maps_per_image: neighbouring sub-environments that get the same frames and base QP, as in
            `CodingVectorEnv`.
        workers: threads that encode; default: one a processor.
        render_mode: "rgb_array" or None.
        **arguments: those of `VideoCodingEnv`.

    Raises:
        InvalidInputError: an argument is none of the valid ones.
        DataError: there are no readable clips.
    """

    results: list[GopResult | None]

    @shows_video_settings
    def __init__(
        self,
        num_envs: int = 1,
        dataset: ClipSpec | None = None,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        copy: bool = True,
        maps_per_image: int = 1,
        workers: int | None = None,
        render_mode: str | None = None,
        **arguments: Unpack[VideoArguments],
    ) -> None:
        self.maps_per_image = checked_groups(maps_per_image, checked_integer("num_envs", num_envs))
        super().__init__(
            VideoCodingSettings(dataset, **arguments),
            workers=default_workers() if workers is None else checked_integer("workers", workers),
        )
        self.render_mode = render_mode
        space, choices = video_observation_space(), len(self.qp_offsets)
        self._set_up(num_envs, space, choices, autoreset_mode=autoreset_mode, copy=copy)
        self._builders = [
            VideoObservationBuilder(self._arrays, row) for row in range(self.num_envs)
        ]
        self._episodes: list[VideoEpisode | None] = [None] * self.num_envs

    @property
    def episodes(self) -> list[VideoEpisode]:
        """The episode of each row: its frames so far, and what is decided of the current one."""
        self._check_ready()
        return [self._episode(row) for row in range(self.num_envs)]

    @property
    def references(self) -> list[GopReference]:
        """The group of each running episode with the importance maps of its original frames."""
        return [episode.reference for episode in self.episodes]

    @property
    def episode_base_qps(self) -> npt.NDArray[np.int64]:
        """The base QP of each running episode, int64 (num_envs,)."""
        return np.array([episode.base_qp for episode in self.episodes])

    def action_masks(self) -> Flags:
        """Return bool (num_envs, n): False for offsets that clip to the QP of one nearer to 0."""
        self._check_ready()
        return self._masks_of(np.array([builder.frame_qp for builder in self._builders]))

    def _drawn(self, row: int) -> RGB | None:
        return picture_of(self, self._episode(row))

    def _begin_rows(self, rows: Sequence[int], options: Sequence[Info]) -> dict[int, Info]:
        drawn: dict[int, tuple[Gop, int]] = {}
        for row in rows:
            first = row - row % self.maps_per_image
            drawn[row] = drawn.get(first) or self._draw(self._rng(row), options[row])
            self._end(row)
        begun = self.evaluator.map(self._begun_in, list(drawn.items()))
        for row, episode in zip(rows, begun, strict=True):
            self._episodes[row] = episode
        return {row: reset_info(self._episode(row)) for row in rows}

    def _begun_in(self, drawn: tuple[int, tuple[Gop, int]]) -> VideoEpisode:
        row, (gop, base_qp) = drawn
        return self._begin(self._builders[row], gop, base_qp)

    def _act(self, rows: Sequence[int], actions: Ints) -> dict[int, Outcome]:
        decided = []
        for row in rows:
            episode = self._episode(row)
            if episode.decide(self._qp(episode, int(actions[row]))):
                decided.append(row)
        coded = self.evaluator.map(VideoEpisode.code, [self._episode(row) for row in decided])
        return {row: self._judged(row, found) for row, found in zip(decided, coded, strict=True)}

    def _judged(self, row: int, found: FrameResult | ToolError) -> Outcome:
        episode, builder = self._episode(row), self._builders[row]
        verdict = self._verdict(episode, found)
        over = verdict.terminated or verdict.truncated
        if over:
            self.results[row] = verdict.result
        return Outcome(
            verdict.reward,
            verdict.terminated,
            verdict.truncated,
            verdict.info,
            builder.observation() if over else None,
        )

    def _episode(self, row: int) -> VideoEpisode:
        episode = self._episodes[row]
        assert episode is not None
        return episode

    def _end(self, row: int) -> None:
        if (episode := self._episodes[row]) is not None:
            episode.close()

    def close_extras(self, **arguments: Any) -> None:
        """End streams and thread pool; a codec that was passed to the environment stays open."""
        for row in range(self.num_envs):
            self._end(row)
        super().close_extras(**arguments)
