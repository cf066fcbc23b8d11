"""Images with their QP value tables, on disk, turned and mirrored as they are learned from."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dmic_gym.agents.search.tables import Tables
from dmic_gym.agents.training.value_tables import QPValueTable
from dmic_gym.envs.image_view import ImageView
from dmic_gym.envs.results import Reference
from dmic_gym.io import write_atomically
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.types import CTUTable, Image

TableOfImage = tuple[ImageView, QPValueTable]
"""An image and its table."""

_GAMMA, _GAIN = 0.15, 0.1
"""Standard deviations of the logarithms of the drawn gamma and gain."""


@dataclass(frozen=True)
class Turn:
    """A symmetry of the grid of CTUs: rows and columns change places, then rows or columns reverse.

    Attributes:
        transposed: whether rows and columns change places, before anything else.
        flipped: axes that are reversed, 0 or 1.
    """

    transposed: bool = False
    flipped: tuple[int, ...] = ()

    @classmethod
    def draw(cls, shape: tuple[int, int], ctu_size: int, rng: np.random.Generator) -> Turn:
        """Draw one; an axis that ends in a partial CTU is not reversed: its CTUs would shift."""
        transposed, *wanted = (rng.random(3) < 0.5).tolist()
        turned = shape[::-1] if transposed else shape
        fits = [side % ctu_size == 0 for side in turned]
        axes = tuple(axis for axis in (0, 1) if wanted[axis] and fits[axis])
        return cls(bool(transposed), axes)

    def of(self, plane: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Turn an array over its last two axes."""
        turned = plane.swapaxes(-1, -2) if self.transposed else plane
        return np.ascontiguousarray(np.flip(turned, tuple(axis - 2 for axis in self.flipped)))

    def of_table(self, table: QPValueTable) -> QPValueTable:
        """Turn a QP value table."""

        def turned(values: CTUTable) -> CTUTable:
            return np.asarray(self.of(values), np.float64)

        old = table.tables
        tables = Tables(old.qps, turned(old.overlap), turned(old.area), turned(old.bits))
        return replace(table, tables=tables)


class TableImages:
    """Images with importance maps on disk, and their QP value tables.

    At most one image is in memory at a time: on disk one of 512x512 takes about 0.2 MB.

    Args:
        folder: where the images are, each under the `source` of its table.
        tables: of the images, by number.
        augmented: turn, mirror and shade each image at random when it is drawn. A picture of
            another scale has other tables; `Variations` makes such.
    """

    def __init__(self, folder: Path, tables: Sequence[QPValueTable], augmented: bool) -> None:
        self._folder = folder
        self._tables = tables
        self._augmented = augmented

    def __len__(self) -> int:
        return len(self._tables)

    def keep(self, number: int, reference: Reference) -> None:
        """Write an image and its importance map, in 256 steps as observations show it."""
        data = io.BytesIO()
        importance = np.rint(reference.importance * 255.0).astype(np.uint8)
        np.savez_compressed(data, image=reference.sample.image, importance=importance)
        self._folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path(number), data.getvalue())

    def is_kept(self, number: int) -> bool:
        """Whether an image has been written."""
        return self._path(number).exists()

    def drawn(self, number: int, rng: np.random.Generator) -> TableOfImage:
        """Return an image and its table."""
        table = self._tables[number]
        with np.load(self._path(number)) as kept:
            image, importance = kept["image"], kept["importance"]
        if self._augmented:
            turn = Turn.draw(image.shape, table.ctu_size, rng)
            image, importance = _shaded(turn.of(image), rng), turn.of(importance)
            table = turn.of_table(table)
        probability = importance.astype(np.float32) / 255.0
        reference = Reference(Sample(image, None, table.name), b"", probability)
        return ImageView(reference, table.ctu_size), table

    def _path(self, number: int) -> Path:
        return self._folder / f"{self._tables[number].source}.npz"


def _shaded(image: npt.NDArray[np.generic], rng: np.random.Generator) -> Image:
    """Change gamma and gain a little."""
    gamma, gain = np.exp(rng.normal(0.0, [_GAMMA, _GAIN]))
    table = 255.0 * (np.arange(256) / 255.0) ** gamma * gain
    return np.asarray(np.rint(table.clip(0, 255)).astype(np.uint8)[image])
