"""QP offsets as x265 takes them from FFmpeg: regions of interest of a frame."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dmic_gym.codecs.base import QP_RANGE
from dmic_gym.types import QPMap

REGION = np.dtype(
    [(name, np.int32) for name in ("size", "top", "bottom", "left", "right", "n", "d")]
)
"""AVRegionOfInterest (libavutil/frame.h): its own size, edges in samples, and ``n / d``.

FFmpeg multiplies ``n / d`` by the number of QPs above the lowest, 51 at 8 bit and 6 more for each
further bit, so with that number as `d` the offset is exactly `n`.
"""

Regions: TypeAlias = npt.NDArray[np.void]
"""`REGION` (N,)."""

NO_OFFSET: Regions = np.array([(REGION.itemsize, 0, 1, 0, 1, 0, QP_RANGE[1])], REGION)


def regions_of_interest(
    qp_map: QPMap,
    base_qp: int,
    picture: tuple[int, int],
    ctu_size: int,
    bit_depth: int = 8,
) -> Regions:
    """Return one region per run of equal CTUs in a row whose QP is not `base_qp`, in raster order.

    Args:
        qp_map: int16 (rows, cols).
        base_qp: what the offsets are relative to.
        picture: its (H, W).
        ctu_size: side of a CTU.
        bit_depth: of the samples.
    """
    offsets = qp_map.astype(np.int32) - base_qp
    begins = np.ones(offsets.shape, bool)
    begins[:, 1:] = offsets[:, 1:] != offsets[:, :-1]
    first = np.flatnonzero(begins)
    length = np.diff(first, append=offsets.size)
    paid = offsets.flat[first] != 0
    row, col = np.divmod(first[paid], offsets.shape[1])
    found = np.empty(len(row), REGION)
    found["size"] = REGION.itemsize
    found["top"], found["left"] = row * ctu_size, col * ctu_size
    found["bottom"] = np.minimum((row + 1) * ctu_size, picture[0])
    found["right"] = np.minimum((col + length[paid]) * ctu_size, picture[1])
    found["n"] = offsets.flat[first[paid]]
    found["d"] = QP_RANGE[1] + 6 * (bit_depth - 8)
    return found


def addroi_options(region: Any) -> dict[str, str]:
    """Return the options of the FFmpeg filter ``addroi`` that adds a region."""
    _, top, bottom, left, right, n, d = region.item()
    edges = {"x": left, "y": top, "w": right - left, "h": bottom - top}
    return {**{name: str(value) for name, value in edges.items()}, "qoffset": f"{n}/{d}"}
