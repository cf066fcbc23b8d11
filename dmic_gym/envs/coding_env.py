"""`CodingEnv-v0`: allocate bits inside a real HEVC encoder, one CTU a step."""

from __future__ import annotations

from typing import Any, Unpack

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from dmic_gym.envs.image_view import view_of
from dmic_gym.envs.observations import Observation, ObservationBuilder, observation_space
from dmic_gym.envs.settings import CodingArguments, CodingSettings, shows_settings
from dmic_gym.envs.single import SingleCoding
from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.data.pairs import DataSpec
from dmic_gym.types import QPMap


class CodingEnv(SingleCoding, gym.Env[Observation, np.int64]):
    """Allocate the bits of one image inside a real HEVC encoder.

    ## Description

    An episode codes one image at one base QP. Each step sets the QP of one coding tree unit
    (CTU), in raster order; after the last one the image is encoded by x265, decoded, and segmented
    by the diagnosis network, and the reward says how much of the diagnosis was kept for how many
    bits. The task is DMIC's (Xie, Li, Pan, Chen, arXiv 2310.13250) on HRLVSC's formulation (Xie et
    al., arXiv 2208.11529).

    ## Action Space

    `Discrete(n)`: index into the table of QP offsets `env.unwrapped.qp_offsets`, by default
    (-10, -6, -3, 0, 3, 6, 9, 12, 15, 18, 21, 25, 29). The CTU's QP is base QP + offset, clipped to
    0..51. `env.unwrapped.action_masks()`, as sb3-contrib's MaskablePPO calls it, is False for
    offsets that clip to the same QP as one nearer to 0.

    ## Observation Space

    A flat `Dict`; images are uint8, channels first, 64x64 whatever the CTU and image size.

    - `ctu`: uint8 (2, 64, 64), window centred on the CTU in full resolution, edges repeated;
      0 is the image, 1 the importance.
    - `frame`: uint8 (2, 64, 64), the whole picture scaled to 64x64; 0 is the image, 1 the
      importance. Never changes within an episode.
    - `progress`: uint8 (2, 64, 64), the picture's area scaled to 64x64; 0 is 255 on the current
      CTU, 1 holds 4 * (QP + 1) where CTUs are decided, both 0 elsewhere.
    - `features`: float32 (29,), 0..1, offsets -1..1, listed below.

    The importance is 255 times the segmenter's probability on the reference image, which the
    encoder knows. The features are, in order (`dmic_gym.envs.observations.FEATURES`):

    - base QP / 51 and the share of CTUs decided;
    - CTU size / 64; row and column of the CTU's centre, 0..1 of the map; share of the CTU inside
      the picture;
    - its mean / 255 and standard deviation / 127.5; 3 times the root of its mean absolute gradient
      / 255 and of its mean absolute difference to the 5x5 mean / 255;
    - log2(1 + 255 b) / 8 of the modelled bits per pixel b at QP 22, 32 and 42
      (`dmic_gym.envs.complexity`);
    - of the importance p: root of its mean, its maximum, root of the mean in the eight neighbours,
      root of the CTU's share of the picture's importance, twice the root of the picture's mean;
    - twice the root of the mean uncertainty 4 p (1 - p), here and in the neighbours; twice the
      root of the share of pixels with p in 0.05..0.5, here and in the neighbours;
    - weighted by p: mean / 255, and 3 times the root of the absolute difference / 255 to the 13x13
      mean and to the 5x5 mean; weighted by uncertainty: the same to the 13x13 mean;
    - mean offset so far / 51; offset of the CTU to the left / 51 and above / 51.

    ## Rewards

    0 until the last step, then the sum of the reward's terms (`info["reward_terms"]`):

    - `"rate_saving"` (default): log of the bits the anchor would need for this Dice, minus log of
      the bits spent (`RateSavingReward`): 0 on the image's own anchor curve, 0.69 for half of the
      bits at equal Dice.
    - `"priced"`: the share of bits saved, and the gain in Dice paid in bits at the price that the
      anchor pays at this base QP (`PricedReward`). Best for training: unlike `"rate_saving"`, which
      is 0 anywhere on the anchor's curve, it lets no policy settle on coding everything coarsely.
    - `"linear"`: weights on Dice minus the anchor's Dice and on the share of bits saved
      (`LinearReward`).
    - any callable like `dmic_gym.envs.rewards.Reward`.

    Images without expert mask are judged by consistency Dice.

    ## Starting State

    A random image of the data set and a random base QP, or those of `reset(options={"sample":
    Sample | index | name, "base_qp": 0..51})`. `info` holds `sample` (name) and `base_qp`.

    ## Episode End

    Terminated after rows * cols steps. The last `info` holds `sample`, `base_qp`, `bits`,
    `slice_bits`, `dice` (None without expert mask), `consistency_dice`, `psnr` (dB, at most 100),
    `anchor_bits`, `anchor_dice`, `qp_map` (int16 (rows, cols), absolute QPs), `encodes` (by this
    episode's allocation), `reward_terms` and `ctu_rewards`. `env.unwrapped.result` has bitstream
    and reconstruction.

    `ctu_rewards`, float32 (rows, cols), says what each CTU has earned of the reward; it sums to the
    reward. A CTU is paid its part of the change of Dice against the anchor's mask at the base QP,
    and its modelled part of the slice bits, at the slopes of the reward; what these leave is spread
    evenly (`dmic_gym.envs.credit`). NaN where the episode failed.

    A failure of encoder, decoder or segmenter truncates the episode with reward 0. The numbers in
    its `info` are NaN, `info["error"]` says why. The first failure is warned of, and `max_failures`
    of them in a row are raised.

    ## Arguments

    - `dataset`: what `dmic_gym.load_dataset` takes: a name, a folder, a sequence of `Sample` or of
      (image, mask), a torch `Dataset`; default: "phantoms", 100 synthetic angiograms of 300x300.
    - `task`: a name ("phantoms", "angiograms", "arcade") or a `Task`, whose training images and
      segmenter are taken where `dataset` and `segmenter` name none.
    - `segmenter`: uint8 (N, H, W) -> float32 (N, H, W) probabilities, or a name ("unet"), the path
      of weights, or "module:object"; default: the shipped U-Net.
    - `codec`: "x265" (default), "ffmpeg" or a `Codec`, which then decides CTU size and preset, and
      which stays open when the environment is closed.
    - `ctu_size`: 64 (default), 32 or 16.
    - `base_qps`: QPs to draw from; default (22, 27, 32, 37).
    - `qp_offsets`: the action table; must hold 0.
    - `reward`: see above.
    - `preset`: x265's; default "medium". "ultrafast" is for training;
      `benchmarks/preset.py` measures how well its rewards rank QP maps.
    - `max_failures`: failed episodes in a row that raise an error; default 10.
    - `render_mode`: "rgb_array" draws reference, QP map, reconstruction and mask agreement.

    ## Speed

    Kept, least recently used first out: what is made of an image before coding (256 MB), 20 000
    anchor encodes, and 128 MB of samples of dmic_gym's own data sets. The first episode on an image
    therefore costs one segmentation more, and for `"rate_saving"` the anchor's encodes from QP 51
    down to one that reaches the episode's Dice, 14 at most. For many episodes at once use
    `gym.make_vec("CodingEnv-v0", num_envs=...)` (`CodingVectorEnv`).

    An observation takes 24.7 kB, a transition in a replay buffer twice that: 100 000 of them, such
    as DQN would keep, are 4.9 GB. Set `buffer_size`.

    ## Version History

    - v0: first version.

    Raises:
        InvalidInputError: an argument is none of the valid ones; the message says what to pass.
        DataError: the folder holds no readable images.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": ["rgb_array"],
        "render_fps": 4,
    }

    @shows_settings
    def __init__(
        self,
        dataset: DataSpec | None = None,
        *,
        render_mode: str | None = None,
        **arguments: Unpack[CodingArguments],
    ) -> None:
        super().__init__(CodingSettings(dataset, **arguments))
        self.render_mode = render_mode
        self.observation_space = observation_space()  # type: ignore[assignment]
        self.action_space = gym.spaces.Discrete(len(self.qp_offsets))
        self._builder = ObservationBuilder()

    @property
    def qp_map(self) -> QPMap:
        """Absolute QPs of this episode, int16 (rows, cols); the base QP where undecided."""
        return self._episode().qp_map()

    @property
    def base_qp(self) -> int:
        """The base QP of this episode."""
        return self._episode().base_qp

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Return bool (n,): False for offsets that clip to the QP of one nearer to 0."""
        return self._masks_of(self.base_qp)

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
        sample, base_qp = self._draw(self.np_random, options)
        self._reference = self.evaluator.reference(sample)
        self.result = None
        self._builder.begin(view_of(self._reference, self.ctu_size), base_qp)
        return self._builder.observation(), {"sample": sample.name, "base_qp": base_qp}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Set the QP of the current CTU; the last step encodes.

        Raises:
            InvalidInputError: the action is not in the action space.
            ResetNeeded: the episode is over, or was never begun.
            ClosedEnvironmentError: the environment is closed.
            CodecError, SegmenterError: `max_failures` episodes in a row have failed.
        """
        self._check_open()
        builder = self._episode()
        if builder.over:
            raise gym.error.ResetNeeded("The episode is over: call reset() before step().")
        builder.decide(self._qp(action))
        if not builder.over:
            return builder.observation(), 0.0, False, False, {}
        verdict = self._score(self.base_qp, builder.qp_map())
        over = not verdict.truncated, verdict.truncated
        return builder.observation(), verdict.reward, *over, verdict.info

    def _qp(self, action: Any) -> int:
        if isinstance(action, bool) or not self.action_space.contains(action):
            raise InvalidInputError(
                f"Action {action!r} is not in {self.action_space}: pass an integer index into "
                f"qp_offsets, 0..{len(self.qp_offsets) - 1}."
            )
        return int(self._qps_of(self.base_qp)[action])

    def _episode(self) -> ObservationBuilder:
        _ = self.reference  # raises if there is no episode
        return self._builder
