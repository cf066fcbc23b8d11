"""What an allocation is worth to an encoder that can try: Dice minus the price of its bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dmic_gym.codec.base import uniform_map
from dmic_gym.envs.complexity import complexity
from dmic_gym.envs.task import CodingTask, Mask, Original, Outcome

QPMap = npt.NDArray[np.int16]
Belief = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Trial:
    """One real encode and its value.

    Attributes:
        qp_map: int16 (rows, cols), absolute QPs.
        outcome: what came of it.
        value: expected Dice minus the price of the bits.
    """

    qp_map: QPMap
    outcome: Outcome
    value: float


class Objective:
    """Values QP maps of one image by real encodes, and counts them.

    The value of a map is ``dice - price * bits / pixels``, where dice is the expected Dice of the
    decoded image's mask under `belief`: ``2 sum(belief in mask) / (|mask| + sum(belief))``.

    Args:
        task: encoder and segmenter.
        original: the image.
        belief: float (H, W), the probability of the structure at each pixel: a calibrated
            posterior, or the expert mask itself.
        price: Dice per bit per pixel; see `bit_price`.
    """

    def __init__(
        self, task: CodingTask, original: Original, belief: Belief | Mask, price: float
    ) -> None:
        self.task = task
        self.original = original
        self.belief = belief.astype(np.float64)
        self.mass = float(self.belief.sum())
        self.price = price / original.sample.image.size
        self.encodes = 0
        self._known: dict[bytes, Trial] = {}
        self._complexity: dict[int, npt.NDArray[np.float64]] = {}

    @property
    def trials(self) -> list[Trial]:
        """All trials in the order of their encodes."""
        return list(self._known.values())

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the QP map, (rows, cols)."""
        return self.task.map_shape(self.original.sample)

    def try_map(self, qp_map: npt.NDArray[np.integer[Any]]) -> Trial:
        """Encode, decode, segment and value a map; one tried before costs nothing."""
        qps = np.asarray(qp_map, dtype=np.int16)
        known = self._known.get(qps.tobytes())
        if known is None:
            self.encodes += 1
            known = self.accept(self.task.score(self.original, qps))
        return known

    def accept(self, outcome: Outcome) -> Trial:
        """Value an encode that somebody else has made and counted."""
        value = self.expected_dice(outcome.mask) - self.price * outcome.figures.bits
        trial = Trial(outcome.qp_map, outcome, value)
        self._known[trial.qp_map.tobytes()] = trial
        return trial

    def try_uniform(self, qp: int) -> Trial:
        """Value the anchor at `qp`."""
        shape = self.original.sample.image.shape
        return self.try_map(uniform_map(shape, self.task.codec.ctu_size, qp))

    def complexity(self, qp: int) -> npt.NDArray[np.float64]:
        """Return `dmic_gym.envs.complexity.complexity` of the image, computed once a QP."""
        if qp not in self._complexity:
            image = self.original.sample.image
            self._complexity[qp] = complexity(image, self.task.codec.ctu_size, qp)
        return self._complexity[qp]

    def expected_dice(self, mask: Mask) -> float:
        """Return the expected Dice of `mask`; 1 where it and the belief are empty."""
        total = float(np.count_nonzero(mask)) + self.mass
        return 2.0 * float(self.belief[mask].sum()) / total if total else 1.0
