"""``dmic sweep`` and ``replay``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dmic_gym.cli.common import JsonOption, app, say, stdout
from dmic_gym.cli.help import MEASURE, shown
from dmic_gym.cli.measure import JobsOption, ResumeOption, StrictOption
from dmic_gym.cli.notes import QuietOption
from dmic_gym.cli.reports import show_and_save
from dmic_gym.errors import checked_integer

if TYPE_CHECKING:
    from dmic_gym.bench.cells import Cell
    from dmic_gym.bench.definition import Definition


@app.command(
    **shown(
        MEASURE,
        "dmic sweep benchmarks/quick.toml --dry-run",
        "dmic sweep benchmarks/quick.toml --only 'agent=search:*,base_qp=32'",
        "dmic sweep benchmarks/quick.toml --resume",
    )
)
def sweep(
    file: Annotated[Path, typer.Argument(help="TOML definition, as in benchmarks/quick.toml.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the store.", show_default="dmic-sweep/NAME")
    ] = None,
    jobs: JobsOption = None,
    strict: StrictOption = False,
    resume: ResumeOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would do.")] = False,
    only: Annotated[
        str | None,
        typer.Option(help="Cells to code, as in agent=search:*,base_qp=32.", show_default="all"),
    ] = None,
    ray: Annotated[
        str | None, typer.Option(help="Address of a Ray cluster, or local to start one here.")
    ] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Code a grid of images and settings; every finished cell is kept in OUT/rows.jsonl."""
    from dmic_gym.bench.cells import Only
    from dmic_gym.bench.definition import Definition
    from dmic_gym.bench.engines import make_engine
    from dmic_gym.bench.store import Store
    from dmic_gym.cli.run_progress import run_shown

    definition = Definition.read(file)
    folder = out or Path("dmic-sweep") / file.stem
    chosen = _all_cells if only is None else Only(only)
    if dry_run:
        _show_plan(definition, folder, chosen)
        return
    engine = make_engine(jobs, ray)
    with Store.create(folder) as store:
        plan = run_shown(definition, store, engine, only=chosen, resume=resume, strict=strict)
        failed = show_and_save(store, definition, plan, folder, as_json=as_json)
    raise typer.Exit(1 if failed else 0)


@app.command(**shown(MEASURE, "dmic replay dmic-sweep/quick --sample 20"))
def replay(
    store: Annotated[Path, typer.Argument(help="Folder of dmic bench or dmic sweep.")],
    sample: Annotated[
        int | None, typer.Option(help="Replay N cells, drawn at random.", show_default="all")
    ] = None,
    jobs: JobsOption = None,
) -> None:
    """Code and score stored QP maps again: a tick or a cross per cell."""
    from dmic_gym.bench.engines import cores
    from dmic_gym.bench.replay import replay as replayed
    from dmic_gym.bench.replay import sampled
    from dmic_gym.bench.store import Store

    count = checked_integer("--jobs", cores() if jobs is None else jobs)
    with Store.open(store) as opened:
        records, base = sampled(opened.records(), sample), opened.base
    same, other = _marks(stdout.encoding)
    unequal = 0
    for verdict in replayed(records, base, count):
        say(f"{same if verdict.equal else other} {verdict.record.cell}")
        for difference in verdict.differences:
            say(f"    {difference}")
        unequal += not verdict.equal
    say(f"{len(records) - unequal} of {len(records)} cells as stored")
    raise typer.Exit(1 if unequal else 0)


def _marks(encoding: str) -> tuple[str, str]:
    """Return tick and cross, or words where the terminal has no signs for them."""
    try:
        "✓✗".encode(encoding)
    except UnicodeEncodeError:
        return "equal", "OTHER"
    return "✓", "✗"


def _all_cells(_: Cell) -> bool:
    return True


def _show_plan(definition: Definition, folder: Path, only: Callable[[Cell], bool]) -> None:
    from dmic_gym.bench.plan import count_by, make_plan, plan_lines
    from dmic_gym.bench.store import ROWS, Store

    plan = make_plan(definition).only(only)
    done: set[str] = set()
    if (folder / ROWS).is_file():
        with Store.open(folder) as store:
            done = store.done()
    for line in plan_lines(plan.cells):
        say(line)
    images = len(count_by(plan.cells, "image"))
    finished = sum(planned.id in done for planned in plan.cells)
    say(f"{len(plan.cells)} cells of {images} images, {finished} of them done in {folder}")
