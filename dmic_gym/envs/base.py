"""What the environments of images share: data, evaluator, verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from dmic_gym.envs.credit import ctu_rewards
from dmic_gym.envs.dataset_cache import DatasetCache
from dmic_gym.envs.evaluator import (
    TOOL_ERRORS,
    Anchors,
    EncodeResult,
    Evaluator,
    Reference,
    ToolError,
)
from dmic_gym.envs.rewards import paid
from dmic_gym.envs.settings import CodingSettings, check_base_qps, find_sample, make_dataset
from dmic_gym.envs.setup import EncoderSetup
from dmic_gym.envs.verdict import Verdict, end_info, failure_info
from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.data.pairs import DataSpec
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.types import RGB, QPMap


class CodingSetup(EncoderSetup):
    """Chooses images and base QPs, and judges encodes.

    Args:
        settings: what the user chose.
        workers: threads that encode.
        batch: images the segmenter gets at once; None measures it.

    Attributes:
        evaluator: encoder and segmenter.
    """

    def __init__(
        self, settings: CodingSettings, *, workers: int = 1, batch: int | None = 1
    ) -> None:
        super().__init__(settings)
        self._samples = DatasetCache(settings.load_data())
        self.evaluator = Evaluator(
            self._codec, settings.load_segmenter(), workers=workers, batch=batch
        )

    @property
    def dataset(self) -> Sequence[Sample]:
        """Where images come from."""
        return self._samples.dataset

    @dataset.setter
    def dataset(self, dataset: DataSpec) -> None:
        self._samples = DatasetCache(make_dataset(dataset))

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
            credit = ctu_rewards(
                self.evaluator, reference, base_qp, self.reward, sum(terms.values()), found
            )
            info = end_info(anchors, found, terms, credit)
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
        super()._free()
