"""`CodingEnv-v0`: allocate bits inside a real HEVC encoder, one CTU a step."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from dmic_gym.codec.base import MAX_QP, MIN_QP, Codec
from dmic_gym.data.sample import Sample
from dmic_gym.diagnosis.segmenter import Segmenter
from dmic_gym.envs.cache import ByteBoundedCache
from dmic_gym.envs.observations import ImageView, Observation, Observer, observation_space
from dmic_gym.envs.rewards import Reward, make_reward
from dmic_gym.envs.settings import (
    DEFAULT_BASE_QPS,
    DEFAULT_QP_OFFSETS,
    check_base_qps,
    check_qp_offsets,
    find_sample,
    make_codec,
    make_dataset,
    make_segmenter,
)
from dmic_gym.envs.task import Anchors, CodingTask, Original, Outcome
from dmic_gym.errors import CodecError, InvalidInputError


class CodingEnv(gym.Env[Observation, np.int64]):
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
    0..51.

    ## Observation Space

    A flat `Dict`; images are uint8, channels first, 64x64 whatever the CTU and image size.

    - `ctu`: uint8 (2, 64, 64), window centred on the CTU in full resolution, edges repeated;
      0 is the image, 1 the importance.
    - `frame`: uint8 (2, 64, 64), the whole picture scaled to 64x64; 0 is the image, 1 the
      importance. Never changes within an episode.
    - `progress`: uint8 (2, 64, 64), the picture's area scaled to 64x64; 0 is 255 on the current
      CTU, 1 holds 4 * (QP + 1) where CTUs are decided, both 0 elsewhere.
    - `features`: float32 (16,), 0..1, offsets -1..1, listed below.

    The importance is 255 times the segmenter's probability on the original image, which the
    encoder knows. The features are, in order: base QP / 51; CTU size / 64; row and column of
    the CTU's centre, 0..1 of the map; share of CTUs decided; share of the CTU inside the picture;
    its mean / 255, standard deviation / 127.5 and mean absolute gradient / 255; mean and maximum
    of the importance in it; mean importance in its eight neighbours; its share of the picture's
    importance; mean offset so far / 51; offset of the CTU to the left / 51 and above / 51.

    ## Rewards

    0 until the last step, then the sum of the reward's terms (`info["reward_terms"]`):

    - `"rate_saving"` (default): log of the bits the anchor would need for this Dice, minus log of
      the bits spent (`RateSavingReward`): 0 on the image's own anchor curve, 0.69 for half of the
      bits at equal Dice.
    - `"linear"`: weights on Dice minus the anchor's Dice and on the share of bits saved
      (`LinearReward`).
    - any callable like `dmic_gym.envs.rewards.Reward`.

    Images without expert mask are judged by consistency Dice.

    ## Starting State

    A random image of the data set and a random base QP, or those of `reset(options={"sample":
    Sample | index | name, "base_qp": 0..51})`. `info` holds `sample` (name) and `base_qp`.

    ## Episode End

    Terminated after rows * cols steps. The last `info` holds `bits`, `slice_bits`, `dice` (None
    without expert mask), `consistency_dice`, `psnr` (dB, at most 100), `anchor_bits`,
    `anchor_dice`, `qp_map` (int16 (rows, cols), absolute QPs), `encodes` (by this episode's
    allocation) and `reward_terms`. `env.unwrapped.outcome` has bitstream and reconstruction. A
    failure of encoder or decoder truncates the episode with reward 0 and the cause in
    `info["error"]`.

    ## Arguments

    - `dataset`: a sequence of `Sample`, a folder, or "phantoms" (default: 100 synthetic
      angiograms of 300x300).
    - `segmenter`: uint8 (N, H, W) -> float32 (N, H, W) probabilities; default: the shipped U-Net.
    - `codec`: "x265" (default), "ffmpeg" or a `Codec`, which then decides CTU size and preset.
    - `ctu_size`: 64 (default), 32 or 16.
    - `base_qps`: QPs to draw from; default (22, 27, 32, 37).
    - `qp_offsets`: the action table; must hold 0.
    - `reward`: see above.
    - `preset`: x265's; default "medium".
    - `render_mode`: "rgb_array" draws original, QP map, reconstruction and mask agreement.

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

    def __init__(
        self,
        dataset: Sequence[Sample] | str | PathLike[str] = "phantoms",
        segmenter: Segmenter | None = None,
        codec: Codec | str = "x265",
        ctu_size: int | None = None,
        base_qps: Sequence[int] = DEFAULT_BASE_QPS,
        qp_offsets: Sequence[int] = DEFAULT_QP_OFFSETS,
        reward: Reward | str = "rate_saving",
        preset: str | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.dataset = make_dataset(dataset)
        self.task = CodingTask(make_codec(codec, ctu_size, preset), make_segmenter(segmenter))
        self.base_qps = check_base_qps(base_qps)
        self.qp_offsets = check_qp_offsets(qp_offsets)
        self.reward = make_reward(reward)
        self.render_mode = render_mode
        self.observation_space = observation_space()  # type: ignore[assignment]
        self.action_space = gym.spaces.Discrete(len(self.qp_offsets))
        self.outcome: Outcome | None = None
        self._views = ByteBoundedCache[ImageView](32 << 20, _view_bytes)
        self._original: Original | None = None
        self._observer: Observer | None = None

    @property
    def ctu_size(self) -> int:
        """Side of a CTU in luma samples."""
        return self.task.codec.ctu_size

    @property
    def qp_map(self) -> npt.NDArray[np.int16]:
        """Absolute QPs of this episode, int16 (rows, cols); the base QP where undecided."""
        return self._episode()[1].qp_map.copy()

    @property
    def original(self) -> Original:
        """The image of this episode with its importance map."""
        return self._episode()[0]

    @property
    def base_qp(self) -> int:
        """The base QP of this episode."""
        return self._episode()[1].base_qp

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode; see the class for `options`.

        Raises:
            InvalidInputError: `options` has an unknown key, or a value that is not valid.
        """
        super().reset(seed=seed)
        options = dict(options or {})
        sample = self._choose_sample(options.pop("sample", None))
        base_qp = self._choose_base_qp(options.pop("base_qp", None))
        if options:
            raise InvalidInputError(
                f"reset(options=...) has unknown keys {sorted(options)}. Valid: sample, base_qp."
            )
        self.outcome = None
        self._original = original = self.task.original(sample)
        view = self._views.get(original.key, lambda: ImageView(original, self.ctu_size))
        self._observer = Observer(view, base_qp)
        return self._observer.observe(), {"sample": sample.name, "base_qp": base_qp}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Set the QP of the current CTU; the last step encodes.

        Raises:
            InvalidInputError: the action is not in the action space.
            ResetNeeded: the episode is over, or was never begun.
        """
        original, observer = self._episode()
        if observer.index == observer.view.count:
            raise gym.error.ResetNeeded("The episode is over: call reset() before step().")
        observer.decide(self._qp(action))
        if observer.index < observer.view.count:
            return observer.observe(), 0.0, False, False, {}
        try:
            self.outcome = self.task.score(original, observer.qp_map)
            reward, info = self._judge(self.outcome)
        except CodecError as error:
            cause = f"{type(error).__name__}: {error}"
            return observer.observe(), 0.0, False, True, {"error": cause}
        return observer.observe(), reward, True, False, info

    def render(self) -> npt.NDArray[np.uint8] | None:
        """Return uint8 (height, width, 3): original, QP map, reconstruction, mask agreement."""
        if self.render_mode is None:
            gym.logger.warn('render() needs gym.make(..., render_mode="rgb_array").')
            return None
        from dmic_gym.envs.rendering import draw

        original, observer = self._episode()
        return draw(original, observer.qp_map, self.ctu_size, self.outcome)

    def close(self) -> None:
        """Free the codec's encoders."""
        self.task.close()

    def _judge(self, outcome: Outcome) -> tuple[float, dict[str, Any]]:
        figures = outcome.figures
        anchors = Anchors(self.task, self.original, self.base_qp)
        terms = dict(self.reward(figures, anchors))
        info = {
            "sample": self.original.sample.name,
            "base_qp": self.base_qp,
            "bits": figures.bits,
            "slice_bits": figures.slice_bits,
            "dice": figures.dice,
            "consistency_dice": figures.consistency_dice,
            "psnr": figures.psnr,
            "anchor_bits": anchors.base.bits,
            "anchor_dice": anchors.base.dice,
            "qp_map": outcome.qp_map.copy(),
            "encodes": 1,
            "reward_terms": terms,
        }
        return float(sum(terms.values())), info

    def _qp(self, action: Any) -> int:
        if not self.action_space.contains(action):
            raise InvalidInputError(
                f"Action {action!r} is not in {self.action_space}: pass an integer index into "
                f"qp_offsets, 0..{len(self.qp_offsets) - 1}."
            )
        return int(np.clip(self.base_qp + self.qp_offsets[int(action)], MIN_QP, MAX_QP))

    def _episode(self) -> tuple[Original, Observer]:
        if self._original is None or self._observer is None:
            raise gym.error.ResetNeeded("No episode yet: call reset() first.")
        return self._original, self._observer

    def _choose_sample(self, choice: Any) -> Sample:
        if choice is None:
            return self.dataset[int(self.np_random.integers(len(self.dataset)))]
        return find_sample(self.dataset, choice)

    def _choose_base_qp(self, choice: Any) -> int:
        if choice is None:
            return self.base_qps[int(self.np_random.integers(len(self.base_qps)))]
        return check_base_qps([choice])[0]


def _view_bytes(view: ImageView) -> int:
    return view.nbytes
