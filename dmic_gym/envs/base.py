"""What the coding environments share: data, evaluator, action table, reward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.envs.registration import EnvSpec

from dmic_gym.envs.dataset_cache import DatasetCache
from dmic_gym.envs.evaluator import (
    TOOL_ERRORS,
    Anchors,
    EncodeResult,
    Evaluator,
    Reference,
    ToolError,
)
from dmic_gym.envs.failures import ToolFailures
from dmic_gym.envs.rewards import Reward, make_reward, paid
from dmic_gym.envs.settings import (
    CodingSettings,
    check_base_qps,
    check_qp_offsets,
    find_sample,
    make_codec,
    make_dataset,
)
from dmic_gym.envs.verdict import Verdict, end_info, failure_info
from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.data.pairs import DataSpec
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.types import RGB, QPMap

SETTABLE = ("base_qps", "dataset", "reward")
"""Attributes that may be set: they count for episodes that begin later, the reward for any."""

Ints = npt.NDArray[np.integer[Any]]


class CodingSetup:
    """Chooses images and base QPs, turns actions into QPs, and judges encodes.

    Args:
        settings: what the user chose.
        workers: threads that encode.
        batch: images the segmenter gets at once; None measures it.

    Attributes:
        evaluator: encoder and segmenter.
    """

    render_mode: str | None
    _spec: EnvSpec | None = None

    def __init__(
        self, settings: CodingSettings, *, workers: int = 1, batch: int | None = 1
    ) -> None:
        self._owns_codec = isinstance(settings.codec, str)
        self._failures = ToolFailures(settings.max_failures)
        codec = make_codec(settings.codec, settings.ctu_size, settings.preset)
        self._qp_range = low, high = codec.qp_range
        self._qp_offsets = check_qp_offsets(settings.qp_offsets, self._qp_range)
        self.base_qps = settings.base_qps
        self.reward = settings.reward
        self._samples = DatasetCache(settings.load_data())
        self.evaluator = Evaluator(codec, settings.load_segmenter(), workers=workers, batch=batch)
        self._qps: QPMap = np.stack(
            [np.clip(qp + np.array(self._qp_offsets), low, high) for qp in range(low, high + 1)]
        ).astype(np.int16)
        self._masks = np.stack([_first_of_equals(qps, self._qp_offsets) for qps in self._qps])

    @property
    def spec(self) -> EnvSpec | None:
        """What `gym.make` was told; copies of it share its objects."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        self._spec = spec
        if spec is not None:
            spec.kwargs = SharedArguments(spec.kwargs)

    @property
    def dataset(self) -> Sequence[Sample]:
        """Where images come from."""
        return self._samples.dataset

    @dataset.setter
    def dataset(self, dataset: DataSpec) -> None:
        self._samples = DatasetCache(make_dataset(dataset))

    @property
    def base_qps(self) -> tuple[int, ...]:
        """The QPs that episodes draw from."""
        return self._base_qps

    @base_qps.setter
    def base_qps(self, base_qps: Sequence[int]) -> None:
        self._base_qps = check_base_qps(base_qps, self._qp_range)

    @property
    def reward(self) -> Reward:
        """Judges an encode."""
        return self._reward

    @reward.setter
    def reward(self, reward: Reward | str) -> None:
        self._reward = make_reward(reward)

    @property
    def qp_offsets(self) -> tuple[int, ...]:
        """The action table."""
        return self._qp_offsets

    @property
    def ctu_size(self) -> int:
        """Side of a CTU in luma samples."""
        return self.evaluator.codec.ctu_size

    def _qps_of(self, base_qp: int | Ints) -> QPMap:
        """Return the QP that each action comes to, int16 (n,), or (N, n) for N base QPs."""
        qps: QPMap = self._qps[base_qp - self._qp_range[0]]
        return qps

    def _masks_of(self, base_qp: int | Ints) -> npt.NDArray[np.bool_]:
        """Return the action masks of a base QP, bool (n,), or (N, n) for N base QPs."""
        masks: npt.NDArray[np.bool_] = self._masks[base_qp - self._qp_range[0]]
        return masks.copy()

    def _draw(
        self, rng: np.random.Generator, options: Mapping[str, Any] | None
    ) -> tuple[Sample, int]:
        """Return image and base QP of an episode: those of `options`, else random ones."""
        options = options or {}
        if unknown := sorted(options.keys() - {"sample", "base_qp"}):
            raise InvalidInputError(
                f"reset(options=...) has unknown keys {unknown}. Valid: sample, base_qp."
            )
        choice, qp = options.get("sample"), options.get("base_qp")
        if choice is None:
            sample = self._samples[int(rng.integers(len(self._samples)))]
        else:
            sample = find_sample(self._samples, choice)
        if qp is None:
            return sample, self.base_qps[int(rng.integers(len(self.base_qps)))]
        return sample, check_base_qps([qp], self._qp_range)[0]

    def _conclude(
        self, reference: Reference, base_qp: int, qp_map: QPMap, found: EncodeResult | ToolError
    ) -> Verdict:
        """Judge an encode, or the failure that stands in its place.

        Raises:
            CodecError, SegmenterError: too many episodes in a row have failed.
        """
        anchors = Anchors(self.evaluator, reference, base_qp)
        result = found if isinstance(found, EncodeResult) else None
        try:
            if isinstance(found, TOOL_ERRORS):
                raise found
            terms = paid(self.reward, found.figures, anchors)
            info = end_info(anchors, qp_map, found.figures, terms)
        except TOOL_ERRORS as error:
            self._failures.add(error)
            return Verdict(0.0, True, failure_info(anchors, qp_map, error), result)
        self._failures.clear()
        return Verdict(float(sum(terms.values())), False, info, result)

    def _picture(
        self,
        reference: Reference,
        qp_map: QPMap,
        result: EncodeResult | None,
        last: tuple[Reference, EncodeResult] | None,
    ) -> RGB | None:
        """Draw an episode; `last` is the encode of an earlier one, shown until it has its own."""
        if self.render_mode is None:
            gym.logger.warn('render() needs gym.make(..., render_mode="rgb_array").')
            return None
        from dmic_gym.envs.rendering import PANEL_SIDE, draw

        earlier, shown = (None, result) if last is None or result is not None else last
        return draw(reference, qp_map, self.ctu_size, shown, of=earlier, side=PANEL_SIDE)

    def _free(self) -> None:
        """End the threads, and close the codec if this environment made it."""
        self.evaluator.close()
        if self._owns_codec:
            self.evaluator.codec.close()


class SharedArguments(dict[str, Any]):
    """Arguments of which a deep copy holds the same objects.

    Gymnasium's wrappers copy the ``spec`` of an environment deeply, data set and networks included.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> SharedArguments:
        return SharedArguments(self)


def raise_closed() -> None:
    """Say that an environment is closed."""
    raise gym.error.ClosedEnvironmentError("This environment is closed: make a new one.")


def _first_of_equals(qps: QPMap, offsets: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Mark, of the offsets that come to the same QP, the one nearest to 0."""
    nearest = sorted(range(len(offsets)), key=lambda n: abs(offsets[n]))
    kept = {int(qps[n]): n for n in reversed(nearest)}.values()
    return np.isin(np.arange(len(offsets)), list(kept))
