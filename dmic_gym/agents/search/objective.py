"""The value of an allocation to an encoder that can try: Dice minus the price of its bits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from dmic_gym.codecs.base import Codec
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

    def try_uniform(self, qp: int) -> Trial[R]:
        """Value the anchor at `qp`; an encode that the evaluator has kept counts as one."""
        known = self._known.get(np.full(self.shape, qp, np.int16).tobytes())
        if known is None:
            self.encodes += 1
            known = self._code_uniform(qp)
        return known

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

    @abstractmethod
    def _code_uniform(self, qp: int) -> Trial[R]:
        """Value the anchor at `qp`."""

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

    def _code_uniform(self, qp: int) -> Trial[EncodeResult]:
        result, saved = self.evaluator.uniform(self.reference, qp)
        self.seconds_saved += saved
        return self.accept(result)

    def _find_complexity(self, qp: int) -> CTUTable:
        return complexity(self.reference.sample.image, self.codec.ctu_size, qp)
