"""What tuning carries over: source x tuned part x samples, with paired intervals.

    python benchmarks/transfer.py benchmarks/transfer.toml --only 'phantoms-*-1-*' --images 60

The definition names the sources, the parts, the numbers of samples and how each is trained. Every
policy and every encode stays in its folder, so that the same command goes on after it was stopped,
and QP value tables are made once for all cells. ``transfer.csv`` and ``transfer.json`` hold the
BD-rate of each cell, several choices of the samples joined by their mean, and its differences to
the source as it is (zero-shot) and to rules.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import groupby, product
from pathlib import Path
from typing import Any

import numpy as np
from policies import against_the_anchor, coded, command_of, compared, config_of

from dmic_gym.agents.training.config import TrainingConfig
from dmic_gym.agents.training.finetune import RANDOM, choose_samples, finetune
from dmic_gym.agents.training.run import CardNotes, TrainingRun
from dmic_gym.bench.definition import Definition
from dmic_gym.bench.lines import Line, lines_of
from dmic_gym.bench.protocol import ANCHOR, METHOD, versions
from dmic_gym.bench.rows import Record
from dmic_gym.bench.summary import Comparer, Found
from dmic_gym.io import portable, write_atomically
from dmic_gym.tasks.leakage import UnseenSegmenters
from dmic_gym.tasks.registry import Task, task_of

ZERO_SHOT = "zero-shot"
Row = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """A policy to be tuned.

    Attributes:
        source: key of the definition's sources.
        tuned: "head" or "all".
        samples: how many.
        choice: seed of their draw and of the training.
    """

    source: str
    tuned: str
    samples: int
    choice: int

    @property
    def name(self) -> str:
        return f"{self.source}-{self.tuned}-{self.samples}-{self.choice}"

    @property
    def row(self) -> tuple[str, str, int]:
        return self.source, self.tuned, self.samples


@dataclass(frozen=True)
class Experiment:
    """The definition, see ``transfer.toml``; `sweep` holds what `Definition.of` takes."""

    task: Task
    out: Path
    sources: Mapping[str, str]
    tuned: Sequence[str]
    samples: Sequence[int]
    choices: int
    sweep: Mapping[str, Any]
    training: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Experiment:
        given = tomllib.loads(path.read_text())
        own = ("out", "sources", "tuned", "samples", "choices", "training")
        found = {key: given.pop(key) for key in own if key in given}
        task = task_of(given.pop("task"), given.get("segmenter"), given.get("second"))
        networks = {"segmenter": str(task.segmenter), "second": str(task.second or "")}
        sweep = {"data": [portable(str(task.test))], **networks, **given}
        return cls(task, sweep=sweep, **{**found, "out": Path(found["out"])})

    @property
    def cells(self) -> list[Cell]:
        return [
            Cell(source, tuned, samples, choice)
            for source, tuned, samples in product(self.sources, self.tuned, self.samples)
            for choice in range(self.choices if (tuned, samples) == ("head", 1) else 1)
        ]

    def settings(self, cell: Cell) -> tuple[TrainingConfig, int]:
        """Return how a cell is trained, and how many variations of its samples it has."""
        shared = {k: v for k, v in self.training.items() if not isinstance(v, Mapping)}
        chosen = shared | self.training.get(str(cell.samples), {})
        variations = max(chosen.pop("variations", 1), cell.samples)
        return config_of({**chosen, "seed": cell.choice}), variations

    def weights(self, cell: Cell) -> Path:
        return self.out / "policies" / cell.name / f"{cell.name}.safetensors"


def tune(experiment: Experiment, cell: Cell) -> Path:
    """Tune a policy, or find it where that has been done."""
    weights = experiment.weights(cell)
    if weights.exists():
        return weights
    print(f"tuning {cell.name}", flush=True)
    task, (config, variations) = experiment.task, experiment.settings(cell)
    chosen = choose_samples(task.load_data("train"), cell.samples, cell.choice)
    unseen = UnseenSegmenters({str(task.train): chosen}, [str(task.training_segmenter)], True)
    words = f"{portable(str(task.train))} ({len(chosen)} images)"
    run = TrainingRun(
        cell.name,
        weights.parent,
        config,
        segmenter=unseen,
        resume=True,
        tables=experiment.out / "tables",
        card=CardNotes([words, unseen.description], command_of("transfer")),
    )
    source = experiment.sources[cell.source]
    return finetune(chosen, run, weights=source, tune=cell.tuned, variations=variations)


def measure(
    experiment: Experiment, agents: Sequence[str], images: int | None, jobs: int | None
) -> tuple[Definition, list[Record]]:
    """Code the test images with all agents; what has been coded before is not coded again."""
    asked = {**experiment.sweep, "agents": list(agents), "images": images}
    return coded(asked, experiment.out / "rows", jobs, command_of("transfer"))


def rows_of(
    lines: Mapping[str, Line], experiment: Experiment, cells: Sequence[Cell], qps: Sequence[int]
) -> list[Row]:
    """Return the table, a row for each rule and source and for each kind of cell."""
    comparer, found = compared(lines, qps)
    rules = {name: found[name] for name in experiment.sweep.get("compare", ())}
    rows = [_row(comparer, {"source": name}, [rule], {}) for name, rule in rules.items()]
    for source, path in experiment.sources.items():
        if path in found:
            told = {"source": source, "tuned": "none"}
            rows.append(_row(comparer, told, [found[path]], rules))
    for (source, tuned, samples), group in groupby(cells, key=lambda cell: cell.row):
        own = [found[str(experiment.weights(cell))] for cell in group]
        start = experiment.sources[source]
        rivals = ({ZERO_SHOT: found[start]} if start in found else {}) | rules
        told = {"source": source, "tuned": tuned, "samples": samples}
        rows.append(_row(comparer, told, own, rivals))
    return rows


def _row(comparer: Comparer, told: Row, found: Sequence[Found], rivals: Mapping[str, Found]) -> Row:
    joined = _joined(found)
    own = against_the_anchor(comparer, joined)
    return {
        **{"tuned": "", "samples": 0, **told, "choices": len(found)},
        "bd_rate_percent": own["points"],
        "ci95": own["ci95"],
        "by_choice": [one.value for one in found],
        "against": comparer.differences(joined, rivals),
    }


def _joined(found: Sequence[Found]) -> Found:
    """Return the mean of statistics that were resampled together."""
    values = [one.value for one in found if one.value is not None]
    if len(values) < len(found):
        return Found({}, None, np.array([]))
    resampled = np.mean([one.resampled for one in found], axis=0)
    return Found({}, float(np.mean(values)), np.asarray(resampled, np.float64))


def as_markdown(rows: Sequence[Row]) -> str:
    rivals = list(dict.fromkeys(name for row in rows for name in row["against"]))
    heads = ["source", "tuned", "samples", "choices", "BD-rate", *(f"minus {r}" for r in rivals)]
    lines = [heads, ["---"] * len(heads)]
    for row in rows:
        differences = [row["against"].get(name) for name in rivals]
        lines.append(
            [
                *(str(row[key] or "") for key in ("source", "tuned", "samples", "choices")),
                _interval(row["bd_rate_percent"], row["ci95"], " %"),
                *(
                    "" if one is None else _interval(one["points"], one["ci95"])
                    for one in differences
                ),
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def as_csv(rows: Sequence[Row]) -> str:
    rivals = list(dict.fromkeys(name for row in rows for name in row["against"]))
    named = ["bd_rate_percent", *(f"minus {rival}" for rival in rivals)]
    heads = [head for name in named for head in (name, f"{name} low", f"{name} high")]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["source", "tuned", "samples", "choices", *heads])
    for row in rows:
        against = [row["against"].get(name, {"points": None, "ci95": None}) for name in rivals]
        own = {"points": row["bd_rate_percent"], "ci95": row["ci95"]}
        numbers = [
            n for one in (own, *against) for n in (one["points"], *(one["ci95"] or [None] * 2))
        ]
        told = [row[key] for key in ("source", "tuned", "samples", "choices")]
        writer.writerow([*told, *("" if n is None else f"{n:.2f}" for n in numbers)])
    return file.getvalue()


def _interval(value: float | None, bounds: Sequence[float] | None, unit: str = "") -> str:
    if value is None:
        return "undefined"
    span = "" if bounds is None else f" ({bounds[0]:+.1f} .. {bounds[1]:+.1f})"
    return f"{value:+.1f}{unit}{span}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("definition", type=Path)
    parser.add_argument("--only", default="*", help="cells, as in 'phantoms-head-1-*'")
    parser.add_argument("--images", type=int, help="only the first N test images")
    parser.add_argument("--jobs", type=int, help="processes that code; by default all cores")
    options = parser.parse_args()
    experiment = Experiment.read(options.definition)
    cells = [cell for cell in experiment.cells if fnmatchcase(cell.name, options.only)]
    policies = [str(tune(experiment, cell)) for cell in cells]
    used = {cell.source for cell in cells}
    sources = [path for name, path in experiment.sources.items() if name in used and path != RANDOM]
    rules = experiment.sweep.get("compare", ())
    agents = [ANCHOR, *rules, *sources, *policies]
    definition, records = measure(experiment, agents, options.images, options.jobs)
    headline, *_ = definition.base_qps.values()
    rows = rows_of(lines_of(records), experiment, cells, headline)
    told = {
        "definition": {**definition.as_dict(), "training": dict(experiment.training)},
        **METHOD,
        "versions": versions(),
        "command": command_of("transfer"),
    }
    text = json.dumps({"protocol": told, "rows": rows}, indent=1) + "\n"
    write_atomically(experiment.out / "transfer.json", text.encode())
    write_atomically(experiment.out / "transfer.csv", as_csv(rows).encode())
    print(as_markdown(rows))
    print(f"wrote {experiment.out / 'transfer.csv'} and transfer.json")


if __name__ == "__main__":
    main()
