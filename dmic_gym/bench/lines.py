"""The rows of one agent or still codec: every image at every operating point."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from dmic_gym.bench.bdrate import RDCurve
from dmic_gym.bench.cells import FIGURES, Row
from dmic_gym.bench.rows import Record
from dmic_gym.types import Floats

Setting = Literal["base_qp", "quality"]


@dataclass(frozen=True, eq=False)
class Line:
    """One line of a table.

    Attributes:
        rows: by image and operating point.
        setting: what the points are: base QPs, or qualities of a still codec.
    """

    rows: Mapping[tuple[str, int], Row]
    setting: Setting = "base_qp"

    @cached_property
    def images(self) -> list[str]:
        """Names of the images, in order of appearance."""
        return list(dict.fromkeys(image for image, _ in self.rows))

    @cached_property
    def points(self) -> list[int]:
        """The operating points, ascending."""
        return sorted({point for _, point in self.rows})

    @property
    def complete(self) -> set[str]:
        """The images that were coded at every point that any was coded at."""
        count = defaultdict[str, int](int)
        for image, _ in self.rows:
            count[image] += 1
        return {image for image in count if count[image] == len(self.points)}

    def only(self, images: Collection[str]) -> Line:
        """Return the line of some of its images."""
        return replace(self, rows={key: row for key, row in self.rows.items() if key[0] in images})

    def grid(self, figure: str, points: Sequence[int] | None = None) -> Floats:
        """Return a figure of the rows of complete images.

        Args:
            figure: one of `FIGURES`.
            points: which operating points; None takes all.

        Returns:
            Float array (images, points); NaN where a row has no value.
        """
        chosen = self.points if points is None else points
        values = [[getattr(self.rows[image, p], figure) for p in chosen] for image in self.images]
        return np.array(values, np.float64).reshape(len(self.images), len(chosen))

    def curve(self, quality: str = "dice", rate: str = "bits") -> RDCurve:
        """Return the means over images at each point as a curve."""
        return RDCurve(self.grid(rate).mean(axis=0), self.grid(quality).mean(axis=0))

    def means(self) -> list[dict[str, float | None]]:
        """Return the means over images at each point; None where an image has no value."""
        means = {figure: self.grid(figure).mean(axis=0) for figure in FIGURES}
        return [
            {self.setting: point}
            | {key: None if np.isnan(found[n]) else float(found[n]) for key, found in means.items()}
            for n, point in enumerate(self.points)
        ]

    def as_dicts(self) -> list[dict[str, Any]]:
        """Return the rows with image and point, JSON types, images in order, points ascending."""
        return [
            {"name": image, self.setting: point, **self.rows[image, point].as_dict()}
            for image in self.images
            for point in self.points
        ]


def lines_of(records: Iterable[Record]) -> dict[str, Line]:
    """Sort finished cells of one data set and encoder into lines, by name."""
    rows: dict[str, dict[tuple[str, int], Row]] = defaultdict(dict)
    settings: dict[str, Setting] = {}
    for record in records:
        if record.row is not None:
            cell = record.cell
            rows[cell.line][cell.image, cell.point] = record.row
            settings[cell.line] = "quality" if cell.is_still else "base_qp"
    return {name: Line(found, settings[name]) for name, found in rows.items()}
