"""Improving a QP map by trying: real encodes, the real segmenter, expected Dice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dmic_gym.agents.objective import Objective, QPMap, Trial
from dmic_gym.agents.tables import complexity, ctu_sums
from dmic_gym.codec.base import MAX_QP

STEPS = (6, 3, 2, 1)
"""QP steps of the sweeps, coarse to fine; the last is repeated while there is budget."""

MIN_SEARCH_QP = 12
GROUP = 5
_DISTANCE = 2

Table = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Move:
    """One CTU's QP changed by `step`."""

    row: int
    col: int
    step: int

    def far_from(self, others: Sequence[Move]) -> bool:
        """Tell whether the CTU touches none of the others'."""
        return all(
            max(abs(self.row - other.row), abs(self.col - other.col)) >= _DISTANCE
            for other in others
        )


def refine(objective: Objective, start: Trial, budget: int, seed: int = 0) -> Trial:
    """Improve a map by at most `budget` encodes; the value of the result is never below `start`'s.

    Sweeps over all CTUs, up and down, with ever smaller steps. Several moves of CTUs that do
    not touch are tried in one encode; where the whole does not pay, each move is judged by the
    change of Dice in the nine CTUs around it and its share of the bits, and the good ones are
    tried again together. Only what a real encode showed to be better is kept.

    Args:
        objective: values and counts encodes.
        start: where to begin.
        budget: encodes that may be spent.
        seed: of the order of moves.
    """
    rng = np.random.default_rng(seed)
    end = objective.encodes + budget
    best = start
    for step in _steps():
        improved = False
        for group in _groups(_shuffled(best.qp_map.shape, step, rng)):
            if objective.encodes >= end:
                return best
            better = _try_group(objective, best, group, end)
            improved |= better is not best
            best = better
        if step == STEPS[-1] and not improved:
            return best
    return best


def _steps() -> Iterator[int]:
    yield from STEPS
    while True:
        yield STEPS[-1]


def _shuffled(shape: tuple[int, ...], step: int, rng: np.random.Generator) -> list[Move]:
    rows, cols = shape
    moves = [Move(r, c, s) for r in range(rows) for c in range(cols) for s in (step, -step)]
    return [moves[index] for index in rng.permutation(len(moves))]


def _groups(moves: list[Move]) -> Iterator[list[Move]]:
    """Split the moves into groups whose CTUs do not touch, keeping their order."""
    left = moves
    while left:
        group: list[Move] = []
        rest: list[Move] = []
        for move in left:
            fits = len(group) < GROUP and move.far_from(group)
            (group if fits else rest).append(move)
        yield group
        left = rest


def _try_group(objective: Objective, best: Trial, group: list[Move], end: int) -> Trial:
    moved = _moved(best.qp_map, group)
    if np.array_equal(moved, best.qp_map):
        return best
    trial = objective.try_map(moved)
    good = _paying(objective, best, trial, group)
    found = [best, trial]
    if 0 < len(good) < len(group) and objective.encodes < end:
        found.append(objective.try_map(_moved(best.qp_map, good)))
    return max(found, key=lambda candidate: candidate.value)


def _moved(qp_map: QPMap, moves: Sequence[Move]) -> QPMap:
    moved = qp_map.copy()
    for move in moves:
        qp = int(moved[move.row, move.col]) + move.step
        moved[move.row, move.col] = min(max(qp, MIN_SEARCH_QP), MAX_QP)
    return moved


def _paying(objective: Objective, best: Trial, trial: Trial, group: list[Move]) -> list[Move]:
    """Return the moves that seem worth their bits, each judged by what changed around it."""
    gain = _local_gain(objective, best, trial)
    cost = objective.price * _local_bits(objective, best, trial)
    return [m for m in group if gain[m.row, m.col] > cost[m.row, m.col]]


def _local_gain(objective: Objective, best: Trial, trial: Trial) -> Table:
    """Change of the (linearised) expected Dice in each CTU and its eight neighbours."""
    before, after = best.outcome.mask, trial.outcome.mask
    dice = objective.expected_dice(before)
    total = max(float(np.count_nonzero(before)) + objective.mass, 1.0)
    change = (after.astype(np.float64) - before) * (2 * objective.belief - dice) / total
    framed = np.pad(ctu_sums(change, objective.task.codec.ctu_size), 1)
    rows, cols = objective.shape
    around = [framed[y : y + rows, x : x + cols] for y in range(3) for x in range(3)]
    return np.asarray(np.sum(around, axis=0), dtype=np.float64)


def _local_bits(objective: Objective, best: Trial, trial: Trial) -> Table:
    """The change of bits, shared out among the CTUs that moved."""
    before, after = (_modelled_bits(objective, t.qp_map) for t in (best, trial))
    scale = best.outcome.figures.slice_bits / before.sum()
    change = (after - before) * scale
    actual = trial.outcome.figures.bits - best.outcome.figures.bits
    weight = np.abs(change) / max(float(np.abs(change).sum()), 1e-9)
    return np.asarray(change + (actual - change.sum()) * weight, dtype=np.float64)


def _modelled_bits(objective: Objective, qp_map: QPMap) -> Table:
    image, ctu_size = objective.original.sample.image, objective.task.codec.ctu_size
    bits = np.empty(qp_map.shape)
    for qp in np.unique(qp_map):
        here = qp_map == qp
        bits[here] = complexity(image, ctu_size, int(qp))[here]
    return bits
