"""The value of an allocation to an encoder that can try: Dice minus the price of its bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dmic_gym.codecs.base import uniform_map
from dmic_gym.envs.complexity import complexity
from dmic_gym.envs.evaluator import EncodeResult, Evaluator, Reference
from dmic_gym.tasks.metrics import expected_dice
from dmic_gym.types import AnyQPMap, CTUTable, Mask, QPMap

PosteriorMap: TypeAlias = npt.NDArray[np.floating[Any]]
"""float (H, W), the probability of the structure at each pixel, 0..1."""


@dataclass(frozen=True, eq=False)
class Trial:
    """One real encode and its value.

    Attributes:
        qp_map: int16 (rows, cols), absolute QPs.
        result: what came of it.
        value: expected Dice minus the price of the bits.
    """

    qp_map: QPMap
    result: EncodeResult
    value: float


class Objective:
    """Values QP maps of one image by real encodes, and counts them.

    The value of a map is ``dice - price * bits / pixels``, where dice is the expected Dice of the
    decoded image's mask under `posterior`; see `dmic_gym.tasks.metrics.expected_dice`.

    Args:
        evaluator: encoder and segmenter.
        reference: the image.
        posterior: float (H, W), the probability of the structure at each pixel: a calibrated
            posterior, or the expert mask itself.
        price: Dice per bit per pixel; see `bit_price`.

    Attributes:
        encodes: that the maps tried so far take.
        seconds_saved: of these, what uniform encodes of earlier objectives would have taken.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        reference: Reference,
        posterior: PosteriorMap | Mask,
        price: float,
    ) -> None:
        self.evaluator = evaluator
        self.reference = reference
        self.posterior = posterior.astype(np.float64)
        self.expected_area = float(self.posterior.sum())
        self.price = price / reference.sample.image.size
        self.encodes = 0
        self.seconds_saved = 0.0
        self._known: dict[bytes, Trial] = {}
        self._complexity: dict[int, CTUTable] = {}

    @property
    def trials(self) -> list[Trial]:
        """All trials in the order of their encodes."""
        return list(self._known.values())

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the QP map, (rows, cols)."""
        return self.evaluator.map_shape(self.reference.sample)

    def try_map(self, qp_map: AnyQPMap) -> Trial:
        """Encode, decode, segment and value a map; one tried before costs nothing."""
        qps = np.asarray(qp_map, dtype=np.int16)
        known = self._known.get(qps.tobytes())
        if known is None:
            self.encodes += 1
            known = self.accept(self.evaluator.score(self.reference, qps))
        return known

    def accept(self, result: EncodeResult) -> Trial:
        """Value an encode that somebody else has made and counted."""
        value = expected_dice(result.mask, self.posterior) - self.price * result.figures.bits
        trial = Trial(result.qp_map, result, value)
        self._known[trial.qp_map.tobytes()] = trial
        return trial

    def try_uniform(self, qp: int) -> Trial:
        """Value the anchor at `qp`; an encode that the evaluator has kept counts as one."""
        shape = self.reference.sample.image.shape
        qp_map = uniform_map(shape, self.evaluator.codec.ctu_size, qp)
        known = self._known.get(qp_map.tobytes())
        if known is None:
            self.encodes += 1
            result, saved = self.evaluator.uniform(self.reference, qp)
            self.seconds_saved += saved
            known = self.accept(result)
        return known

    def complexity(self, qp: int) -> CTUTable:
        """Return `dmic_gym.envs.complexity.complexity` of the image, computed once a QP."""
        if qp not in self._complexity:
            image = self.reference.sample.image
            self._complexity[qp] = complexity(image, self.evaluator.codec.ctu_size, qp)
        return self._complexity[qp]
