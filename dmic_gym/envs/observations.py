"""What an agent sees: shapes that depend neither on the CTU size nor on the image size."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import cv2
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from dmic_gym.codecs.base import MAX_QP
from dmic_gym.envs.features import FIXED_FEATURES, fixed_features
from dmic_gym.envs.results import Reference

SIDE = 64
"""Side of every image in an observation, in pixels."""

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
Observation = dict[str, npt.NDArray[Any]]
Grid = npt.NDArray[np.float32]


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


class ImageView:
    """The parts of an image's observations that do not depend on what an agent does.

    Attributes:
        ctu_size: side of a CTU in luma samples.
        rows: CTU rows.
        cols: CTU columns.
        frame: uint8 (2, 64, 64), thumbnails of image and importance map.
        fixed: float32 (rows * cols, F), `FIXED_FEATURES`.
    """

    def __init__(self, reference: Reference, ctu_size: int) -> None:
        image = reference.sample.image
        importance = np.rint(reference.importance * 255.0).astype(np.uint8)
        self.ctu_size = ctu_size
        self.rows, self.cols = (-(-side // ctu_size) for side in image.shape)
        self.frame = np.stack([_thumbnail(image), _thumbnail(importance)])
        self._padded = _padded(np.stack([image, importance]), ctu_size)
        self._row_spans = [_span(row, self.rows) for row in range(self.rows)]
        self._col_spans = [_span(col, self.cols) for col in range(self.cols)]
        self.fixed = fixed_features(image, reference.importance, ctu_size)

    @property
    def count(self) -> int:
        """Number of CTUs."""
        return int(self.rows * self.cols)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._padded.nbytes + self.frame.nbytes + self.fixed.nbytes

    def window(self, index: int) -> npt.NDArray[np.uint8]:
        """Return a view, uint8 (2, 64, 64): image and importance around CTU `index`, padded."""
        row, col = divmod(index, self.cols)
        y, x = row * self.ctu_size, col * self.ctu_size
        view: npt.NDArray[np.uint8] = self._padded[:, y : y + SIDE, x : x + SIDE]
        return view

    def cell(self, index: int) -> tuple[slice, slice]:
        """Return where CTU `index` lies in a 64x64 thumbnail: at least one pixel."""
        row, col = divmod(index, self.cols)
        return self._row_spans[row], self._col_spans[col]


_views: WeakKeyDictionary[Reference, dict[int, ImageView]] = WeakKeyDictionary()


def view_of(reference: Reference, ctu_size: int) -> ImageView:
    """Return the view of an image, made once for as long as somebody holds `reference`."""
    kept = _views.setdefault(reference, {})
    if ctu_size not in kept:
        kept[ctu_size] = ImageView(reference, ctu_size)
    return kept[ctu_size]


class Observer:
    """Builds the observations of one episode.

    Args:
        view: the image.
        base_qp: the episode's.

    Attributes:
        qp_map: int16 (rows, cols), absolute QPs; the base QP where undecided.
        index: of the current CTU; rows * cols when all are decided.
    """

    def __init__(self, view: ImageView, base_qp: int) -> None:
        self.view = view
        self.base_qp = base_qp
        self.qp_map = np.full((view.rows, view.cols), base_qp, dtype=np.int16)
        self._progress = np.zeros((2, SIDE, SIDE), dtype=np.uint8)
        self._progress[0][view.cell(0)] = 255
        self._offset_sum = 0
        self.index = 0

    def decide(self, qp: int) -> None:
        """Set the current CTU's QP and go to the next."""
        row, col = divmod(self.index, self.view.cols)
        self.qp_map[row, col] = qp
        move_on(self._progress, self.view, self.index, qp)
        self._offset_sum += qp - self.base_qp
        self.index += 1

    def observe(self) -> Observation:
        """Return the observation at the current CTU, or at the last one when all are decided."""
        index = min(self.index, self.view.count - 1)
        return {
            "ctu": self.view.window(index).copy(),
            "features": self._features(index),
            "frame": self.view.frame.copy(),
            "progress": self._progress.copy(),
        }

    def _features(self, index: int) -> Grid:
        row, col = divmod(index, self.view.cols)
        left = int(self.qp_map[row, col - 1]) - self.base_qp if col else 0
        above = int(self.qp_map[row - 1, col]) - self.base_qp if row else 0
        features = np.empty(len(FEATURES), dtype=np.float32)
        features[FIXED] = self.view.fixed[index]
        features[BASE_QP] = self.base_qp / MAX_QP
        features[PROGRESS] = self.index / self.view.count
        features[OFFSET_MEAN] = self._offset_sum / max(1, self.index) / MAX_QP
        features[OFFSET_LEFT] = left / MAX_QP
        features[OFFSET_ABOVE] = above / MAX_QP
        return features


def move_on(progress: npt.NDArray[np.uint8], view: ImageView, index: int, qp: int) -> None:
    """Draw into `progress`, uint8 (2, 64, 64), that CTU `index` got `qp` and the next is current.

    The last CTU stays current.
    """
    cell = view.cell(index)
    progress[1][cell] = 4 * (qp + 1)
    if index + 1 < view.count:
        progress[0][cell] = 0
        progress[0][view.cell(index + 1)] = 255


def _span(index: int, count: int) -> slice:
    start = index * SIDE // count
    return slice(start, max(start + 1, (index + 1) * SIDE // count))


def _thumbnail(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8)


def _padded(planes: npt.NDArray[np.uint8], ctu_size: int) -> npt.NDArray[np.uint8]:
    """Repeat the edges so that a 64x64 window fits around every CTU."""
    margin = (SIDE - ctu_size) // 2
    beyond = [margin + -side % ctu_size for side in planes.shape[1:]]
    return np.pad(planes, ((0, 0), (margin, beyond[0]), (margin, beyond[1])), mode="edge")
