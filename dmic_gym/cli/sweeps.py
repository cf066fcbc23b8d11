"""``dmic sweep`` and ``replay``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dmic_gym.cli.common import app, command_line, stderr, stdout

if TYPE_CHECKING:
    from dmic_gym.bench.cells import Cell
    from dmic_gym.bench.definition import Definition
    from dmic_gym.bench.store import Record
    from dmic_gym.bench.sweep import Plan

_INTERRUPTED = 130


@app.command()
def sweep(
    file: Annotated[Path, typer.Argument(help="TOML definition, as in benchmarks/quick.toml.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the store.")] = None,
    jobs: Annotated[int, typer.Option(help="Processes.")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a store.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would do.")] = False,
    only: Annotated[
        str | None, typer.Option(help="Cells to code, as in agent=search:*,base_qp=32.")
    ] = None,
    engine: Annotated[str, typer.Option(help="process, ray or serial.")] = "process",
    address: Annotated[str | None, typer.Option(help="Of a running Ray cluster.")] = None,
) -> None:
    """Code a grid of images and settings; every finished cell is safe in DIR/sweep.sqlite."""
    from dmic_gym.bench.cells import Only
    from dmic_gym.bench.definition import Definition
    from dmic_gym.bench.engines import make_engine
    from dmic_gym.bench.sweep import run_sweep
    from dmic_gym.cli.sweep_progress import SweepProgress

    definition = Definition.read(file)
    folder = out or Path("dmic-sweep") / file.stem
    chosen = _all_cells if only is None else Only(only)
    if dry_run:
        _show_plan(definition, folder, chosen)
        return
    made = make_engine(engine, jobs, address)
    with SweepProgress(definition) as progress:
        try:
            plan = run_sweep(
                definition,
                folder,
                made,
                only=chosen,
                resume=resume,
                command=command_line(),
                on_start=progress.start,
                on_record=progress.add,
            )
        except KeyboardInterrupt:
            progress.stop()
            _say_interrupted(folder)
            raise typer.Exit(_INTERRUPTED) from None
    failed = _show_results(folder, definition, plan)
    raise typer.Exit(1 if failed else 0)


@app.command()
def replay(
    store: Annotated[Path, typer.Argument(help="Folder of a sweep, or its sweep.sqlite.")],
    sample: Annotated[int | None, typer.Option(help="Replay N cells, drawn at random.")] = None,
) -> None:
    """Code and score stored QP maps again: a tick or a cross per cell."""
    from dmic_gym.bench.replay import replay as replayed
    from dmic_gym.bench.replay import sampled
    from dmic_gym.bench.store import Store

    with Store.open(store) as opened:
        records = sampled(opened.records(), sample)
    unequal = 0
    for verdict in replayed(records):
        mark = "✓" if verdict.equal else "✗"
        _say(f"{mark} {verdict.record.cell}")
        for difference in verdict.differences:
            _say(f"    {difference}")
        unequal += not verdict.equal
    _say(f"{len(records) - unequal} of {len(records)} cells as stored")
    raise typer.Exit(1 if unequal else 0)


def _all_cells(_: Cell) -> bool:
    return True


def _show_plan(definition: Definition, folder: Path, only: Callable[[Cell], bool]) -> None:
    from dmic_gym.bench.store import FILE, Store
    from dmic_gym.bench.sweep import count_by, make_plan, plan_lines

    plan = make_plan(definition).only(only)
    done: set[str] = set()
    if (folder / FILE).is_file():
        with Store.open(folder) as store:
            done = store.done()
    for line in plan_lines(plan.jobs):
        _say(line)
    images = len(count_by(plan.jobs, "image"))
    finished = sum(job.id in done for job in plan.jobs)
    _say(f"{len(plan.jobs)} cells of {images} images, {finished} of them done in {folder}")


def _show_results(folder: Path, definition: Definition, plan: Plan) -> int:
    """Print tables and failures; return how many cells of the plan have no result."""
    from dmic_gym.bench import report
    from dmic_gym.bench.store import Store
    from dmic_gym.bench.sweep_results import results_of

    with Store.open(folder) as store:
        records = [record for record in store.records() if record.id in plan.grid]
        failures = [record for record in store.failures() if record.id in plan.grid]
    with stderr.status("intervals over images"):
        compared = results_of(records, definition, plan.left_out)
    for results in compared:
        for table in report.tables(results):
            stdout.print(table)
        for note in report.notes(results):
            _say(f"  {note}")
    _say_failures(failures)
    _say(f"{len(records)} of {len(plan.grid)} cells in {folder}")
    return len(plan.without({record.id for record in records}).jobs)


def _say_failures(failures: Sequence[Record]) -> None:
    for record in failures[:10]:
        _say(f"  failed: {record.cell}: {record.error}")
    if failures:
        _say(f"{len(failures)} cells failed; --resume tries them again.")


def _say_interrupted(folder: Path) -> None:
    from dmic_gym.bench.store import Store

    with Store.open(folder) as store:
        count = len(store.done())
    message = f"Interrupted: {count} finished cells are in {folder}. Go on with --resume."
    stderr.print(message, highlight=False, markup=False, soft_wrap=True)


def _say(line: str) -> None:
    stdout.print(line, highlight=False, markup=False, soft_wrap=True)
