"""Where allocation pays: BD-rates of groups of images alike in vessel area, noise or size.

    python benchmarks/saving_by.py runs/headline runs/angiograms --agents table,dmic --out OUT

The images of the first run are sorted by what their expert mask covers, and by their noise
(Immerkaer 1996), and parted into groups of equal number; each further run stands for its size of
picture. A group's BD-rate is that of its mean curves, with 95 % intervals over its images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from recorded import Recorded

from dmic_gym.bench.protocol import ANCHOR
from dmic_gym.bench.style import INK, drawing, looks_of, png, quiet
from dmic_gym.bench.summary import Comparer
from dmic_gym.bench.tables import qps_of
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.types import Image

Groups = Sequence[tuple[float, Recorded, Sequence[str]]]
"""The middle of a group's values, the run, and the names of its images."""

_LAPLACE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)


def main(
    runs: Annotated[list[Path], typer.Argument(help="Folders of recorded runs.")],
    agents: Annotated[str, typer.Option(help="Agents of all of them.")],
    qps: Annotated[str, typer.Option(help="Set of base QPs.")] = "low_rate",
    groups: Annotated[int, typer.Option(help="How many of area and of noise.")] = 4,
    ctu: Annotated[int | None, typer.Option(help="CTU size, where runs have several.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for saving-by.png.")] = Path(),
) -> None:
    found = [Recorded.read(folder, ctu) for folder in runs]
    first, names = found[0], agents.split(",")
    panels = {
        "vessel, % of the picture": _parted(first, groups, _area),
        "noise, grey levels": _parted(first, groups, lambda sample: noise(sample.image)),
        "side of the picture, px (a data set each)": [
            (
                float(max(next(iter(run.samples.values())).image.shape)),
                run,
                run.lines[ANCHOR].images,
            )
            for run in found
        ],
    }
    figure = draw(panels, names, qps)
    (out / "saving-by.png").write_bytes(png(figure, dpi=120))


def noise(image: Image) -> float:
    """Estimate the standard deviation of an image's noise in grey levels (Immerkaer 1996)."""
    answer = cv2.filter2D(image.astype(np.float32), -1, _LAPLACE)[1:-1, 1:-1]
    return float(np.sqrt(np.pi / 2) * np.abs(answer).mean() / 6)


def _area(sample: Sample) -> float:
    assert sample.mask is not None
    return 100 * float(sample.mask.mean())


def _parted(run: Recorded, count: int, value_of: Callable[[Sample], float]) -> Groups:
    values = {name: value_of(run.samples[name]) for name in run.lines[ANCHOR].images}
    order = sorted(values, key=lambda name: values[name])
    parts = [part.tolist() for part in np.array_split(np.array(order), count) if part.size]
    return [(float(np.median([values[name] for name in part])), run, part) for part in parts]


def bd_of(run: Recorded, agent: str, images: Sequence[str], qps: str) -> Mapping[str, Any]:
    """Return an agent's BD-rate on some of a run's images, as ``results.json`` has it."""
    anchor, line = (run.lines[name].only(set(images)) for name in (ANCHOR, agent))
    return Comparer(anchor).bd_rate(line, run.results["protocol"]["qp_sets"][qps]).part


def draw(panels: Mapping[str, Groups], names: Sequence[str], qps: str) -> Figure:
    """Draw a panel for each property, a line an agent."""
    looks = looks_of(names, anchor=ANCHOR, accent=names[-1])
    with drawing():
        figure = Figure(figsize=(9, 3.6), layout="constrained", facecolor="white")
        axes = figure.subplots(1, len(panels), sharey=True)
        for panel, (label, groups) in zip(axes, panels.items(), strict=True):
            alike = all(run is groups[0][1] for _, run, _ in groups)
            for name in names:
                parts = [(at, bd_of(run, name, images, qps)) for at, run, images in groups]
                print(f"{label}, {name}:", *map(_told, parts), sep="\n  ")
                _line(panel, parts, "o-" if alike else "o", looks[name].colour, name)
            panel.axhline(0, color=INK, lw=0.9, ls="--")
            quiet(panel, label, "BD-rate on Dice, %" if panel is axes[0] else "")
        axes[0].legend(loc="best")
        first = next(iter(panels.values()))[0][1].results
        title = f"{first['protocol']['images']} images in groups, {qps_of(first, qps)}"
        figure.suptitle(f"{title}; bars are 95 % intervals", fontsize=10)
        return figure


def _told(part: tuple[float, Mapping[str, Any]]) -> str:
    at, found = part
    return f"{at:8.2f}  {found['bd_rate_percent']} {found['ci95']} {found['bd_rate_note']}"


def _line(
    axes: Axes,
    parts: Sequence[tuple[float, Mapping[str, Any]]],
    style: str,
    colour: str,
    name: str,
) -> None:
    """Draw the defined BD-rates with their intervals."""
    defined = [(at, part) for at, part in parts if part["bd_rate_percent"] is not None]
    xs, rates = [at for at, _ in defined], [part["bd_rate_percent"] for _, part in defined]
    axes.plot(xs, rates, style, color=colour, label=name)
    for at, part in defined:
        if part["ci95"] is not None:
            axes.vlines(at, *part["ci95"], color=colour, lw=1.4, alpha=0.5)


if __name__ == "__main__":
    typer.run(main)
