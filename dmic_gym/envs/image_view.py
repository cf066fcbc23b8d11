"""The parts of an image's observations that no action changes."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import cv2
import numpy as np

from dmic_gym.envs.features import fixed_features
from dmic_gym.envs.results import Reference
from dmic_gym.types import Image, Images

SIDE = 64
"""Side of every image in an observation, in pixels."""


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
        self.frame = np.stack([thumbnail(image), thumbnail(importance)])
        self._padded = padded(np.stack([image, importance]), ctu_size)
        self._row_spans = [_span(row, self.rows) for row in range(self.rows)]
        self._col_spans = [_span(col, self.cols) for col in range(self.cols)]
        self.fixed = fixed_features(image, reference.importance, ctu_size)

    @property
    def count(self) -> int:
        """Number of CTUs."""
        return int(self.rows * self.cols)

    def window(self, index: int) -> Images:
        """Return a view, uint8 (2, 64, 64): image and importance around CTU `index`, padded."""
        return self._padded[self._place(index)]

    def cell(self, index: int) -> tuple[slice, slice]:
        """Return where CTU `index` lies in a 64x64 thumbnail: at least one pixel."""
        row, col = divmod(index, self.cols)
        return self._row_spans[row], self._col_spans[col]

    def _place(self, index: int) -> tuple[slice, slice, slice]:
        """Return where the window of CTU `index` lies in padded planes."""
        row, col = divmod(index, self.cols)
        y, x = row * self.ctu_size, col * self.ctu_size
        return slice(None), slice(y, y + SIDE), slice(x, x + SIDE)


_views: WeakKeyDictionary[Reference, dict[int, ImageView]] = WeakKeyDictionary()


def view_of(reference: Reference, ctu_size: int) -> ImageView:
    """Return the view of an image, made once for as long as somebody holds `reference`."""
    kept = _views.setdefault(reference, {})
    if ctu_size not in kept:
        kept[ctu_size] = ImageView(reference, ctu_size)
    return kept[ctu_size]


def _span(index: int, count: int) -> slice:
    start = index * SIDE // count
    return slice(start, max(start + 1, (index + 1) * SIDE // count))


def thumbnail(image: Image) -> Image:
    """Scale a picture to 64x64."""
    small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8)


def padded(planes: Images, ctu_size: int) -> Images:
    """Repeat the edges so that a 64x64 window fits around every CTU."""
    margin = (SIDE - ctu_size) // 2
    beyond = [margin + -side % ctu_size for side in planes.shape[1:]]
    return np.pad(planes, ((0, 0), (margin, beyond[0]), (margin, beyond[1])), mode="edge")
