"""`dmic sweep` as functions: the plan of a sweep, and carrying it out into a store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby, islice
from pathlib import Path

from dmic_gym.bench.cells import Cell
from dmic_gym.bench.definition import Definition
from dmic_gym.bench.engines import Engine
from dmic_gym.bench.groups import Group, Job
from dmic_gym.bench.protocol import split_by_use, versions
from dmic_gym.bench.provenance import identity, provenance
from dmic_gym.bench.store import Record, Store
from dmic_gym.bench.workbench import workbench
from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.data.registry import load_dataset
from dmic_gym.tasks.data.sample import Sample

_HEVC_FIELDS = ("ctu_size", "preset", "agent", "base_qp", "reward", "seed")


@dataclass(frozen=True)
class Plan:
    """The cells to be coded, by what goes to one worker together.

    Attributes:
        groups: cells of one image and encoder each.
        grid: ids of all cells of the definition, chosen by ``--only`` or not.
        left_out: names of the images that are not coded, their expert mask being empty.
    """

    groups: tuple[Group, ...]
    grid: frozenset[str]
    left_out: tuple[str, ...]

    @property
    def jobs(self) -> list[Job]:
        """The cells in order."""
        return [job for group in self.groups for job in group.jobs]

    def without(self, done: set[str]) -> Plan:
        """Return the plan of the cells whose ids are not in `done`."""
        return self._where(lambda job: job.id not in done)

    def only(self, chosen: Callable[[Cell], bool]) -> Plan:
        """Return the plan of the chosen cells.

        Raises:
            InvalidInputError: there is none.
        """
        found = self._where(lambda job: chosen(job.cell))
        if not found.groups:
            raise InvalidInputError(
                f"No cell matches --only. One of the {len(self.jobs)} is: "
                f"{', '.join(f'{k}={v}' for k, v in self.jobs[0].cell.as_dict().items())}."
            )
        return found

    def _where(self, wanted: Callable[[Job], bool]) -> Plan:
        left = [
            replace(group, jobs=tuple(job for job in group.jobs if wanted(job)))
            for group in self.groups
        ]
        return replace(self, groups=tuple(group for group in left if group.jobs))


def make_plan(definition: Definition) -> Plan:
    """Load the data, make every agent once, and give each cell of the grid its identity.

    Raises:
        InvalidInputError: no such data set, agent or network, or every expert mask is empty.
        DataError: the data is missing or damaged.
    """
    left_out: list[str] = []
    groups: list[Group] = []
    for spec in definition.data:
        used, empty = split_by_use(_samples(spec, definition.images))
        left_out += empty
        for sample in used:
            groups += _groups(definition, spec, sample)
    if not groups:
        raise InvalidInputError("Nothing to code: pass at least one image with a non-empty mask.")
    ids = frozenset(job.id for group in groups for job in group.jobs)
    return Plan(tuple(groups), ids, tuple(left_out))


def run_sweep(
    definition: Definition,
    folder: Path,
    engine: Engine,
    *,
    only: Callable[[Cell], bool] = lambda _: True,
    resume: bool = False,
    command: str = "",
    on_start: Callable[[Plan, Sequence[Record]], None] = lambda *_: None,
    on_record: Callable[[Record], None] = lambda _: None,
) -> Plan:
    """Code what a folder's store does not hold yet, each finished cell committed at once.

    Args:
        definition: the grid.
        folder: of the store; made if missing.
        engine: what codes.
        only: which cells of the grid.
        resume: whether the store may hold cells already.
        command: command line for the record.
        on_start: called with the plan, done cells included, and the store's records of the grid.
        on_record: called with each record once it is in the store.

    Returns:
        The plan, done cells included.

    Raises:
        InvalidInputError: as `make_plan`, or the store holds cells and `resume` is False.
        DataError: another sweep writes to the store, it cannot be written, or the disk is full.
    """
    with Store.create(folder) as store:
        if store.history() and not resume:
            raise InvalidInputError(
                f"{folder} holds {len(store.done())} finished cells: add --resume to go on with "
                "it, or pass another --out."
            )
        plan = make_plan(definition).only(only)
        number = store.begin_run(command, definition.as_dict(), versions())
        done = store.done()
        left = plan.without(done)
        on_start(plan, [record for record in store.records() if record.id in plan.grid])
        with closing(_generator(engine, left.groups)) as records:
            for record in records:
                store.add(replace(record, run=number))
                on_record(record)
    return plan


def _generator(engine: Engine, groups: Sequence[Group]) -> Generator[Record, None, None]:
    """Return a generator, whatever iterator the engine returns, so that it can be closed."""
    yield from engine.run(groups)


def _samples(spec: str, images: int | None) -> list[Sample]:
    samples = list(islice(load_dataset(spec), images))
    names = Counter(sample.name for sample in samples)
    if twice := [name for name, count in names.items() if count > 1]:
        raise InvalidInputError(f"{spec}: several images are named {twice[0]!r}; rename them.")
    return samples


def _groups(definition: Definition, spec: str, sample: Sample) -> Iterator[Group]:
    for _, together in groupby(definition.cells(spec, sample.name), key=_encoder):
        yield Group(sample, tuple(_job(cell, sample) for cell in together))


def _encoder(cell: Cell) -> tuple[object, ...]:
    """Return what cells that share tables and anchors have in common."""
    return cell.is_still, () if cell.is_still else (cell.codec, cell.ctu_size, cell.preset)


def _job(cell: Cell, sample: Sample) -> Job:
    what = provenance(cell, sample, workbench(cell))
    return Job(identity(what), cell, what)


def count_by(jobs: Sequence[Job], field: str) -> Mapping[str, int]:
    """Return how many jobs there are by a field of their cells, in order of appearance."""
    return Counter(str(getattr(job.cell, field)) for job in jobs)


def plan_lines(jobs: Sequence[Job]) -> list[str]:
    """Say in words what the jobs are: how many there are by each setting."""
    hevc = [job for job in jobs if not job.cell.is_still]
    stills = [job for job in jobs if job.cell.is_still]
    lines = [_counts("data", jobs), _counts("codec", jobs)]
    lines += [_counts(field, hevc) for field in _HEVC_FIELDS if hevc]
    for codec in count_by(stills, "codec"):
        points = count_by([job for job in stills if job.cell.codec == codec], "base_qp")
        lines.append(f"{codec:10} quality {', '.join(points)}")
    return lines


def _counts(field: str, jobs: Sequence[Job]) -> str:
    counts = count_by(jobs, field)
    return f"{field:10} {', '.join(f'{name} ({count})' for name, count in counts.items())}"
