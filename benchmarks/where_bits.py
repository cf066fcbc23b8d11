"""Where the bits go: bits spent and Dice lost by distance from the vessel.

    python benchmarks/where_bits.py runs/headline --agents roi:12:0.3,dmic --qp 37 --out OUT

The recorded QP maps of a few images are coded again. A CTU's distance is that of its nearest pixel
from the expert mask. x265 does not say what each CTU took: slice bits are shared out by
`dmic_gym.envs.bit_model`. Dice lost is what each CTU's pixels take from the Dice that the network
has on the uncompressed image (`dmic_gym.envs.credit.dice_gains`); the parts sum to the whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from recorded import Recorded, spread

from dmic_gym.bench.protocol import ANCHOR
from dmic_gym.bench.style import INK, MUTED, drawing, looks_of, png, quiet
from dmic_gym.bench.workbench import workbench
from dmic_gym.envs.bit_model import bit_model_of
from dmic_gym.envs.complexity import ctu_max, ctu_sums
from dmic_gym.envs.credit import dice_gains
from dmic_gym.types import CTUTable, Floats, Mask

EDGES = (0.0, 32.0, 96.0)
RINGS = ("0", "\N{LESS-THAN OR EQUAL TO} 32", "\N{LESS-THAN OR EQUAL TO} 96", "> 96")
"""Distances of a CTU from the vessel in pixels: upper bounds, and what they are called."""

Shares = Mapping[str, Floats]
"""By agent: a number for each of `RINGS`, mean over images."""


def main(
    results: Annotated[Path, typer.Argument(help="Folder of a recorded run.")],
    agents: Annotated[str, typer.Option(help="Beside the anchor.")],
    qp: Annotated[int, typer.Option(help="Base QP.")] = 37,
    images: Annotated[int, typer.Option(help="How many, evenly spread.")] = 20,
    ctu: Annotated[int | None, typer.Option(help="CTU size, where the run has several.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for where-bits.png.")] = Path(),
) -> None:
    run, names = Recorded.read(results, ctu), [ANCHOR, *agents.split(",")]
    chosen = spread(run.lines[ANCHOR].images, images)
    area, bits, lost = measured(run, names, chosen, qp)
    for title, found in (("bits an image", bits), ("Dice lost", lost)):
        for name in names:
            shares = " ".join(f"{value:9.4g}" for value in found[name])
            print(f"{title:14} {name:16} {shares}   sum {found[name].sum():.4g}")
    figure = draw(area, bits, lost, f"{run.results['protocol']['data']}, {len(chosen)} images, "
                  f"base QP {qp}, CTU {run.results['protocol']['ctu_size']}")  # fmt: skip
    (out / "where-bits.png").write_bytes(png(figure, dpi=120))


def measured(
    run: Recorded, names: Sequence[str], images: Sequence[str], qp: int
) -> tuple[Floats, Shares, Shares]:
    """Return by ring the share of the picture, and each agent's bits and Dice lost."""
    area: list[Floats] = []
    bits: dict[str, list[Floats]] = {name: [] for name in names}
    lost: dict[str, list[Floats]] = {name: [] for name in names}
    for image in images:
        sample = run.samples[image]
        assert sample.mask is not None
        for name in names:
            record = run.record(name, image, qp)
            bench, size = workbench(record.cell), record.cell.ctu_size
            assert record.row is not None
            reference = bench.evaluator.reference(sample)
            result = bench.result(record.cell, reference, record.row.qp_map)
            rings = ring_of(sample.mask, size)
            model = bit_model_of(reference, size)
            spent = model.bits(result.qp_map, result.figures.slice_bits)
            gained = dice_gains(result.mask, reference.mask, sample.mask, size)
            bits[name].append(_by_ring(rings, spent))
            lost[name].append(-_by_ring(rings, gained))
        pixels = ctu_sums(np.ones_like(sample.mask), size)
        area.append(_by_ring(rings, pixels) / sample.mask.size)
    return (
        np.mean(area, axis=0),
        {name: np.mean(found, axis=0) for name, found in bits.items()},
        {name: np.mean(found, axis=0) for name, found in lost.items()},
    )


def ring_of(mask: Mask, ctu_size: int) -> CTUTable:
    """Return for each CTU the place in `RINGS` of its distance from the mask."""
    away = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    nearest = -ctu_max(-away.astype(np.float32), ctu_size)
    return np.searchsorted(EDGES, nearest.astype(np.float64)).astype(np.float64)


def _by_ring(rings: CTUTable, values: CTUTable) -> Floats:
    return np.array([values[rings == ring].sum() for ring in range(len(RINGS))])


def draw(area: Floats, bits: Shares, lost: Shares, title: str) -> Figure:
    """Draw the three side by side."""
    looks = looks_of(list(bits), anchor=ANCHOR, accent=list(bits)[-1])
    with drawing():
        figure = Figure(figsize=(9, 3.7), layout="constrained", facecolor="white")
        axes = figure.subplots(1, 3, width_ratios=(1.3, 2.2, 2.2))
        axes[0].bar(range(len(RINGS)), 100 * area, color=MUTED, width=0.6)
        _finish(axes[0], "share of the picture, %")
        panels = ((bits, 1e-3, "kbit per image"), (lost, 100.0, "Dice lost, points of 100"))
        for panel, (found, unit, label) in zip(axes[1:], panels, strict=True):
            for n, (name, values) in enumerate(found.items()):
                _bars(panel, n, len(found), unit * values, looks[name].colour, name)
            panel.axhline(0, color=INK, lw=0.8)
            _finish(panel, label)
        handles, labels = axes[1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        figure.suptitle(title, fontsize=10, parse_math=False)
        return figure


def _bars(axes: Axes, n: int, of: int, values: Floats, colour: str, name: str) -> None:
    places = np.arange(len(values)) + (n - (of - 1) / 2) * 0.8 / of
    drawn: Any = axes.bar(places, values, width=0.74 / of, color=colour, label=name)
    first = f"{values[0]:.1f}".replace("-", "\N{MINUS SIGN}")
    labels = [first, *[""] * (len(values) - 1)]  # elsewhere they would overlap
    axes.bar_label(drawn, labels, fontsize=7, padding=1, color=MUTED)


def _finish(axes: Axes, label: str) -> None:
    quiet(axes, "CTU to vessel, px", label)
    axes.set_xticks(range(len(RINGS)), RINGS)
    axes.grid(visible=False, axis="x")


if __name__ == "__main__":
    typer.run(main)
