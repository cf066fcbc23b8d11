"""The plan of a sweep: every cell of the grid with its identity, by what one worker takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import Any, Protocol

from dmic_gym.bench.cells import Cell
from dmic_gym.bench.datasets import Source, load_sources
from dmic_gym.bench.definition import Definition
from dmic_gym.bench.protocol import split_by_use
from dmic_gym.bench.rows import Record, identity
from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.data.clip import Clip
from dmic_gym.tasks.leakage import card_of, leakage_notes

_HEVC_FIELDS = ("ctu_size", "preset", "agent", "base_qp", "seed")


@dataclass(frozen=True)
class PlannedCell:
    """A cell to be coded.

    Attributes:
        id: its identity, where it was planned.
        cell: its settings.
        provenance: what the identity was made of.
    """

    id: str
    cell: Cell
    provenance: dict[str, Any]

    def failed(self, error: str) -> Record:
        """Return the record of a failure."""
        return Record(self.id, self.cell, self.provenance, row=None, error=error)


@dataclass(frozen=True)
class Group:
    """Cells of one image or clip and encoder, which share importance map, tables and anchors.

    Attributes:
        source: the image or clip, as it was when it was hashed.
        cells: in the order in which they are coded.
    """

    source: Source
    cells: tuple[PlannedCell, ...]

    def without_first(self) -> Group:
        """Return what is left when one cell is done."""
        return replace(self, cells=self.cells[1:])


@dataclass(frozen=True)
class SweepPlan:
    """The cells to be coded, by what goes to one worker together.

    Attributes:
        groups: cells of one image and encoder each.
        grid: ids of all cells of the definition, chosen by ``--only`` or not.
        left_out: names of the images that are not coded, their expert mask being empty.
        warnings: sentences, one for each network that was trained on an image that it judges.
    """

    groups: tuple[Group, ...]
    grid: frozenset[str]
    left_out: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    @property
    def cells(self) -> list[PlannedCell]:
        """The cells in order."""
        return [cell for group in self.groups for cell in group.cells]

    def without(self, done: set[str]) -> SweepPlan:
        """Return the plan of the cells whose ids are not in `done`."""
        return self._where(lambda planned: planned.id not in done)

    def only(self, chosen: Callable[[Cell], bool]) -> SweepPlan:
        """Return the plan of the chosen cells.

        Raises:
            InvalidInputError: there is none.
        """
        found = self._where(lambda planned: chosen(planned.cell))
        if not found.groups:
            raise InvalidInputError(
                f"No cell matches --only. One of the {len(self.cells)} is: "
                f"{', '.join(f'{k}={v}' for k, v in self.cells[0].cell.as_dict().items())}."
            )
        return found

    def _where(self, wanted: Callable[[PlannedCell], bool]) -> SweepPlan:
        left = [replace(g, cells=tuple(c for c in g.cells if wanted(c))) for g in self.groups]
        return replace(self, groups=tuple(group for group in left if group.cells))


class Engine(Protocol):
    """Codes groups, in any order."""

    def run(self, groups: Sequence[Group]) -> Iterator[Record]:
        """Yield each record as soon as its cell is finished; closing the iterator ends the work."""
        ...


def make_plan(definition: Definition, *, strict: bool = False) -> SweepPlan:
    """Load the data, make every agent once, and give each cell of the grid its identity.

    Args:
        definition: the grid.
        strict: refuse a policy that was trained for another CTU size, instead of warning.

    Raises:
        InvalidInputError: no such data set, agent or network, or every expert mask is empty.
        DataError: the data is missing or damaged.
    """
    left_out: list[str] = []
    warnings: list[str] = []
    groups: list[Group] = []
    for spec in definition.data:
        used, empty = split_by_use(_sources(spec, definition.images))
        left_out += empty
        warnings += leakage(definition, spec, [source.name for source in used])
        for source in used:
            groups += _groups(definition, spec, source, strict)
    if not groups:
        raise InvalidInputError("Nothing to code: pass at least one image with a non-empty mask.")
    ids = frozenset(planned.id for group in groups for planned in group.cells)
    return SweepPlan(tuple(groups), ids, tuple(left_out), tuple(warnings))


def leakage(definition: Definition, data: str, names: Sequence[str]) -> list[str]:
    """Return a sentence for each network that was trained on images of a data set.

    Args:
        definition: names the networks.
        data: the data set.
        names: of the images.
    """
    networks = [spec for spec in (definition.segmenter, definition.second) if spec]
    return [note for spec in networks for note in leakage_notes(card_of(spec), spec, data, names)]


def _sources(spec: str, images: int | None) -> list[Source]:
    sources = list(islice(load_sources(spec), images))
    names = Counter(source.name for source in sources)
    if twice := [name for name, count in names.items() if count > 1]:
        raise InvalidInputError(f"{spec}: several images are named {twice[0]!r}; rename them.")
    return sources


def _groups(definition: Definition, spec: str, source: Source, strict: bool) -> Iterator[Group]:
    cells = definition.cells(spec, source.name, clip=isinstance(source, Clip))
    for _, together in groupby(cells, key=lambda cell: cell.is_still or cell.encoder):
        yield Group(source, tuple(_planned(cell, source, strict) for cell in together))


def _planned(cell: Cell, source: Source, strict: bool) -> PlannedCell:
    from dmic_gym.bench.provenance import provenance
    from dmic_gym.bench.workbench import workbench

    bench = workbench(cell)
    if strict and not cell.is_still:
        bench.planner_of(cell, strict=True)
    what = provenance(cell, source, bench)
    return PlannedCell(identity(what), cell, what)


def count_by(cells: Sequence[PlannedCell], field: str) -> Mapping[str, int]:
    """Return how many cells there are by one of their settings, in order of appearance."""
    return Counter(str(getattr(planned.cell, field)) for planned in cells)


def plan_lines(cells: Sequence[PlannedCell]) -> list[str]:
    """Say in words what the cells are: how many there are by each setting."""
    hevc = [planned for planned in cells if not planned.cell.is_still]
    stills = [planned for planned in cells if planned.cell.is_still]
    lines = [_counts("data", cells), _counts("codec", cells)]
    lines += [_counts(field, hevc) for field in _HEVC_FIELDS if hevc]
    if clips := [planned for planned in cells if planned.cell.gop is not None]:
        lines.append(_counts("gop", clips))
    for codec in count_by(stills, "codec"):
        points = count_by([p for p in stills if p.cell.codec == codec], "quality")
        lines.append(f"{codec:10} quality {', '.join(points)}")
    return lines


def _counts(field: str, cells: Sequence[PlannedCell]) -> str:
    counts = count_by(cells, field)
    return f"{field:10} {', '.join(f'{name} ({count})' for name, count in counts.items())}"
