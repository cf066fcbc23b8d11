"""Rate-distortion curves of a recorded run, of the agents that one wants to show.

python benchmarks/rd_curves.py runs/headline --agents anchor,roi:12:0.3,table,dmic --out OUT
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from recorded import Recorded

from dmic_gym.bench.charts import draw_curves
from dmic_gym.bench.style import png


def main(
    results: Annotated[Path, typer.Argument(help="Folder of a recorded run.")],
    agents: Annotated[str | None, typer.Option(help="Agents and still codecs.")] = None,
    ctu: Annotated[int | None, typer.Option(help="CTU size, where the run has several.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for rd-curves.png.")] = Path(),
) -> None:
    run = Recorded.read(results, ctu)
    figure = draw_curves(run.results, None if agents is None else agents.split(","))
    (out / "rd-curves.png").write_bytes(png(figure, dpi=120))


if __name__ == "__main__":
    typer.run(main)
