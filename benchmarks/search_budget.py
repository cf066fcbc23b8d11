"""Measure the BD-rate of the search over its budget, and draw it.

    python benchmarks/search_budget.py --data $DMIC_DATA/angiograms/test --jobs 2 \
        --out benchmarks/results/search-budget

One search of the largest budget a cell; the best map after k encodes is the result of budget k.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from dmic_gym import X265Codec, load_dataset, load_segmenter
from dmic_gym.agents.planning import SearchAgent, make_objective
from dmic_gym.agents.search.objective import Objective
from dmic_gym.agents.search.posterior_cache import PosteriorCache
from dmic_gym.bench.bdrate import RDCurve, bd_rate, bootstrap_bd_rate
from dmic_gym.bench.protocol import versions
from dmic_gym.envs.evaluator import Evaluator

QPS = (22, 27, 32, 37)
BUDGETS = (10, 25, 50, 100, 200)

Cell = list[tuple[int, float]]
"""(bits, Dice): the anchor's, then after each budget."""


def search_image(data: str, ctu: int, index: int) -> list[Cell]:
    """Return a cell for each base QP."""
    torch.set_num_threads(1)
    evaluator = Evaluator(X265Codec(ctu), load_segmenter())
    posteriors = PosteriorCache(evaluator.segmenter)
    reference = evaluator.reference(load_dataset(data)[index])
    cells = []
    for qp in QPS:
        anchor = evaluator.anchor(reference, qp)

        def objective_of(qp: int = qp) -> Objective:
            return make_objective(evaluator, reference, qp, posteriors)

        results = [
            SearchAgent(budget, posteriors).search(objective_of()).result.figures
            for budget in BUDGETS
            if budget < 25
        ]
        objective = objective_of()
        SearchAgent(max(BUDGETS), posteriors).search(objective)
        for budget in BUDGETS:
            if budget >= 25:
                best = max(objective.trials[:budget], key=lambda trial: trial.value)
                results.append(best.result.figures)
        cells.append([(anchor.bits, anchor.quality), *((f.bits, f.quality) for f in results)])
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--ctu", type=int, default=64)
    parser.add_argument("--images", type=int)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()

    count = options.images or len(load_dataset(options.data))
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        work = partial(search_image, options.data, options.ctu)
        cells = np.array(list(pool.map(work, range(count))))
    rows = [_row(cells, position + 1, budget) for position, budget in enumerate(BUDGETS)]
    for row in rows:
        print(row)
    _draw(rows, options.ctu).savefig(options.out.with_suffix(".png"), dpi=120)
    result = {"images": count, "ctu_size": options.ctu, "versions": versions(), "rows": rows}
    options.out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")


def _row(cells: np.ndarray, position: int, budget: int) -> dict[str, object]:
    anchor, test = cells[:, :, 0], cells[:, :, position]
    result = bd_rate(RDCurve(*anchor.mean(0).T), RDCurve(*test.mean(0).T))
    interval = bootstrap_bd_rate(anchor[..., 0], anchor[..., 1], test[..., 0], test[..., 1])
    return {
        "encodes": budget,
        "bd_rate_percent": result.percent,
        "ci95": interval.bounds,
        "note": "; ".join(note for note in (result.note, interval.note) if note),
    }


def _draw(rows: Sequence[dict[str, object]], ctu: int) -> Figure:
    drawn = [row for row in rows if row["bd_rate_percent"] is not None]
    encodes = [row["encodes"] for row in drawn]
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(encodes, [row["bd_rate_percent"] for row in drawn], "o-", label="search")
    bounds = [row["ci95"] or (np.nan, np.nan) for row in drawn]
    axes.fill_between(encodes, *zip(*bounds, strict=True), alpha=0.2, label="95 % interval")
    axes.axhline(-47.594, color="black", lw=0.8, ls="--", label="DMIC paper, other data")
    axes.set_xscale("log")
    axes.set_xticks(encodes, [str(n) for n in encodes])
    axes.set_xlabel("encodes an image and operating point")
    axes.set_ylabel("BD-rate on Dice, %")
    axes.set_title(f"Search without the expert mask, CTU {ctu}, QP {'-'.join(map(str, QPS))}")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


if __name__ == "__main__":
    main()
