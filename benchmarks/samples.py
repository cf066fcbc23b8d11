"""How many annotated images, and which part of the network: the weights that samples.toml judges.

    dmic train-segmenter --data $DMIC_DATA/angiograms/train --folds 5 --epochs 240 --out runs/folds
    python benchmarks/samples.py --data $DMIC_DATA/angiograms/train --segmenter runs/folds
    dmic sweep benchmarks/samples.toml --jobs 2

Each policy is tuned by QP value tables alone, every image judged by the fold that has not seen it;
one that starts from nothing has more epochs. A run of more than ten minutes is stopped. What is
there already is left as it is and what was cut off is resumed, so that a run that was stopped goes
on.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from dmic_gym.agents.training.learn import VALUE_TABLES

OUT = Path("runs/samples")
VARIATIONS = 24
LIMIT_S = 600


def runs() -> list[tuple[str, int, int]]:
    """Return what is tuned, on how many images, and the seed that chooses them."""
    few = [
        (tune, count, seed)
        for count in (1, 5)
        for tune in ("head", "all", "scratch")
        for seed in (0, 1)
    ]
    more = [("head", 1, seed) for seed in (2, 3, 4)]
    return list(chain(few, more, [(tune, 40, 0) for tune in ("head", "all", "scratch")]))


def main(
    data: Annotated[str, typer.Option(help="Folder of annotated images.")],
    segmenter: Annotated[str, typer.Option(help="Folder of train-segmenter --folds.")],
    weights: Annotated[str, typer.Option(help="Where head and all start.")] = "mlp-phantoms",
) -> None:
    for tune, count, seed in runs():
        name = f"{tune}-{count}-{seed}"
        if (OUT / name / f"{name}.safetensors").exists():
            continue
        print(name, flush=True)
        _share_lessons(OUT / name, OUT / f"head-{count}-{seed}")
        options = {
            "data": data, "segmenter": segmenter, "weights": weights, "tune": tune,
            "samples": count, "seed": seed, "variations": max(VARIATIONS, count), "steps": 0,
            "name": name, "out": OUT / name,
        }  # fmt: skip
        if tune == "scratch":
            options |= {"epochs": 200, "warm-start-rate": 0.002}
        words = [str(word) for key, value in options.items() for word in (f"--{key}", value)]
        dmic = [sys.executable, "-c", "from dmic_gym.cli import main; main()"]
        subprocess.run([*dmic, "finetune", *words, "--resume"], check=True, timeout=LIMIT_S)


def _share_lessons(out: Path, other: Path) -> None:
    """Take over what a run on the same images has encoded."""
    if (other / VALUE_TABLES).exists() and not (out / VALUE_TABLES).exists():
        out.mkdir(parents=True, exist_ok=True)
        shutil.copy(other / VALUE_TABLES, out / VALUE_TABLES)


if __name__ == "__main__":
    typer.run(main)
