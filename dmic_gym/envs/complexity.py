"""How hard each CTU is to code, without coding it; sums over CTUs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dmic_gym.types import CTUTable, Image, Plane

_BLOCK = 8


def complexity(image: Image, ctu_size: int, qp: int) -> CTUTable:
    """Estimate the bits of each CTU at `qp` up to a common factor: float (rows, cols).

    The rate of a Gaussian source in each 8x8 DCT coefficient but the mean, with HEVC's
    quantiser step ``2 ** ((qp - 4) / 6)``, plus one for the block's syntax.
    """
    estimate: CTUTable = complexities(image, ctu_size, [qp])[0]
    return estimate


def complexities(image: Image, ctu_size: int, qps: Sequence[int]) -> CTUTable:
    """Return `complexity` at several QPs, float (len(qps), rows, cols)."""
    height, width = image.shape
    padded = np.pad(image, ((0, -height % ctu_size), (0, -width % ctu_size)), mode="edge")
    rows, cols = padded.shape[0] // _BLOCK, padded.shape[1] // _BLOCK
    blocks = padded.astype(np.float64).reshape(rows, _BLOCK, cols, _BLOCK).swapaxes(1, 2)
    basis = _dct_basis()
    coefficients = basis @ blocks @ basis.T
    coefficients[..., 0, 0] = 0.0
    powers = (coefficients**2).reshape(rows, cols, 4, -1)
    rates = (_rate(powers / 4 ** ((qp - 4) / 6)) for qp in qps)
    return np.stack([ctu_sums(rate + 1.0, ctu_size // _BLOCK) for rate in rates])


def _rate(powers: npt.NDArray[np.float64]) -> CTUTable:
    """Return half of ``sum(log2(1 + powers))`` over the last two axes; 16 share a logarithm."""
    return np.asarray(0.5 * np.log2((1.0 + powers).prod(axis=3)).sum(axis=2))


def _dct_basis() -> CTUTable:
    k = np.arange(_BLOCK)
    basis = np.cos(np.pi * (2 * k[None] + 1) * k[:, None] / (2 * _BLOCK)) * np.sqrt(2 / _BLOCK)
    basis[0] /= np.sqrt(2)
    return np.asarray(basis)


def ctu_sums(plane: npt.NDArray[np.generic], ctu_size: int) -> CTUTable:
    """Sum a picture over its CTUs, border CTUs included: float (rows, cols)."""
    height, width = plane.shape
    rows, cols = np.arange(0, height, ctu_size), np.arange(0, width, ctu_size)
    values = plane.astype(np.float64)
    return np.asarray(np.add.reduceat(np.add.reduceat(values, rows, axis=0), cols, axis=1))


def ctu_max(plane: Plane, ctu_size: int) -> Plane:
    """Return the highest value of a plane in each CTU: float32 (rows, cols)."""
    rows, cols = (np.arange(0, side, ctu_size) for side in plane.shape)
    highest: Plane = np.maximum.reduceat(np.maximum.reduceat(plane, rows, axis=0), cols, axis=1)
    return highest
