"""What the coding environments share: data, evaluator, action table, reward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from dmic_gym.codecs.base import MAX_QP, MIN_QP, Codec
from dmic_gym.envs.cache import ByteBoundedCache
from dmic_gym.envs.dataset_cache import DatasetCache
from dmic_gym.envs.evaluator import Anchors, EncodeResult, Evaluator, Reference
from dmic_gym.envs.observations import ImageView
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
from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.segmenters.protocol import Segmenter

QPS = npt.NDArray[np.int16]


class CodingArguments(TypedDict, total=False):
    """The arguments that all coding environments take; `CodingEnv` documents them."""

    dataset: Sequence[Sample] | str | PathLike[str]
    segmenter: Segmenter | None
    codec: Codec | str
    ctu_size: int | None
    base_qps: Sequence[int]
    qp_offsets: Sequence[int]
    reward: Reward | str
    preset: str | None


class CodingSetup:
    """Chooses images and base QPs, turns actions into QPs, and judges encodes.

    Attributes:
        dataset: where images come from.
        evaluator: encoder and segmenter.
        base_qps: the QPs that episodes draw from.
        qp_offsets: the action table.
        reward: judges an encode.
    """

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
    ) -> None:
        self.dataset = make_dataset(dataset)
        self.base_qps = check_base_qps(base_qps)
        self.qp_offsets = check_qp_offsets(qp_offsets)
        self.reward = make_reward(reward)
        self._samples = DatasetCache(self.dataset)
        self._views = ByteBoundedCache[ImageView](64 << 20, _view_bytes)
        bases = np.arange(MAX_QP + 1)[:, np.newaxis]
        self._qps = np.clip(bases + np.array(self.qp_offsets), MIN_QP, MAX_QP).astype(np.int16)
        self.evaluator = self._make_evaluator(
            make_codec(codec, ctu_size, preset), make_segmenter(segmenter)
        )

    def _make_evaluator(self, codec: Codec, segmenter: Segmenter) -> Evaluator:
        return Evaluator(codec, segmenter)

    @property
    def ctu_size(self) -> int:
        """Side of a CTU in luma samples."""
        return self.evaluator.codec.ctu_size

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
            sample = self._samples[int(rng.integers(len(self.dataset)))]
        else:
            sample = find_sample(self._samples, choice)
        if qp is None:
            return sample, self.base_qps[int(rng.integers(len(self.base_qps)))]
        return sample, check_base_qps([qp])[0]

    def _view(self, reference: Reference) -> ImageView:
        return self._views.get(reference.key, lambda: ImageView(reference, self.ctu_size))

    def _judge(
        self, reference: Reference, base_qp: int, result: EncodeResult
    ) -> tuple[float, dict[str, Any]]:
        """Return the reward and the final info."""
        figures = result.figures
        anchors = Anchors(self.evaluator, reference, base_qp)
        terms = dict(self.reward(figures, anchors))
        base = anchors.base
        info = {
            "sample": reference.sample.name,
            "base_qp": base_qp,
            "bits": figures.bits,
            "slice_bits": figures.slice_bits,
            "dice": figures.dice,
            "consistency_dice": figures.consistency_dice,
            "psnr": figures.psnr,
            "anchor_bits": base.bits,
            "anchor_dice": base.dice,
            "qp_map": result.qp_map.copy(),
            "encodes": 1,
            "reward_terms": terms,
        }
        return float(sum(terms.values())), info


def error_info(error: Exception) -> dict[str, Any]:
    """Return the info of an episode that a tool's failure has ended."""
    return {"error": f"{type(error).__name__}: {error}"}


def _view_bytes(view: ImageView) -> int:
    return view.nbytes
