"""What agents have settled on: their recorded QP maps of a few images side by side.

    python benchmarks/qp_maps.py runs/headline --agents table,dmic,search:100,oracle --out OUT

A row is an image: the experts' share of vessel in each CTU, then the QP of each CTU by each agent,
with bits and Dice against the anchor's. No pixels are drawn, so that the picture may be shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from recorded import Recorded, spread

from dmic_gym.bench.cells import Row
from dmic_gym.bench.protocol import ANCHOR
from dmic_gym.bench.style import drawing, png
from dmic_gym.envs.complexity import ctu_sums
from dmic_gym.types import CTUTable, Mask


def main(
    results: Annotated[Path, typer.Argument(help="Folder of a recorded run.")],
    agents: Annotated[str, typer.Option(help="Names.")] = "table,dmic,search:100,oracle",
    base_qp: Annotated[int, typer.Option(help="Base QP.")] = 37,
    images: Annotated[str | None, typer.Option(help="Names; default three, spread.")] = None,
    ctu: Annotated[int | None, typer.Option(help="CTU size, where the run has several.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for qp-maps.png.")] = Path(),
) -> None:
    run, names = Recorded.read(results, ctu), agents.split(",")
    chosen = images.split(",") if images else spread(run.lines[ANCHOR].images, 3)
    size = run.results["protocol"]["ctu_size"]
    shape = (1.75 * (len(names) + 1), 2.0 * len(chosen) + 0.5)
    with drawing():
        figure = Figure(figsize=shape, layout="constrained", facecolor="white")
        axes = figure.subplots(len(chosen), len(names) + 1, squeeze=False)
        for row, image in zip(axes, chosen, strict=True):
            mask = run.samples[image].mask
            assert mask is not None
            _panel(row[0], 100 * _share(mask, size), f"{image}: vessel, %", "Greys", (0, 25))
            anchor = _row(run, ANCHOR, image, base_qp)
            for axis, name in zip(row[1:], names, strict=True):
                found = _row(run, name, image, base_qp)
                drawn = _panel(axis, np.array(found.qp_map), f"{name}\n{_against(found, anchor)}",
                               "cividis", (base_qp - 10, 51))  # fmt: skip
        figure.colorbar(drawn, ax=axes, shrink=0.5, label="QP", aspect=30, pad=0.01)
        figure.suptitle(f"QP of each CTU at base QP {base_qp}, CTU {size}", fontsize=10)
    (out / "qp-maps.png").write_bytes(png(figure, dpi=120))


def _row(run: Recorded, agent: str, image: str, base_qp: int) -> Row:
    row = run.record(agent, image, base_qp).row
    assert row is not None
    return row


def _share(mask: Mask, ctu: int) -> CTUTable:
    return np.asarray(ctu_sums(mask, ctu) / ctu_sums(np.ones_like(mask), ctu))


def _against(row: Row, anchor: Row) -> str:
    assert row.dice is not None
    assert anchor.dice is not None
    return f"bits {row.bits / anchor.bits - 1:+.0%}, Dice {row.dice - anchor.dice:+.3f}"


def _panel(axis: Axes, table: Any, title: str, colours: str, limits: tuple[int, int]) -> Any:
    drawn = axis.imshow(table, cmap=colours, vmin=limits[0], vmax=limits[1])
    axis.set_title(title, size=8)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)
    return drawn


if __name__ == "__main__":
    typer.run(main)
