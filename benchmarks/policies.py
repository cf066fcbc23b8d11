"""What programs share that train policies and compare them by paired intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dmic_gym.agents.training.config import TrainingConfig
from dmic_gym.bench.definition import Definition
from dmic_gym.bench.engines import make_engine
from dmic_gym.bench.lines import Line
from dmic_gym.bench.protocol import ANCHOR
from dmic_gym.bench.rows import Record
from dmic_gym.bench.runner import run_sweep
from dmic_gym.bench.store import Store
from dmic_gym.bench.summary import Comparer, Found
from dmic_gym.cli.common import command_line


def command_of(program: str) -> str:
    """Return the command line of this process, for the record."""
    return command_line().replace("dmic ", f"python benchmarks/{program}.py ", 1)


def config_of(settings: Mapping[str, Any]) -> TrainingConfig:
    """Return a configuration of TOML's values, whose lists become tuples."""
    lists = {key: tuple(value) for key, value in settings.items() if isinstance(value, list)}
    return TrainingConfig(**{**settings, **lists})


def coded(
    asked: Mapping[str, Any], folder: Path, jobs: int | None, command: str
) -> tuple[Definition, list[Record]]:
    """Code what a definition asks for; what `folder` holds of it is not coded again."""
    definition = Definition.of(asked)
    with Store.create(folder) as store:
        plan = run_sweep(
            definition, store, make_engine(jobs), resume=True, command=command, on_start=_say
        )
        return definition, [record for record in store.records() if record.id in plan.grid]


def compared(lines: Mapping[str, Line], qps: Sequence[int]) -> tuple[Comparer, dict[str, Found]]:
    """Return the BD-rates of all lines on the images that all have, and what compares them."""
    complete = set.intersection(*(line.complete for line in lines.values()))
    kept = {name: line.only(complete) for name, line in lines.items()}
    comparer = Comparer(kept[ANCHOR])
    return comparer, {name: comparer.bd_rate(line, qps) for name, line in kept.items()}


def against_the_anchor(comparer: Comparer, found: Found) -> Mapping[str, Any]:
    """Return a BD-rate with its interval, as `Comparer.differences` gives differences."""
    nothing = Found({}, 0.0, np.zeros_like(found.resampled))
    return comparer.differences(found, {ANCHOR: nothing})[ANCHOR]


def _say(plan: Any, done: Sequence[Record]) -> None:
    print(f"{len(plan.cells)} encodes, {len(done)} of them done", flush=True)
