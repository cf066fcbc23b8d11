"""What policies have learned: their QP maps beside those of the search and of the oracle.

    python benchmarks/qp_maps.py --data $DMIC_DATA/angiograms/test --out benchmarks/results

A row is an image: the experts' share of vessel in each CTU, then the QP of each CTU by each agent,
with bits and Dice against the anchor's. No pixels are drawn, so that the picture may be shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import matplotlib.pyplot as plt
import numpy as np
import typer

from dmic_gym import X265Codec, load_dataset, load_segmenter
from dmic_gym.agents.registry import make_agent
from dmic_gym.envs.complexity import ctu_sums
from dmic_gym.envs.evaluator import Evaluator
from dmic_gym.envs.results import EncodeResult
from dmic_gym.types import CTUTable


def main(
    data: Annotated[str, typer.Option(help="Annotated images.")],
    agents: Annotated[str, typer.Option(help="Names.")] = "mlp-1shot,mlp-40shot,search:50,oracle",
    base_qp: Annotated[int, typer.Option(help="Base QP.")] = 32,
    images: Annotated[str, typer.Option(help="Places of the images.")] = "0,7,14",
    ctu: Annotated[int, typer.Option(help="CTU size.")] = 64,
    out: Annotated[Path, typer.Option(help="Folder for qp-maps.png.")] = Path(),
) -> None:
    samples, evaluator = load_dataset(data), Evaluator(X265Codec(ctu), load_segmenter())
    names, places = agents.split(","), [int(place) for place in images.split(",")]
    figure, axes = plt.subplots(
        len(places),
        len(names) + 1,
        figsize=(3.1 * (len(names) + 1), 3.4 * len(places)),
        squeeze=False,
        layout="constrained",
    )
    for row, place in zip(axes, places, strict=True):
        sample = samples[place]
        reference = evaluator.reference(sample)
        assert sample.mask is not None
        _panel(row[0], 100 * _share(sample.mask, ctu), f"{sample.name}: % vessel", "Greys", (0, 25))
        anchor = evaluator.anchor(reference, base_qp)
        for axis, name in zip(row[1:], names, strict=True):
            planner = make_agent(name, evaluator)
            result = planner.plan(evaluator, reference, base_qp).result
            told = f"{name}\n{_against(result, anchor.bits, anchor.dice)}"
            _panel(axis, result.qp_map, told, "YlGnBu_r", (base_qp - 10, 51))
    figure.suptitle(f"QP of each CTU at base QP {base_qp}, CTU {ctu}")
    figure.savefig(out / "qp-maps.png", dpi=90)


def _share(mask: Any, ctu: int) -> CTUTable:
    return np.asarray(ctu_sums(mask, ctu) / ctu_sums(np.ones_like(mask), ctu))


def _against(result: EncodeResult, bits: int, dice: float | None) -> str:
    figures = result.figures
    assert figures.dice is not None
    assert dice is not None
    return f"bits {figures.bits / bits - 1:+.0%}, Dice {figures.dice - dice:+.3f}"


def _panel(axis: Any, table: Any, title: str, colours: str, limits: Sequence[int]) -> None:
    axis.imshow(table, cmap=colours, vmin=limits[0], vmax=limits[1])
    dark = colours == "Greys"
    for (y, x), value in np.ndenumerate(np.asarray(table)):
        middle = (limits[0] + limits[1]) / 2
        light = value > middle if dark else value < middle
        axis.text(x, y, f"{value:.0f}", ha="center", va="center", size=9,
                  color="white" if light else "black")  # fmt: skip
    axis.set_title(title, size=9)
    axis.set_xticks([])
    axis.set_yticks([])


if __name__ == "__main__":
    typer.run(main)
