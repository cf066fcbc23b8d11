"""A first allocation from a handful of uniform encodes: per-CTU tables and a Lagrangian."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dmic_gym.agents.objective import Objective, QPMap, Trial

TABLE_QPS = (18, 22, 26, 30, 34, 37, 40, 43, 46, 49, 51)
"""QPs of the uniform encodes that fill the oracle's tables."""

COARSE_TABLE_QPS = TABLE_QPS[1::2]
"""The same where encodes are better spent on refinement."""

Table = npt.NDArray[np.float64]
_BLOCK = 8


@dataclass(frozen=True, eq=False)
class Tables:
    """What each CTU would contribute at each QP, were the whole picture coded at it.

    Attributes:
        qps: int (Q,), ascending.
        gain: float (Q, rows, cols), belief inside the decoded image's mask.
        area: float (Q, rows, cols), pixels of that mask.
        bits: float (Q, rows, cols), the slice bits shared out by `complexity`.
    """

    qps: npt.NDArray[np.int16]
    gain: Table
    area: Table
    bits: Table


def build_tables(objective: Objective, qps: Sequence[int] = TABLE_QPS) -> Tables:
    """Fill the tables by one uniform encode a QP."""
    ctu = objective.task.codec.ctu_size
    trials = [objective.try_uniform(qp) for qp in qps]
    image = objective.original.sample.image
    return Tables(
        qps=np.array(qps, dtype=np.int16),
        gain=np.stack([ctu_sums(objective.belief * t.outcome.mask, ctu) for t in trials]),
        area=np.stack([ctu_sums(t.outcome.mask, ctu) for t in trials]),
        bits=np.stack([_shared_bits(image, ctu, t, qp) for t, qp in zip(trials, qps, strict=True)]),
    )


def allocate(tables: Tables, objective: Objective, rounds: int = 8) -> QPMap:
    """Return the map that maximises Dice minus the price of bits according to the tables.

    Dice is a ratio, so it is linearised at the present allocation (Dinkelbach 1967) and every CTU
    takes its best QP, a few times over.
    """
    choice = np.full(tables.gain.shape[1:], len(tables.qps) // 2)
    for _ in range(rounds):
        gain = np.take_along_axis(tables.gain, choice[None], 0).sum()
        total = np.take_along_axis(tables.area, choice[None], 0).sum() + objective.mass
        dice = 2 * gain / total if total else 1.0
        value = (2 * tables.gain - dice * tables.area) / max(total, 1.0)
        choice = np.argmax(value - objective.price * tables.bits, axis=0)
    return np.asarray(tables.qps[choice], dtype=np.int16)


def ctu_sums(plane: npt.NDArray[np.generic], ctu_size: int) -> Table:
    """Sum a picture over its CTUs, border CTUs included: float (rows, cols)."""
    height, width = plane.shape
    rows, cols = np.arange(0, height, ctu_size), np.arange(0, width, ctu_size)
    by_row = np.add.reduceat(plane.astype(np.float64), rows, axis=0)
    return np.asarray(np.add.reduceat(by_row, cols, axis=1), dtype=np.float64)


def _shared_bits(image: npt.NDArray[np.uint8], ctu: int, trial: Trial, qp: int) -> Table:
    """Share out a stream's slice bits among the CTUs; x265 does not say how many each took."""
    weights = complexity(image, ctu, qp)
    return np.asarray(weights * (trial.outcome.figures.slice_bits / weights.sum()))


def complexity(image: npt.NDArray[np.uint8], ctu_size: int, qp: int) -> Table:
    """Estimate the bits of each CTU at `qp` up to a common factor: float (rows, cols).

    The rate of a Gaussian source in each 8x8 DCT coefficient but the mean, with HEVC's
    quantiser step ``2 ** ((qp - 4) / 6)``, plus one for the block's syntax.
    """
    height, width = image.shape
    padded = np.pad(image, ((0, -height % ctu_size), (0, -width % ctu_size)), mode="edge")
    rows, cols = padded.shape[0] // _BLOCK, padded.shape[1] // _BLOCK
    blocks = padded.astype(np.float64).reshape(rows, _BLOCK, cols, _BLOCK).swapaxes(1, 2)
    basis = _dct_basis()
    coefficients = basis @ blocks @ basis.T
    coefficients[..., 0, 0] = 0.0
    step = 2 ** ((qp - 4) / 6)
    rate = 0.5 * np.log2(1 + (coefficients / step) ** 2).sum(axis=(2, 3)) + 1.0
    return ctu_sums(rate, ctu_size // _BLOCK)


def _dct_basis() -> Table:
    k = np.arange(_BLOCK)
    basis = np.cos(np.pi * (2 * k[None] + 1) * k[:, None] / (2 * _BLOCK)) * np.sqrt(2 / _BLOCK)
    basis[0] /= np.sqrt(2)
    return np.asarray(basis)
