"""The value of an allocation to an encoder that can try: Dice minus the price of its bits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from dmic_gym.codecs.base import Codec
from dmic_gym.envs.attempts import checked
from dmic_gym.envs.complexity import complexity, ctu_sums
from dmic_gym.envs.evaluator import EncodeResult, Evaluator, Figures, Reference
from dmic_gym.tasks.metrics import expected_dice
from dmic_gym.types import AnyQPMap, CTUTable, Mask, QPMap

PosteriorMap: TypeAlias = npt.NDArray[np.floating[Any]]
"""float (H, W), the probability of the structure at each pixel, 0..1."""

R = TypeVar("R")


@dataclass(frozen=True, eq=False)
class Trial(Generic[R]):
    """One real encode and its value.

    Attributes:
        qp_map: int16 (rows, cols), absolute QPs.
        mask: the segmenter's on what was decoded, bool, of the posterior's shape.
        figures: the numbers of the encode.
        result: what else is kept of it.
        value: expected Dice minus the price of the bits.
    """

    qp_map: QPMap
    mask: Mask
    figures: Figures
    result: R
    value: float


class SearchObjective(ABC, Generic[R]):
    """Values QP maps by real encodes, and counts them.

    The value of a map is ``dice - price * bits``, where dice is the expected Dice of what was
    decoded under `posterior`; see `dmic_gym.tasks.metrics.expected_dice`.

    Args:
        codec: the encoder.
        posterior: the probability of the structure at each pixel, of any shape.
        price: Dice per bit.

    Attributes:
        encodes: that the maps tried so far take.
        seconds_saved: of these, what uniform encodes of earlier objectives would have taken.
    """

    def __init__(self, codec: Codec, posterior: PosteriorMap | Mask, price: float) -> None:
        self.codec = codec
        self.posterior = posterior.astype(np.float64)
        self.expected_area = float(self.posterior.sum())
        self.price = price
        self.encodes = 0
        self.seconds_saved = 0.0
        self._known: dict[bytes, Trial[R]] = {}
        self._complexity: dict[int, CTUTable] = {}

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Shape of the QP map, (rows, cols)."""

    @property
    def trials(self) -> list[Trial[R]]:
        """All trials in the order of their encodes."""
        return list(self._known.values())

    def try_map(self, qp_map: AnyQPMap) -> Trial[R]:
        """Encode, decode, segment and value a map; one tried before costs nothing."""
        qps = np.asarray(qp_map, dtype=np.int16)
        known = self._known.get(qps.tobytes())
        if known is None:
            self.encodes += 1
            known = self._code(qps)
        return known

    def try_maps(self, qp_maps: Sequence[AnyQPMap], budget: int) -> list[Trial[R]]:
        """Value maps that do not depend on each other, on all of the evaluator's threads.

        Args:
            qp_maps: in the order of their importance.
            budget: encodes that may be spent.

        Returns:
            What `try_map` returns of each, up to the first that the budget has no encode for.
        """
        maps = [np.asarray(qp_map, dtype=np.int16) for qp_map in qp_maps]
        new: dict[bytes, QPMap] = {}
        for place, qps in enumerate(maps):
            if qps.tobytes() not in self._known | new:
                if len(new) >= budget:
                    maps = maps[:place]
                    break
                new[qps.tobytes()] = qps
        self.encodes += len(new)
        self._code_all(list(new.values()))
        return [self._known[qps.tobytes()] for qps in maps]

    def try_uniforms(self, qps: Sequence[int]) -> list[Trial[R]]:
        """Value the anchor at each of `qps`; encodes that the evaluator has kept count too."""
        keys = {qp: np.full(self.shape, qp, np.int16).tobytes() for qp in qps}
        new = [qp for qp in keys if keys[qp] not in self._known]
        self.encodes += len(new)
        self._code_uniforms(new)
        return [self._known[keys[qp]] for qp in qps]

    def try_uniform(self, qp: int) -> Trial[R]:
        """Value the anchor at `qp`; see `try_uniforms`."""
        return self.try_uniforms([qp])[0]

    def complexity(self, qp: int) -> CTUTable:
        """Return `dmic_gym.envs.complexity.complexity` of the picture, computed once a QP."""
        if qp not in self._complexity:
            self._complexity[qp] = self._find_complexity(qp)
        return self._complexity[qp]

    def ctu_sums(self, plane: npt.NDArray[np.generic]) -> CTUTable:
        """Sum what has the posterior's shape over each CTU, in all frames: float (rows, cols)."""
        frames = plane if plane.ndim == 2 else plane.sum(axis=0, dtype=np.float64)
        return ctu_sums(frames, self.codec.ctu_size)

    @abstractmethod
    def _code(self, qp_map: QPMap) -> Trial[R]:
        """Make and value an encode."""

    def _code_all(self, qp_maps: Sequence[QPMap]) -> None:
        """Make and value several encodes."""
        for qps in qp_maps:
            self._code(qps)

    @abstractmethod
    def _code_uniforms(self, qps: Sequence[int]) -> None:
        """Value the anchor at each of `qps`."""

    @abstractmethod
    def _find_complexity(self, qp: int) -> CTUTable: ...

    def _value(self, qp_map: QPMap, mask: Mask, figures: Figures, result: R) -> Trial[R]:
        value = expected_dice(mask, self.posterior) - self.price * figures.bits
        trial = self._known[qp_map.tobytes()] = Trial(qp_map, mask, figures, result, value)
        return trial


class Objective(SearchObjective[EncodeResult]):
    """Values QP maps of one image.

    Args:
        evaluator: encoder and segmenter.
        reference: the image.
        posterior: float (H, W), the probability of the structure at each pixel: a calibrated
            posterior, or the expert mask itself.
        price: Dice per bit per pixel; see `bit_price`.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        reference: Reference,
        posterior: PosteriorMap | Mask,
        price: float,
    ) -> None:
        super().__init__(evaluator.codec, posterior, price / reference.sample.image.size)
        self.evaluator = evaluator
        self.reference = reference

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the QP map, (rows, cols)."""
        return self.evaluator.map_shape(self.reference.sample)

    def accept(self, result: EncodeResult) -> Trial[EncodeResult]:
        """Value an encode that somebody else has made and counted."""
        return self._value(result.qp_map, result.mask, result.figures, result)

    def _code(self, qp_map: QPMap) -> Trial[EncodeResult]:
        return self.accept(self.evaluator.score(self.reference, qp_map))

    def _code_all(self, qp_maps: Sequence[QPMap]) -> None:
        for found in self.evaluator.score_all([(self.reference, qps) for qps in qp_maps]):
            self.accept(checked(found))

    def _code_uniforms(self, qps: Sequence[int]) -> None:
        for result, saved in self.evaluator.uniforms(self.reference, qps):
            self.seconds_saved += saved
            self.accept(result)

    def _find_complexity(self, qp: int) -> CTUTable:
        return complexity(self.reference.sample.image, self.codec.ctu_size, qp)
