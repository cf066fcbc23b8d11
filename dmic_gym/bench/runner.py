"""The one runner: `dmic bench` and `dmic sweep` code the cells of a definition into a store."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from dmic_gym.bench.cells import Cell
from dmic_gym.bench.datasets import Source
from dmic_gym.bench.definition import Definition
from dmic_gym.bench.plan import Engine, Group, PlannedCell, SweepPlan, make_plan
from dmic_gym.bench.protocol import versions
from dmic_gym.bench.rows import Record, identity
from dmic_gym.bench.store import Store
from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.threads import one_torch_thread


def run_sweep(
    definition: Definition,
    store: Store,
    engine: Engine,
    *,
    only: Callable[[Cell], bool] = lambda _: True,
    resume: bool = False,
    strict: bool = False,
    command: str = "",
    on_start: Callable[[SweepPlan, Sequence[Record]], None] = lambda *_: None,
    on_record: Callable[[Record], None] = lambda _: None,
) -> SweepPlan:
    """Code what a store does not hold yet, each finished cell committed at once.

    Args:
        definition: the grid.
        store: on disk (`Store.create`) or in memory (`Store.in_memory`).
        engine: what codes.
        only: which cells of the grid.
        resume: whether the store may hold cells already.
        strict: refuse a policy that was trained for another CTU size, instead of warning.
        command: command line for the record.
        on_start: called with the plan, done cells included, and the store's records of the grid.
        on_record: called with each record once it is in the store.

    Returns:
        The plan, done cells included.

    Raises:
        InvalidInputError: as `make_plan`, or the store holds cells and `resume` is False.
        DataError: the store cannot be written, or the disk is full.
    """
    if store.history() and not resume:
        raise InvalidInputError(
            f"{store.path.parent} holds {len(store.done())} finished cells: add --resume to go on "
            "with it, or pass another --out."
        )
    plan = make_plan(definition, strict=strict).only(only)
    number = store.begin_run(command, definition.as_dict(), versions())
    left = plan.without(store.done())
    on_start(plan, [record for record in store.records() if record.id in plan.grid])
    with closing(_generator(engine, left.groups)) as records:
        for record in records:
            store.add(replace(record, run=number))
            on_record(record)
    return plan


def _generator(engine: Engine, groups: Sequence[Group]) -> Generator[Record, None, None]:
    """Return a generator, whatever iterator the engine returns, so that it can be closed."""
    yield from engine.run(groups)


def run_group(group: Group) -> Iterator[Record]:
    """Code the cells of a group, each yielded as soon as it is finished."""
    for planned in group.cells:
        yield run_cell(planned, group.source)


def run_cell(planned: PlannedCell, source: Source) -> Record:
    """Code one cell: a function of its arguments and of the packages and weights installed.

    Torch computes with one thread, so that results do not depend on the number of processors.
    Whatever goes wrong becomes the record's error, so that one bad cell ends no sweep. So does an
    installation that is not the one the cell was planned for, as on a stale cluster node.
    """
    from dmic_gym.bench.provenance import provenance
    from dmic_gym.bench.workbench import workbench

    try:
        bench = workbench(planned.cell)
        here = provenance(planned.cell, source, bench)
        if identity(here) != planned.id:
            return planned.failed(_differences(planned.provenance, here))
        with one_torch_thread():
            row = bench.code(planned.cell, source)
    except Exception as error:
        return planned.failed(f"{type(error).__name__}: {error}")
    return Record(planned.id, planned.cell, planned.provenance, row)


def _differences(planned: dict[str, Any], here: dict[str, Any]) -> str:
    parts = [
        f"{key} is {here[key]}, planned was {planned[key]}"
        for key in here
        if here[key] != planned.get(key)
    ]
    return f"The worker's installation differs: {'; '.join(parts)}. Install the same everywhere."
