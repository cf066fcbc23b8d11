"""A first allocation from a handful of uniform encodes: per-CTU tables and a Lagrangian."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dmic_gym.agents.search.objective import R, SearchObjective, Trial
from dmic_gym.types import CTUTable, QPMap

TABLE_QPS = (18, 22, 26, 30, 34, 37, 40, 43, 46, 49, 51)
"""QPs of the uniform encodes that fill the tables."""

COARSE_TABLE_QPS = TABLE_QPS[1::2]
"""The same where encodes are better spent on refinement."""


@dataclass(frozen=True, eq=False)
class Tables:
    """What each CTU would contribute at each QP, were the whole picture coded at it.

    Attributes:
        qps: int (Q,), ascending.
        overlap: float (Q, rows, cols), posterior inside the decoded image's mask.
        area: float (Q, rows, cols), pixels of that mask.
        bits: float (Q, rows, cols), the slice bits shared out by `complexity`.
    """

    qps: npt.NDArray[np.int16]
    overlap: CTUTable
    area: CTUTable
    bits: CTUTable


def build_tables(objective: SearchObjective[R], qps: Sequence[int] = TABLE_QPS) -> Tables:
    """Fill the tables by one uniform encode a QP."""
    trials = objective.try_uniforms(qps)
    return Tables(
        qps=np.array(qps, dtype=np.int16),
        overlap=np.stack([objective.ctu_sums(objective.posterior * t.mask) for t in trials]),
        area=np.stack([objective.ctu_sums(t.mask) for t in trials]),
        bits=np.stack([_shared_bits(objective, t, qp) for t, qp in zip(trials, qps, strict=True)]),
    )


def allocate(tables: Tables, objective: SearchObjective[R], rounds: int = 8) -> QPMap:
    """Return the map that maximises Dice minus the price of bits according to the tables.

    Dice is a ratio, so it is linearised at the present allocation (Dinkelbach 1967) and every CTU
    takes its best QP, a few times over.
    """
    choice = np.full(tables.overlap.shape[1:], len(tables.qps) // 2)
    for _ in range(rounds):
        overlap = np.take_along_axis(tables.overlap, choice[None], 0).sum()
        total = np.take_along_axis(tables.area, choice[None], 0).sum() + objective.expected_area
        dice = 2 * overlap / total if total else 1.0
        value = (2 * tables.overlap - dice * tables.area) / max(total, 1.0)
        choice = np.argmax(value - objective.price * tables.bits, axis=0)
    return np.asarray(tables.qps[choice], dtype=np.int16)


def _shared_bits(objective: SearchObjective[R], trial: Trial[R], qp: int) -> CTUTable:
    """Share out a stream's slice bits among the CTUs; x265 does not say how many each took."""
    weights = objective.complexity(qp)
    return np.asarray(weights * (trial.figures.slice_bits / weights.sum()))
