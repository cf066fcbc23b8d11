"""`VideoCodingEnv-v0`: allocate bits inside a real HEVC encoder of video."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from dmic_gym.envs.observations import Observation
from dmic_gym.envs.setup import raise_closed
from dmic_gym.envs.video_episode import VideoEpisode
from dmic_gym.envs.video_evaluator import GopReference, GopResult
from dmic_gym.envs.video_observations import VideoObservationBuilder, video_observation_space
from dmic_gym.envs.video_settings import (
    VideoArguments,
    VideoCodingSettings,
    shows_video_settings,
)
from dmic_gym.envs.video_setup import VideoSetup, picture_of, reset_info
from dmic_gym.errors import InvalidInputError
from dmic_gym.types import RGB, QPMap

if TYPE_CHECKING:
    from dmic_gym.tasks.data.clips.registry import ClipSpec


class VideoCodingEnv(VideoSetup, gym.Env[Observation, np.int64]):
    """Allocate the bits of a group of pictures inside a real HEVC encoder.

    ## Description

    An episode codes consecutive frames of a clip at one base QP in Low Delay P: the first is intra,
    each other one is predicted from those before it. Each frame is coded by x265, decoded and
    segmented when its QPs are decided, before the next one is shown, so that a decision lives on in
    the frames that follow. The task is HRLVSC's (Xie et al., arXiv 2208.11529), on which DMIC (Xie,
    Li, Pan, Chen, arXiv 2310.13250) builds.

    ## Action Space

    `Discrete(n)`: index into the table of QP offsets `env.unwrapped.qp_offsets`, that of
    `CodingEnv`. What a step sets depends on `mode`:

    - "frame": a frame's QP, base QP + offset, which all of its CTUs have.
    - "ctu": the QP of one coding tree unit (CTU), base QP + offset, in raster order.
    - "hierarchical": first the frame's QP, then for each of its CTUs frame QP + offset.

    QPs are clipped to 0..51 at each level. `env.unwrapped.action_masks()`, as sb3-contrib's
    MaskablePPO calls it, is False for offsets that clip to the same QP as one nearer to 0.

    ## Observation Space

    A flat `Dict`. `ctu`, `frame`, `progress` and `features` are those of `CodingEnv` for the frame
    that is being decided, with the base QP of the episode; the importance is what the encoder knows
    (`importance` below). In steps that set a frame's QP the frame takes the place of the CTU: `ctu`
    equals `frame`, `progress` 0 is 255 everywhere, and the features of the CTU are means over all
    CTUs. Beside them:

    - `previous`: uint8 (2, 64, 64), scaled to 64x64; 0 is the previous reconstruction, 1 the
      absolute difference of frame and previous reconstruction.
    - `previous_ctu`: uint8 (2, 64, 64), the same two in the window of `ctu`.
    - `video`: float32 (9,), 0..1, the offset -1..1, in order
      (`dmic_gym.envs.video_observations.VIDEO_FEATURES`):

      - level: 0 in steps that set a frame's QP, 1 in those that set a CTU's;
      - frames coded so far / frames of the group;
      - 1 in the group's first frame, else 0;
      - offset of the frame's QP to the base QP / 51, 0 until it is set;
      - log2(1 + 255 b) / 8 of the bits per pixel b of the frames coded so far;
      - consistency Dice of the last frame;
      - QP here one frame ago / 51, in frame steps the mean of its QPs;
      - of the difference in `previous_ctu`: 3 times the root of its mean / 255, and its maximum
        / 255.

    All that is said of the previous frame is 0 in the first one.

    ## Rewards

    As in `CodingEnv`, on the bits of the group and its mean Dice, `"priced"` by default: it needs
    one anchor encode of a group, where `"rate_saving"` needs up to 14, and can be paid in shares.

    `"priced"` and `"linear"` are paid when a frame is coded: its Dice by the number of frames that
    count, and its bits, against the anchor's same frame. Bits are in units of the anchor's mean
    frame, so that the first frame, which is much larger, does not outweigh the others. The shares
    sum to the reward of the group; where that is clipped, the last frame takes the difference.
    Every other reward is paid in the last step. Where a clip's first mask is given, its first frame
    is not scored (DAVIS' rule): its share is of its bits alone.

    ## Starting State

    A random clip, first frame and base QP, or those of `reset(options={"clip": Clip | index | name,
    "start": index of the first frame, "base_qp": 0..51})`. `info` holds `sample` (clip and start in
    one name), `clip`, `start` and `base_qp`.

    ## Episode End

    Terminated with the group's last frame. In every step that codes a frame `info` holds `frame`
    (0..T-1), `frame_reward`, `frame_bits`, `frame_dice` (None without expert mask) and
    `frame_consistency`. The last one also holds `sample`, `clip`, `start`, `base_qp`, `bits`,
    `slice_bits`, `dice`, `consistency_dice` and `iou` (means over the frames that are scored),
    `psnr` (dB, mean over all), `anchor_bits`, `anchor_dice`, `qp_maps` (int16 (T, rows, cols),
    absolute QPs; also as `qp_map`), `encodes`, `reward_terms`, `frame_rewards` (float64 (T,), as
    paid) and `ctu_rewards` (float32 (T, rows, cols), what each CTU has earned of the reward, to
    which they sum, see `dmic_gym.envs.video_credit`).
    `env.unwrapped.result` has bitstream and reconstructions.

    A failure of encoder, decoder or segmenter truncates the episode with reward 0, as in
    `CodingEnv`; `frame_rewards` then holds what was paid before.

    ## Arguments

    - `dataset`: what `dmic_gym.load_clips` takes: a name, a folder, a video file, a sequence of
      `Clip`; default: "phantom-clips", 20 synthetic angiograms of 20 frames of 256x256.
    - `task`: a name ("davis", "phantom-clips") or a `Task`, whose training clips and segmenter are
      taken where `dataset` and `segmenter` name none.
    - `segmenter`: as in `CodingEnv`; a `PerClipSegmenter` has one for each clip. Default: the one
      that `dmic bench` takes for these clips.
    - `mode`: "hierarchical" (default), "frame" or "ctu".
    - `gop`: frames in a group, default 8; a shorter clip is one group.
    - `importance`: "previous" (default), the segmenter's probability on the previous
      reconstruction, which an encoder has anyway; or "original", that on the frame itself. The
      first frame of a group has the latter in both cases.
    - `codec`: "x265" (default) or a codec with `video`.
    - `ctu_size`, `base_qps`, `qp_offsets`, `reward`, `preset`, `max_failures`, `render_mode`: as in
      `CodingEnv`.

    ## Speed

    Eight frames of 416x240 at CTU 64, preset medium and QP 32 take 1.1 CPU seconds with the network
    of the task "davis": 0.07 a frame for segmentation, 0.03 for encode and decode, 0.02 for
    observations and credit. The first episode of a group codes its anchor too. For many episodes at
    once use `gym.make_vec("VideoCodingEnv-v0", num_envs=...)` (`VideoCodingVectorEnv`), for one
    level alone `dmic_gym.envs.video_levels`.

    ## Version History

    - v0: first version.

    Raises:
        InvalidInputError: an argument is none of the valid ones; the message says what to pass.
        DataError: there are no readable clips.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": ["rgb_array"],
        "render_fps": 4,
    }

    result: GopResult | None = None
    """The encode of this episode's group, with bitstream and reconstructions, after its end."""

    _episode: VideoEpisode | None = None
    _closed = False

    @shows_video_settings
    def __init__(
        self,
        dataset: ClipSpec | None = None,
        *,
        render_mode: str | None = None,
        **arguments: Unpack[VideoArguments],
    ) -> None:
        super().__init__(VideoCodingSettings(dataset, **arguments))
        self.render_mode = render_mode
        self.observation_space = video_observation_space()  # type: ignore[assignment]
        self.action_space = gym.spaces.Discrete(len(self.qp_offsets))
        self._builder = VideoObservationBuilder()

    @property
    def episode(self) -> VideoEpisode:
        """The running or last episode: its frames, and what is decided of the current one."""
        if self._episode is None:
            raise gym.error.ResetNeeded("No episode yet: call reset() first.")
        return self._episode

    @property
    def reference(self) -> GopReference:
        """The group of this episode with the importance maps of its original frames."""
        return self.episode.reference

    @property
    def base_qp(self) -> int:
        """The base QP of this episode."""
        return self.episode.base_qp

    @property
    def level(self) -> int:
        """What the next action sets: 0 a frame's QP, 1 that of a CTU."""
        return self.episode.builder.level

    @property
    def qp_maps(self) -> QPMap:
        """Absolute QPs of this episode, int16 (T, rows, cols); the base QP where undecided."""
        return self.episode.qp_maps

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Return bool (n,): False for offsets that clip to the QP of one nearer to 0."""
        return self._masks_of(self.episode.builder.frame_qp)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode; see the class for `options`.

        Raises:
            InvalidInputError: `options` has an unknown key, or a value that is not valid.
            ClosedEnvironmentError: the environment is closed.
        """
        self._check_open()
        gym.Env.reset(self, seed=seed)
        gop, base_qp = self._draw(self.np_random, options)
        self._end()
        self.result = None
        self._episode = self._begin(self._builder, gop, base_qp)
        return self._builder.observation(), reset_info(self._episode)

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Set the QP of the current frame or CTU; a frame that is decided is coded.

        Raises:
            InvalidInputError: the action is not in the action space.
            ResetNeeded: the episode is over, or was never begun.
            ClosedEnvironmentError: the environment is closed.
            CodecError, SegmenterError: `max_failures` episodes in a row have failed.
        """
        self._check_open()
        episode = self.episode
        if not episode.running:
            raise gym.error.ResetNeeded("The episode is over: call reset() before step().")
        if not episode.decide(self._chosen_qp(action)):
            return self._builder.observation(), 0.0, False, False, {}
        verdict = self._verdict(episode, episode.code())
        self.result = verdict.result
        over = verdict.terminated, verdict.truncated
        return self._builder.observation(), verdict.reward, *over, verdict.info

    def render(self) -> RGB | None:
        """Return uint8 (406, 1548, 3): reference, QP map, reconstruction, mask agreement.

        Reconstruction and agreement are those of the previous frame, at the end of the last one.
        """
        self._check_open()
        return picture_of(self, self.episode)

    def close(self) -> None:
        """End the environment; a codec that was passed to it stays open."""
        self._closed = True
        self._end()
        self._free()

    def _chosen_qp(self, action: Any) -> int:
        if isinstance(action, bool) or not self.action_space.contains(action):
            raise InvalidInputError(
                f"Action {action!r} is not in {self.action_space}: pass an integer index into "
                f"qp_offsets, 0..{len(self.qp_offsets) - 1}."
            )
        return self._qp(self.episode, int(action))

    def _end(self) -> None:
        if self._episode is not None:
            self._episode.close()

    def _check_open(self) -> None:
        if self._closed:
            raise_closed()
