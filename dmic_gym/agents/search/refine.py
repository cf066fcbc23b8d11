"""Improving a QP map by trying: real encodes, the real segmenter, expected Dice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from dmic_gym.agents.search.objective import R, SearchObjective, Trial
from dmic_gym.tasks.metrics import expected_dice
from dmic_gym.types import CTUTable, QPMap

STEPS = (6, 3, 2, 1)
"""QP steps of the first sweeps, coarse to fine; later sweeps try random ones."""

STEPS_FROM_A_PLAN = (3, 6, 2, 1)
"""The same where somebody has chosen the map to begin with: most of it is less than 6 off."""

MIN_SEARCH_QP = 12
_COMBINATIONS = 3
_IDLE_SWEEPS = 8
"""Give up after so many sweeps in which every map had been tried before, as with a single CTU."""


@dataclass(frozen=True)
class Move:
    """One CTU's QP changed by `step`."""

    row: int
    col: int
    step: int


def refine(
    objective: SearchObjective[R],
    start: Trial[R],
    budget: int,
    seed: int = 0,
    steps: Sequence[int] = STEPS,
) -> Trial[R]:
    """Improve a map by at most `budget` encodes; the value of the result is never below `start`'s.

    A sweep probes every CTU, up and down, many at once: one encode moves a set of CTUs that do
    not touch, and what changes around each of them, and its share of the bits, gives the value of
    that move by itself. The moves that pay are then tried together, and if that disappoints, the
    better half of them. Only what a real encode showed to be better is kept.

    Args:
        objective: values and counts encodes.
        start: where to begin.
        budget: encodes that may be spent.
        seed: of the order of probes and of the later, random sweeps.
        steps: of the first sweeps, in QPs.
    """
    rng = np.random.default_rng(seed)
    end = objective.encodes + budget
    best = start
    idle = 0
    for groups in _sweeps(objective.shape, steps, rng):
        if objective.encodes >= end or idle == _IDLE_SWEEPS:
            break
        spent = objective.encodes
        best = _sweep(objective, best, groups, end)
        idle = idle + 1 if objective.encodes == spent else 0
    return best


def _sweeps(
    shape: tuple[int, int], steps: Sequence[int], rng: np.random.Generator
) -> Iterator[list[list[Move]]]:
    """Yield the groups of moves of each sweep, in random order, without end."""
    for step in steps:
        groups = _apart(shape, step)
        yield [groups[index] for index in rng.permutation(len(groups))]
    while True:
        groups = [_thinned(group, rng) for group in _apart(shape, 1)]
        yield [groups[index] for index in rng.permutation(len(groups))]


def _thinned(group: list[Move], rng: np.random.Generator) -> list[Move]:
    """Keep half of the moves, with steps of 1 to 3."""
    kept = [move for move in group if rng.random() < 0.5]
    return [Move(m.row, m.col, m.step * int(rng.integers(1, 4))) for m in kept]


def _apart(shape: tuple[int, int], step: int) -> list[list[Move]]:
    """Return all moves up and down in groups of CTUs with one CTU or more between them."""
    rows, cols = shape
    return [
        [Move(r, c, s) for r in range(top, rows, 2) for c in range(left, cols, 2)]
        for s, top, left in product((step, -step), (0, 1), (0, 1))
    ]


