"""How a stream's slice bits are shared among its CTUs: a model, as x265 does not say."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np

from dmic_gym.envs.complexity import complexities
from dmic_gym.envs.results import Reference
from dmic_gym.types import AnyQPMap, CTUTable, Image

_QPS = np.arange(4, 53, 6)
_SCALE = np.array([3.35, 3.54, 3.53, 3.2, 2.45, 1.73, 1.22, 0.735, 0.476])
"""Slice bits of uniform encodes by `complexity` at each of `_QPS`: the geometric mean of 12
angiograms of ARCADE's training split, 6 of Coronary's and 6 phantoms, which agree within 30 %."""


class BitModel:
    """The bits that each CTU of a picture takes at any QP, up to a common factor.

    `complexity` at the CTU's own QP times a factor of the QP that uniform encodes gave, both
    interpolated in the logarithm. On ARCADE training images under random QP maps, one CTU's QP
    changed by 6 or 9, it predicts the real change of slice bits with correlation 0.94 and slope
    0.99; `complexity` alone with 0.84 and 2.0.

    Args:
        image: uint8 (H, W), what is coded.
        ctu_size: side of a CTU in luma samples.
    """

    def __init__(self, image: Image, ctu_size: int) -> None:
        table = complexities(image, ctu_size, _QPS.tolist()) * _SCALE[:, None, None]
        self._logs = np.log(table)

    def bits(self, qp_map: AnyQPMap, slice_bits: float) -> CTUTable:
        """Share out the slice bits of a stream coded with `qp_map`, float (rows, cols)."""
        place = np.clip((np.asarray(qp_map, np.float64) - _QPS[0]) / 6.0, 0.0, len(_QPS) - 1.0)
        below = np.minimum(place.astype(np.int64), len(_QPS) - 2)
        low, high = (np.take_along_axis(self._logs, n[None], 0)[0] for n in (below, below + 1))
        weights = np.exp(low + (place - below) * (high - low))
        return np.asarray(weights * (slice_bits / weights.sum()))


_models: WeakKeyDictionary[Reference, dict[int, BitModel]] = WeakKeyDictionary()


def bit_model_of(reference: Reference, ctu_size: int) -> BitModel:
    """Return the model of an image, made once for as long as somebody holds `reference`."""
    kept = _models.setdefault(reference, {})
    if ctu_size not in kept:
        kept[ctu_size] = BitModel(reference.sample.image, ctu_size)
    return kept[ctu_size]
