"""What a report tells of a run: results, what is missing, where it all came from."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from dmic_gym.bench.cells import Cell
from dmic_gym.bench.datasets import Source, load_again, source_key
from dmic_gym.bench.definition import Definition
from dmic_gym.bench.plan import leakage
from dmic_gym.bench.protocol import split_by_use
from dmic_gym.bench.results import results_of
from dmic_gym.bench.rows import Record, SweepRun
from dmic_gym.bench.store import Store
from dmic_gym.errors import DmicError, InvalidInputError
from dmic_gym.tasks.data.clip import Clip

_SHARED = ("package", "protocol", "segmenter", "second")


@dataclass(frozen=True)
class Coverage:
    """How much of a line's cells is done.

    Attributes:
        encoder: codec, CTU size and preset; the codec alone for stills.
        line: name of the agent or still codec.
        done: cells with a result.
        failed: cells whose last attempt failed.
        planned: cells of the sweep's definition.
    """

    encoder: str
    line: str
    done: int
    failed: int
    planned: int


@dataclass(frozen=True)
class ReportData:
    """A store, read.

    Attributes:
        results: as `results_of` makes them, one for each data set and HEVC encoder.
        records: of the finished cells.
        failures: of the cells that failed.
        runs: the starts of the sweep, oldest first.
        definition: of the last run.
        coverage: by line.
        sources: images or clips by (data set, name), as far as they are at hand and unchanged.
        warnings: what a reader has to know before trusting a figure.
    """

    results: Sequence[Mapping[str, Any]]
    records: Sequence[Record]
    failures: Sequence[Record]
    runs: Sequence[SweepRun]
    definition: Definition
    coverage: Sequence[Coverage]
    sources: Mapping[tuple[str, str], Source]
    warnings: Sequence[str]

    @property
    def done(self) -> int:
        """Planned cells with a result."""
        return sum(line.done for line in self.coverage)

    @property
    def planned(self) -> int:
        """Cells of the definition."""
        return sum(line.planned for line in self.coverage)

    @property
    def incomplete(self) -> list[Coverage]:
        """The lines with missing cells."""
        return [line for line in self.coverage if line.done < line.planned]


def read_report_data(store: Store, compare: Sequence[str] | None = None) -> ReportData:
    """Read a store, finished or not.

    Args:
        store: of a run.
        compare: agents with which each other one is compared; None takes the definition's.

    Raises:
        DataError: it is damaged.
        InvalidInputError: nothing is in it yet, or this version does not know its definition.
    """
    runs, records, failures = store.runs(), store.records(), store.failures()
    if not runs or not records:
        raise InvalidInputError(
            f"{store.path} has no finished cell to report; {len(failures)} failed."
        )
    definition = _definition(runs[-1])
    if compare is not None:
        definition = replace(definition, compare=tuple(compare))
    images, left_out, warnings = _images(definition, records, store.base)
    kept, changed = _unchanged(images, records)
    return ReportData(
        results=results_of(
            records,
            definition,
            failures=failures,
            left_out=left_out,
            run=runs[-1],
            sources=kept,
        ),
        records=records,
        failures=failures,
        runs=runs,
        definition=definition,
        coverage=_coverage(_planned(definition, images, records), records, failures),
        sources=kept,
        warnings=[*warnings, *changed, *_mixed(records)],
    )


def _definition(run: SweepRun) -> Definition:
    given = {key: value for key, value in run.definition.items() if value not in (None, {})}
    return Definition.of(given)


Images = Mapping[str, Mapping[str, Source]]
"""Images or clips by data set and name; a data set that cannot be loaded is not in it."""


def _images(
    definition: Definition, records: Sequence[Record], base: Path | None
) -> tuple[Images, list[str], list[str]]:
    """Return the images to code, the names of those left out, and what could not be loaded."""
    images: dict[str, dict[str, Source]] = {}
    left_out: list[str] = []
    warnings: list[str] = []
    for data in dict.fromkeys([*definition.data, *(record.cell.data for record in records)]):
        try:
            used, empty = split_by_use(list(islice(load_again(data, base), definition.images)))
        except DmicError as error:
            warnings.append(f"No pictures of {data}: {error}")
            continue
        images[data] = {source.name: source for source in used}
        warnings += leakage(definition, data, list(images[data]))
        left_out += empty
    return images, left_out, warnings


def _unchanged(
    images: Images, records: Sequence[Record]
) -> tuple[dict[tuple[str, str], Source], list[str]]:
    """Return the images or clips that are what was coded, and a warning for those that are not."""
    coded = {
        (record.cell.data, record.cell.image): record.provenance["image"] for record in records
    }
    found = {key: images[key[0]][key[1]] for key in coded if key[1] in images.get(key[0], {})}
    kept = {key: source for key, source in found.items() if source_key(source).hex() == coded[key]}
    names = [name for key, name in found if (key, name) not in kept]
    if not names:
        return kept, []
    return kept, [f"Changed since they were coded, so not shown: {', '.join(names)}."]


def _planned(definition: Definition, images: Images, records: Sequence[Record]) -> Iterator[Cell]:
    for data in definition.data:
        coded = [record.cell for record in records if record.cell.data == data]
        clips = any(cell.gop is not None for cell in coded)
        found = images.get(data, {})
        clips |= any(isinstance(source, Clip) for source in found.values())
        for image in found or {cell.image for cell in coded}:
            yield from definition.cells(data, image, clip=clips)


def _coverage(
    planned: Iterable[Cell], records: Sequence[Record], failures: Sequence[Record]
) -> list[Coverage]:
    cells = list(planned)
    done, failed = ({record.cell for record in part} for part in (records, failures))
    lines = Counter(_line(cell) for cell in cells)
    counts = [Counter(_line(cell) for cell in cells if cell in part) for part in (done, failed)]
    return [
        Coverage(*line, counts[0][line], counts[1][line], total) for line, total in lines.items()
    ]


def _line(cell: Cell) -> tuple[str, str]:
    return cell.encoder, cell.line


def _mixed(records: Sequence[Record]) -> Iterator[str]:
    """Warn of cells made with different installations."""
    values: dict[str, set[str]] = defaultdict(set)
    for record in records:
        for key in _SHARED:
            values[key].add(str(record.provenance.get(key)))
        encoder = record.provenance["encoder"]["version"]
        values[f"{record.cell.codec} encoder"].add(str(encoder))
    for what, found in values.items():
        if len(found) > 1:
            yield (
                f"Cells of {len(found)} different installations are mixed ({what}): run dmic "
                "sweep --resume to code the older ones again."
            )
