"""``dmic report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dmic_gym.cli.common import app, stderr, stdout


@app.command()
def report(
    store: Annotated[Path, typer.Argument(help="Folder of a sweep, or its sweep.sqlite.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the files; by default STORE/report.")
    ] = None,
    pictures: Annotated[
        bool, typer.Option(help="Show images; without, the report holds no pixel of the data.")
    ] = True,
) -> None:
    """Write a sweep, finished or not, as one HTML page, Markdown, CSV and PNG."""
    from dmic_gym.bench.files import check_folder
    from dmic_gym.bench.html.document import make_document
    from dmic_gym.bench.html.files import save
    from dmic_gym.bench.html.study import read_study
    from dmic_gym.bench.store import Store

    with Store.open(store) as opened:
        folder = out or opened.path.parent / "report"
        check_folder(folder)
        with stderr.status("intervals by bootstrap"):
            study = read_study(opened)
    with stderr.status("pictures and figures"):
        paths = save(make_document(study, pictures=pictures), folder)
    for warning in study.warnings:
        stdout.print(f"note: {warning}", highlight=False, markup=False, soft_wrap=True)
    stdout.print(f"{study.done} of {study.planned} cells", highlight=False)
    for path in paths:
        stdout.print(f"wrote {path}", highlight=False, markup=False, soft_wrap=True)