def _sweep(
    objective: SearchObjective[R], start: Trial[R], groups: list[list[Move]], end: int
) -> Trial[R]:
    best = start
    values: dict[Move, float] = {}
    wanted = [[m for m in group if _moves_anything(objective, start.qp_map, m)] for group in groups]
    probed = [moves for moves in wanted if moves]
    maps = [_moved(objective, start.qp_map, moves) for moves in probed]
    for moves, probe in zip(
        probed, objective.try_maps(maps, end - objective.encodes), strict=False
    ):
        best = max(best, probe, key=_value)
        values |= _values_of(objective, start, probe, moves)
    paying = _best_of_each_ctu(values)
    for _ in range(_COMBINATIONS):
        if not paying or objective.encodes >= end:
            break
        together = objective.try_map(_moved(objective, start.qp_map, paying))
        if together.value > best.value:
            return together
        paying = paying[: len(paying) // 2]
    return best


def _value(trial: Trial[R]) -> float:
    return trial.value


def _moves_anything(objective: SearchObjective[R], qp_map: QPMap, move: Move) -> bool:
    return bool(_target(objective, qp_map, move) != qp_map[move.row, move.col])


def _target(objective: SearchObjective[R], qp_map: QPMap, move: Move) -> int:
    highest = objective.codec.qp_range[1]
    return min(max(int(qp_map[move.row, move.col]) + move.step, MIN_SEARCH_QP), highest)


def _moved(objective: SearchObjective[R], qp_map: QPMap, moves: Sequence[Move]) -> QPMap:
    moved = qp_map.copy()
    for move in moves:
        moved[move.row, move.col] = _target(objective, qp_map, move)
    return moved


def _best_of_each_ctu(values: Mapping[Move, float]) -> list[Move]:
    """Return the best move of each CTU that pays at all, best first."""
    ranked = sorted((m for m in values if values[m] > 0), key=lambda m: values[m], reverse=True)
    chosen: dict[tuple[int, int], Move] = {}
    for move in ranked:
        chosen.setdefault((move.row, move.col), move)
    return list(chosen.values())


def _values_of(
    objective: SearchObjective[R], before: Trial[R], after: Trial[R], moves: Sequence[Move]
) -> dict[Move, float]:
    """Estimate the value of each of the moves alone: its Dice minus the price of its bits."""
    dice = _assigned(_dice_change(objective, before, after), moves)
    cost = objective.price * _bits(objective, before, after)
    return {move: dice[move] - float(cost[move.row, move.col]) for move in moves}


def _assigned(change: CTUTable, moves: Sequence[Move]) -> dict[Move, float]:
    """Give each move the change in its CTU and its part of that in CTUs that did not move."""
    framed = np.pad(change, 1)
    moved = np.zeros(framed.shape)
    for move in moves:
        moved[move.row + 1, move.col + 1] = 1.0
    near = sum(np.roll(moved, shift, (0, 1)) for shift in product((-1, 0, 1), repeat=2))
    part = np.where(moved > 0, 0.0, framed / np.maximum(near, 1.0))
    return {
        m: float(change[m.row, m.col] + part[m.row : m.row + 3, m.col : m.col + 3].sum())
        for m in moves
    }


def _dice_change(objective: SearchObjective[R], before: Trial[R], after: Trial[R]) -> CTUTable:
    """Change of the expected Dice, linearised at `before`, by CTU."""
    old, new = before.mask, after.mask
    dice = expected_dice(old, objective.posterior)
    total = max(float(np.count_nonzero(old)) + objective.expected_area, 1.0)
    change = (new.astype(np.float64) - old) * (2 * objective.posterior - dice) / total
    return objective.ctu_sums(change)


def _bits(objective: SearchObjective[R], before: Trial[R], after: Trial[R]) -> CTUTable:
    """The change of bits, shared out among the CTUs that moved."""
    old, new = (_modelled_bits(objective, trial.qp_map) for trial in (before, after))
    change = (new - old) * (before.figures.slice_bits / old.sum())
    actual = after.figures.bits - before.figures.bits
    weight = np.abs(change) / max(float(np.abs(change).sum()), 1e-9)
    return np.asarray(change + (actual - change.sum()) * weight, dtype=np.float64)


def _modelled_bits(objective: SearchObjective[R], qp_map: QPMap) -> CTUTable:
    bits = np.empty(qp_map.shape)
    for qp in np.unique(qp_map):
        here = qp_map == qp
        bits[here] = objective.complexity(int(qp))[here]
    return bits
