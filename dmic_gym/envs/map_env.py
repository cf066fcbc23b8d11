"""`CodingMapEnv-v0`: the whole QP map in one action."""

from __future__ import annotations

from typing import Any, Unpack

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from dmic_gym.envs.features import FIXED_FEATURES
from dmic_gym.envs.image_view import SIDE, view_of
from dmic_gym.envs.observations import QP_SCALE, Observation
from dmic_gym.envs.settings import CodingArguments, CodingSettings, shows_settings
from dmic_gym.envs.single import SingleCoding
from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.data.pairs import DataSpec
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.types import QPMap


class CodingMapEnv(SingleCoding, gym.Env[Observation, npt.NDArray[np.int64]]):
    """Allocate the bits of one image inside a real HEVC encoder, all CTUs at once.

    ## Description

    The problem of `CodingEnv` as an episode of one step, for bandit and evolutionary methods: the
    action is the whole QP map. Rewards, figures and bitstreams are those of `CodingEnv`.

    ## Action Space

    `MultiDiscrete([n] * rows * cols)`: for each CTU in raster order an index into the table of QP
    offsets `env.unwrapped.qp_offsets`; see `CodingEnv`. An array (rows, cols) is taken too.

    An action space has one shape, so **all images must have one map shape**, rows x cols =
    ceil(height / CTU size) x ceil(width / CTU size): that of the data set's first image, or
    `map_shape`. Images of other shapes are refused with an error that names them, at once where
    the data set is a list or tuple, else when they are drawn. For images of several sizes make an
    environment for each shape, or use `CodingEnv-v0`, which takes any.

    ## Observation Space

    A flat `Dict`:

    - `base_qp`: float32 (1,), base QP / 51.
    - `ctus`: float32 (rows * cols * 24,), 0..1, 24 values for each CTU in raster order
      (``reshape(-1, 24)``): the features of `CodingEnv` from CTU size to contrast where uncertain.
    - `frame`: uint8 (2, 64, 64), the whole picture scaled to 64x64; 0 is the image, 1 the
      importance.

    ## Rewards

    As `CodingEnv`, in the one step.

    ## Starting State

    As `CodingEnv`.

    ## Episode End

    Terminated after one step, with the `info` of `CodingEnv`'s last step; truncated by a tool's
    failure. The observation stays that of the reset.

    ## Arguments

    Those of `CodingEnv`, and

    - `map_shape`: (rows, cols) of the map; default: the first image's.

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
        map_shape: tuple[int, int] | None = None,
        render_mode: str | None = None,
        **arguments: Unpack[CodingArguments],
    ) -> None:
        super().__init__(CodingSettings(dataset, **arguments))
        self.render_mode = render_mode
        self.map_shape = self._first_shape() if map_shape is None else _checked_shape(map_shape)
        if isinstance(self.dataset, list | tuple):
            for sample in self.dataset:
                self._check_shape(sample)
        count = self.map_shape[0] * self.map_shape[1]
        self.observation_space = _observation_space(count)  # type: ignore[assignment]
        self.action_space = spaces.MultiDiscrete([len(self.qp_offsets)] * count)
        self._base_qp = 0
        self._over = True

    @property
    def base_qp(self) -> int:
        """The base QP of this episode."""
        return self._base_qp

    @property
    def qp_map(self) -> QPMap:
        """Absolute QPs of this episode, int16 (rows, cols); the base QP before the step."""
        _ = self.reference  # raises if there is no episode
        undecided = np.full(self.map_shape, self._base_qp, np.int16)
        return undecided if self.result is None else self.result.qp_map.copy()

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Return bool (rows * cols * n,), for each CTU what `CodingEnv.action_masks` returns."""
        _ = self.reference  # raises if there is no episode
        return np.tile(self._masks_of(self._base_qp), self.map_shape[0] * self.map_shape[1])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode; see the class for `options`.

        Raises:
            InvalidInputError: `options` has an unknown key, or a value that is not valid, or the
                image has another map shape.
            ClosedEnvironmentError: the environment is closed.
        """
        self._check_open()
        gym.Env.reset(self, seed=seed)
        sample, base_qp = self._draw(self.np_random, options)
        self._check_shape(sample)
        self._reference, self._base_qp = self.evaluator.reference(sample), base_qp
        self.result, self._over = None, False
        return self._observe(), {"sample": sample.name, "base_qp": base_qp}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Encode with the map that `action` says.

        Raises:
            InvalidInputError: the action is not in the action space.
            ResetNeeded: the episode is over, or was never begun.
            ClosedEnvironmentError: the environment is closed.
            CodecError, SegmenterError: `max_failures` episodes in a row have failed.
        """
        self._check_open()
        _ = self.reference  # raises if there is no episode
        if self._over:
            raise gym.error.ResetNeeded("The episode is over: call reset() before step().")
        qp_map = self._qps_of(self._base_qp)[self._checked_action(action)]
        self._over = True
        verdict = self._score(self._base_qp, qp_map)
        over = not verdict.truncated, verdict.truncated
        return self._observe(), verdict.reward, *over, verdict.info

    def _observe(self) -> Observation:
        view = view_of(self.reference, self.ctu_size)
        return {
            "base_qp": np.array([self._base_qp / QP_SCALE], np.float32),
            "ctus": view.fixed.flatten(),
            "frame": view.frame.copy(),
        }

    def _checked_action(self, action: Any) -> npt.NDArray[np.integer[Any]]:
        array = np.asarray(action)
        rows, cols = self.map_shape
        fits = array.shape in ((rows * cols,), (rows, cols)) and array.dtype.kind in "iu"
        if not fits or array.min() < 0 or array.max() >= len(self.qp_offsets):
            raise InvalidInputError(
                f"The action must hold {rows} x {cols} integer indices into qp_offsets, "
                f"0..{len(self.qp_offsets) - 1}; got {array.dtype} {array.shape}. "
                "env.action_space.sample() shows one."
            )
        return array.reshape(rows, cols)

    def _first_shape(self) -> tuple[int, int]:
        return self.evaluator.map_shape(self._samples[0])

    def _check_shape(self, sample: Sample) -> None:
        rows, cols = self.evaluator.map_shape(sample)
        if (rows, cols) != self.map_shape:
            wanted = "x".join(map(str, self.map_shape))
            raise InvalidInputError(
                f"Sample {sample.name!r} of {sample.image.shape} has {rows}x{cols} CTUs, but the "
                f"actions of this environment are maps of {wanted}. Pass a data set of one map "
                f"shape, or map_shape=({rows}, {cols}), or use CodingEnv-v0, which takes any."
            )


def _observation_space(count: int) -> spaces.Dict:
    return spaces.Dict(
        {
            "base_qp": spaces.Box(0.0, 1.0, (1,), np.float32),
            "ctus": spaces.Box(0.0, 1.0, (count * len(FIXED_FEATURES),), np.float32),
            "frame": spaces.Box(0, 255, (2, SIDE, SIDE), np.uint8),
        }
    )


def _checked_shape(map_shape: tuple[int, int]) -> tuple[int, int]:
    shape = tuple(np.asarray(map_shape).ravel().tolist())
    if len(shape) != 2 or not all(isinstance(side, int) and side > 0 for side in shape):
        raise InvalidInputError(f"map_shape must be (rows, cols), two integers, got {map_shape!r}.")
    return shape[0], shape[1]
