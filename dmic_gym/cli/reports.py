"""``dmic report``, and what `dmic bench` and `dmic sweep` say and write at their end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from dmic_gym.cli.common import app, names_of, print_json, say, stderr, stdout
from dmic_gym.cli.help import MEASURE, shown
from dmic_gym.cli.notes import QuietOption, working

if TYPE_CHECKING:
    from dmic_gym.bench.definition import Definition
    from dmic_gym.bench.plan import SweepPlan
    from dmic_gym.bench.rows import Record
    from dmic_gym.bench.store import Store

WRITTEN = ("results.json", "rows.jsonl", "rd-curves.png")
"""The files of `show_and_save`."""

_FAILURES_SHOWN = 10


@app.command(
    **shown(MEASURE, "dmic report runs/mine", "dmic report dmic-sweep/quick --no-pictures")
)
def report(
    store: Annotated[Path, typer.Argument(help="Folder of dmic bench or dmic sweep.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the files.", show_default="STORE/report")
    ] = None,
    pictures: Annotated[
        bool, typer.Option(help="Show images; without, the report holds no pixel of the data.")
    ] = True,
    compare: Annotated[
        str | None,
        typer.Option(
            help="Agents with which all others are compared too.", show_default="those of the run"
        ),
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Write a run, finished or not, as one HTML page, Markdown, CSV and PNG."""
    from dmic_gym.bench.html.document import make_document
    from dmic_gym.bench.html.report_data import read_report_data
    from dmic_gym.bench.html.report_files import save_report
    from dmic_gym.bench.results_files import check_folder
    from dmic_gym.bench.store import Store

    with Store.open(store) as opened:
        folder = out or opened.path.parent / "report"
        check_folder(folder)
        with working("intervals by bootstrap"):
            data = read_report_data(opened, None if compare is None else names_of(compare))
    with working("pictures and figures"):
        paths = save_report(make_document(data, pictures=pictures), folder)
    for warning in data.warnings:
        say(f"note: {warning}")
    say(f"{data.done} of {data.planned} cells")
    for path in paths:
        say(f"wrote {path}")


def show_and_save(
    store: Store, definition: Definition, plan: SweepPlan, folder: Path, *, as_json: bool = False
) -> int:
    """Print tables and failures, write `WRITTEN`; return how many cells have no result.

    Args:
        store: of the run.
        definition: of the run.
        plan: its cells.
        folder: for the files.
        as_json: print ``results.json`` in place of tables and lines.

    Raises:
        DataError: the folder cannot be written.
    """
    from dmic_gym.bench.charts import draw_curves
    from dmic_gym.bench.results import results_in
    from dmic_gym.bench.results_files import save_results
    from dmic_gym.bench.style import png
    from dmic_gym.bench.terminal import tables
    from dmic_gym.io import write_atomically

    with working("intervals by bootstrap"):
        found = results_in(store, definition, plan)
    paths = [save_results(found, folder), folder / WRITTEN[1]]
    if found:
        paths.append(folder / WRITTEN[2])
        write_atomically(paths[-1], png(draw_curves(found[0]), dpi=120))
    done = store.done()
    failures = [record for record in store.failures() if record.id in plan.grid]
    if as_json:
        print_json(json.loads(paths[0].read_text()))
        _say_failures(failures, stderr)
        return len(plan.without(done).cells)
    for results in found:
        for part in tables(results):
            stdout.print(part, soft_wrap=isinstance(part, Text))
    for warning in plan.warnings:
        say(f"  {warning}")
    _say_failures(failures, stdout)
    if not found:
        say("Nothing to compare: the anchor has no image with every base QP.")
    say(f"{len(done & plan.grid)} of {len(plan.grid)} cells in {folder}")
    for path in paths:
        say(f"wrote {path}")
    return len(plan.without(done).cells)


def _say_failures(failures: Sequence[Record], console: Console) -> None:
    for record in failures[:_FAILURES_SHOWN]:
        say(f"  failed: {record.cell}: {record.error}", console)
    if failures:
        say(f"{len(failures)} cells failed; --resume tries them again.", console)
