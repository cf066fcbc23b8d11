"""What a policy looks at x how it learns: each pair trained alike and judged with paired intervals.

    python benchmarks/ablation.py benchmarks/ablation.toml [--images 40]

Images that are kept back judge. Every policy and every encode stays in the definition's folder, so
that the same command goes on after it was stopped; QP value tables are made once. ``ablation.csv``
holds a row for each rule and policy.
"""

from __future__ import annotations

import argparse
import csv
import io
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from typing import Any

from policies import against_the_anchor, coded, command_of, compared, config_of
from stable_baselines3 import PPO

from dmic_gym import load_dataset
from dmic_gym.agents.policy.loading import load_policy
from dmic_gym.agents.training.config import TrainingConfig
from dmic_gym.agents.training.learn import a2c_arguments
from dmic_gym.agents.training.run import CardNotes, TrainingRun
from dmic_gym.bench.lines import lines_of
from dmic_gym.bench.protocol import ANCHOR
from dmic_gym.bench.summary import Comparer, Found
from dmic_gym.io import write_atomically
from dmic_gym.tasks.leakage import UnseenSegmenters

Row = dict[str, Any]
OWN = ("start", "algorithm", "inputs")
"""What a recipe says beside keys of `TrainingConfig`."""


@dataclass(frozen=True)
class Ablation:
    """The definition, see ``ablation.toml``."""

    out: Path
    learned: str
    kept_back: str
    segmenter: str
    inputs: Sequence[str]
    compare: Sequence[str]
    base_qps: Mapping[str, Sequence[int]]
    training: Mapping[str, Any]
    recipes: Mapping[str, Mapping[str, Any]]

    @classmethod
    def read(cls, path: Path) -> Ablation:
        given = tomllib.loads(path.read_text())
        return cls(**{**given, "out": Path(given["out"])})

    def config(self, inputs: str, recipe: str) -> TrainingConfig:
        given = {**self.training, **self.recipes[recipe]}
        chosen = {key: value for key, value in given.items() if key not in OWN}
        return config_of({**chosen, "inputs": inputs})

    def weights(self, inputs: str, recipe: str) -> Path:
        name = f"{inputs}-{recipe}"
        return self.out / "policies" / name / f"{name}.safetensors"


def train(ablation: Ablation, inputs: str, recipe: str, tables: Path) -> Path:
    """Train a policy, or find it where that has been done."""
    weights = ablation.weights(inputs, recipe)
    if weights.exists():
        return weights
    config, before = ablation.config(inputs, recipe), ablation.recipes[recipe].get("start")
    start = None if before is None else train(ablation, inputs, before, tables)
    print(f"training {weights.stem}", flush=True)
    kept = {sample.name for sample in load_dataset(ablation.kept_back)}
    images = [each for each in load_dataset(ablation.learned) if each.name not in kept]
    unseen = UnseenSegmenters({ablation.learned: images}, [ablation.segmenter], True)
    words = f"{ablation.learned} ({len(images)} images)"
    run = TrainingRun(
        weights.stem,
        weights.parent,
        config,
        segmenter=unseen,
        resume=True,
        tables=tables,
        card=CardNotes([words, unseen.description], command_of("ablation")),
    )

    def begin(env: Any) -> Any:
        arguments = a2c_arguments(config, env)
        if ablation.recipes[recipe].get("algorithm") == "ppo":
            arguments.pop("use_rms_prop")
            batches = {"batch_size": arguments["n_steps"] * config.maps, "n_epochs": 4}
            return load_policy(str(start), env, algorithm=PPO, **arguments, **batches)
        return load_policy(str(start), env, **arguments)

    return run.run(
        images, begin if start else None, facts={"start": start.name if start else "random"}
    )


def measure(
    ablation: Ablation, agents: Sequence[str], images: int | None, jobs: int | None
) -> list[Row]:
    """Code the images that were kept back with all agents, and compare with the rules."""
    asked = {
        "data": [ablation.kept_back],
        "segmenter": ablation.segmenter,
        "agents": [ANCHOR, *ablation.compare, *agents],
        "base_qps": ablation.base_qps,
        "compare": list(ablation.compare),
        "images": images,
    }
    _, records = coded(asked, ablation.out / "rows", jobs, command_of("ablation"))
    (qps,) = ablation.base_qps.values()
    comparer, found = compared(lines_of(records), qps)
    rivals = {name: found[name] for name in ablation.compare}
    listed = [*ablation.compare, *agents]
    return [_row(name, found[name], comparer, rivals) for name in listed]


def _row(name: str, own: Found, comparer: Comparer, rivals: Mapping[str, Found]) -> Row:
    inputs, _, recipe = Path(name).stem.partition("-") if "/" in name else (name, "", "")
    differences = {f"minus {k}": one for k, one in comparer.differences(own, rivals).items()}
    row: Row = {"inputs": inputs, "recipe": recipe}
    for head, one in {"bd_rate_percent": against_the_anchor(comparer, own), **differences}.items():
        names = [f"{head}{end}" for end in ("", " low", " high")]
        bounds = one["ci95"] or [None, None]
        row |= dict(zip(names, [one["points"], *bounds], strict=True))
    return row


def as_csv(rows: Sequence[Row]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: f"{v:.2f}" if isinstance(v, float) else v for k, v in row.items()})
    return file.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("definition", type=Path)
    parser.add_argument("--only", default="*", help="policies, as in 'both-*'")
    parser.add_argument("--tables", type=Path, help="folder of QP value tables; runs share it")
    parser.add_argument("--images", type=int, help="only the first N that were kept back")
    parser.add_argument("--jobs", type=int, help="processes that code; by default all cores")
    parser.add_argument("--train", action="store_true", help="train only")
    options = parser.parse_args()
    ablation = Ablation.read(options.definition)
    tables = options.tables or ablation.out / "tables"
    policies = [
        str(train(ablation, inputs, recipe, tables))
        for inputs, recipe in product(ablation.inputs, ablation.recipes)
        if inputs in ablation.recipes[recipe].get("inputs", ablation.inputs)
        and fnmatchcase(f"{inputs}-{recipe}", options.only)
    ]
    if options.train:
        return
    text = as_csv(measure(ablation, policies, options.images, options.jobs))
    write_atomically(ablation.out / "ablation.csv", text.encode())
    print(text)
    print(f"wrote {ablation.out / 'ablation.csv'}")


if __name__ == "__main__":
    main()
