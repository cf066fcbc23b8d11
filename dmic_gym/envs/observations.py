"""What an agent sees: shapes that depend neither on the CTU size nor on the image size."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from dmic_gym.envs.features import FIXED_FEATURES
from dmic_gym.envs.image_view import SIDE, ImageView
from dmic_gym.types import QPMap

FEATURES = (
    "base_qp",
    "progress",
    *FIXED_FEATURES,
    "offset_mean",
    "offset_left",
    "offset_above",
)
"""Names of the entries of the observation's ``features``, in order; see `CodingEnv`."""

BASE_QP = FEATURES.index("base_qp")
PROGRESS = FEATURES.index("progress")
FIXED = slice(PROGRESS + 1, PROGRESS + 1 + len(FIXED_FEATURES))
"""The features that are known before coding."""

OFFSET_MEAN = FEATURES.index("offset_mean")
OFFSET_LEFT = FEATURES.index("offset_left")
OFFSET_ABOVE = FEATURES.index("offset_above")

QP_SCALE = 51
"""QPs and offsets are shown as shares of it."""

Observation = dict[str, npt.NDArray[Any]]


def observation_space() -> spaces.Dict:
    """Return the space of observations; `CodingEnv` documents its keys."""
    picture = spaces.Box(0, 255, (2, SIDE, SIDE), np.uint8)
    low = np.zeros(len(FEATURES), np.float32)
    low[OFFSET_MEAN:] = -1.0
    return spaces.Dict(
        {
            "ctu": picture,
            "features": spaces.Box(low, np.ones_like(low), dtype=np.float32),
            "frame": picture,
            "progress": picture,
        }
    )


def empty_observations(count: int, space: spaces.Dict | None = None) -> Observation:
    """Return arrays for `count` observations of a space, (count, ...) by key, all 0."""
    return {
        key: np.zeros((count, *(box.shape or ())), box.dtype)
        for key, box in (space or observation_space()).items()
    }


class ObservationBuilder:
    """Builds the observations of an image whose CTUs are decided one after the other.

    Args:
        arrays: from `empty_observations`, shared by the builders of many images; None makes some
            for one image. `begin` and `decide` overwrite the row.
        row: the place of this image in `arrays`.

    Attributes:
        arrays: as given.
        base_qp: of the image begun last.
        over: whether all CTUs are decided.
    """

    def __init__(self, arrays: Observation | None = None, row: int = 0) -> None:
        self.arrays = empty_observations(1) if arrays is None else arrays
        self.base_qp, self.over = 0, True
        self._row = row
        self._view: ImageView | None = None
        self._qps: list[int] = []
        self._offset_sum = 0

    def begin(self, view: ImageView, base_qp: int) -> None:
        """Start with an image, all CTUs undecided."""
        self._view, self.base_qp, self.over = view, base_qp, False
        self._qps, self._offset_sum = [], 0
        self.arrays["frame"][self._row] = view.frame
        here, decided = self.arrays["progress"][self._row]
        here[...] = decided[...] = 0
        here[view.cell(0)] = 255
        self._observe(view, 0)

    def decide(self, qp: int) -> None:
        """Set the QP of the current CTU and go to the next.

        The last CTU stays in view when all are decided.
        """
        view, index = self._view, len(self._qps)
        assert view is not None
        self._qps.append(qp)
        self._offset_sum += qp - self.base_qp
        self.over = index + 1 == view.count
        here, decided = self.arrays["progress"][self._row]
        cell = view.cell(index)
        decided[cell] = 4 * (qp + 1)
        if not self.over:
            here[cell] = 0
            here[view.cell(index + 1)] = 255
        self._observe(view, min(index + 1, view.count - 1))

    @property
    def view(self) -> ImageView:
        """Of the image begun last."""
        assert self._view is not None
        return self._view

    @property
    def index(self) -> int:
        """How many CTUs are decided: the number of the current one, in raster order."""
        return len(self._qps)

    def shown(self, key: str) -> npt.NDArray[Any]:
        """Return an entry of the observation, a view that the next decision overwrites."""
        entry: npt.NDArray[Any] = self.arrays[key][self._row]
        return entry

    def qp_map(self) -> QPMap:
        """Return the QP map, int16 (rows, cols); the base QP where undecided."""
        view = self._view
        assert view is not None
        undecided = [self.base_qp] * (view.count - len(self._qps))
        return np.array(self._qps + undecided, np.int16).reshape(view.rows, view.cols)

    def observation(self) -> Observation:
        """Return a copy of the observation."""
        return {key: array[self._row].copy() for key, array in self.arrays.items()}

    def _observe(self, view: ImageView, index: int) -> None:
        """Show CTU `index` and what has been decided."""
        row, col = divmod(index, view.cols)
        done = len(self._qps)
        left = self._qps[index - 1] - self.base_qp if col else 0
        above = self._qps[index - view.cols] - self.base_qp if row else 0
        self.arrays["ctu"][self._row] = view.window(index)
        features = self.arrays["features"][self._row]
        features[FIXED] = view.fixed[index]
        features[BASE_QP] = self.base_qp / QP_SCALE
        features[PROGRESS] = done / view.count
        features[OFFSET_MEAN] = self._offset_sum / max(done, 1) / QP_SCALE
        features[OFFSET_LEFT] = left / QP_SCALE
        features[OFFSET_ABOVE] = above / QP_SCALE
