"""The observations of many episodes at once, in arrays that are made once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dmic_gym.codecs.base import MAX_QP
from dmic_gym.envs.observations import (
    BASE_QP,
    FEATURES,
    FIXED,
    OFFSET_ABOVE,
    OFFSET_LEFT,
    OFFSET_MEAN,
    PROGRESS,
    SIDE,
    ImageView,
    Observation,
    move_on,
)

Ints = npt.NDArray[np.int64]


class ObservationBatch:
    """What an `Observer` is to one episode, for many that go in step; the same observations.

    Args:
        count: number of episodes.

    Attributes:
        arrays: by key, uint8 or float32 (count, ...); overwritten by each `observe`.
        index: int64 (count,), the current CTU of each.
        base_qps: int64 (count,).
    """

    def __init__(self, count: int) -> None:
        pictures = (count, 2, SIDE, SIDE)
        self.arrays: Observation = {
            "ctu": np.zeros(pictures, np.uint8),
            "features": np.zeros((count, len(FEATURES)), np.float32),
            "frame": np.zeros(pictures, np.uint8),
            "progress": np.zeros(pictures, np.uint8),
        }
        self.index: Ints = np.zeros(count, np.int64)
        self.base_qps: Ints = np.zeros(count, np.int64)
        self._views: list[ImageView | None] = [None] * count
        self._cols: Ints = np.ones(count, np.int64)
        self._counts: Ints = np.ones(count, np.int64)
        self._offset_sums: Ints = np.zeros(count, np.int64)
        self._qps: npt.NDArray[np.int16] = np.zeros((count, 1), np.int16)
        self._all: Ints = np.arange(count)

    def begin(self, row: int, view: ImageView, base_qp: int) -> None:
        """Start an episode in `row`."""
        self._views[row] = view
        self._cols[row], self._counts[row] = view.cols, view.count
        self.index[row] = self._offset_sums[row] = 0
        self.base_qps[row] = base_qp
        self._make_room(view.count)
        self._qps[row] = base_qp
        self.arrays["frame"][row] = view.frame
        progress = self.arrays["progress"][row]
        progress[...] = 0
        progress[0][view.cell(0)] = 255

    def decide(self, qps: npt.NDArray[np.int16]) -> None:
        """Set the QP of each episode's current CTU, int16 (count,), and go to the next."""
        self._qps[self._all, self.index] = qps
        self._offset_sums += qps - self.base_qps
        progress = self.arrays["progress"]
        for row, (index, qp) in enumerate(zip(self.index.tolist(), qps.tolist(), strict=True)):
            move_on(progress[row], self.view(row), index, qp)
        self.index += 1

    def over(self) -> list[int]:
        """Return the rows whose CTUs are all decided."""
        rows: list[int] = np.flatnonzero(self.index == self._counts).tolist()
        return rows

    def view(self, row: int) -> ImageView:
        """Return the image of an episode that has begun."""
        view = self._views[row]
        assert view is not None
        return view

    def qp_map(self, row: int) -> npt.NDArray[np.int16]:
        """Return a copy of an episode's QP map, int16 (rows, cols); base QP where undecided."""
        view = self.view(row)
        return self._qps[row, : view.count].reshape(view.rows, view.cols).copy()

    def observe(self, rows: Sequence[int] | None = None) -> None:
        """Bring `arrays` up to date in `rows`, in all by default."""
        chosen = self._all if rows is None else np.asarray(rows, np.int64)
        at = np.minimum(self.index, self._counts - 1)
        windows, features = self.arrays["ctu"], self.arrays["features"]
        for row in chosen.tolist():
            view, index = self.view(row), int(at[row])
            windows[row] = view.window(index)
            features[row, FIXED] = view.fixed[index]
        self._add_features(features, chosen, at[chosen])

    def row(self, row: int) -> Observation:
        """Return a copy of one episode's observation."""
        return {key: array[row].copy() for key, array in self.arrays.items()}

    def _add_features(self, features: npt.NDArray[Any], rows: Ints, at: Ints) -> None:
        base_qps, cols, index = self.base_qps[rows], self._cols[rows], self.index[rows]
        left = np.where(at % cols > 0, self._qps[rows, np.maximum(at - 1, 0)] - base_qps, 0)
        above = np.where(at >= cols, self._qps[rows, np.maximum(at - cols, 0)] - base_qps, 0)
        mean = self._offset_sums[rows] / np.maximum(index, 1)
        features[rows, BASE_QP] = base_qps / MAX_QP
        features[rows, PROGRESS] = index / self._counts[rows]
        features[rows, OFFSET_MEAN] = mean / MAX_QP
        features[rows, OFFSET_LEFT] = left / MAX_QP
        features[rows, OFFSET_ABOVE] = above / MAX_QP

    def _make_room(self, count: int) -> None:
        missing = count - self._qps.shape[1]
        if missing > 0:
            self._qps = np.pad(self._qps, ((0, 0), (0, missing)))
