"""What programs that draw recorded runs share: rows of one encoder, and its images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dmic_gym.bench.datasets import load_again
from dmic_gym.bench.lines import Line, lines_of
from dmic_gym.bench.results import Encoder
from dmic_gym.bench.results_files import read_results
from dmic_gym.bench.rows import Record
from dmic_gym.bench.store import Store
from dmic_gym.errors import InvalidInputError, unknown_name
from dmic_gym.tasks.data.sample import Sample


@dataclass(frozen=True, eq=False)
class Recorded:
    """A run of `dmic bench` or `dmic sweep` with one encoder.

    Attributes:
        results: as ``results.json`` holds them.
        records: of that data set and encoder.
        base: folder in which relative paths of data begin, or None.
    """

    results: Mapping[str, Any]
    records: Sequence[Record]
    base: Path | None

    @classmethod
    def read(cls, folder: Path, ctu: int | None = None) -> Recorded:
        """Read a run's folder; `ctu` chooses among several encoders, None takes the first."""
        found = read_results(folder)
        fitting = [one for one in found if ctu in (None, one["protocol"]["ctu_size"])]
        if not fitting:
            sizes = sorted({one["protocol"]["ctu_size"] for one in found})
            raise InvalidInputError(f"{folder} has no CTU {ctu}. It has: {sizes}.")
        encoder = Encoder.of_protocol(fitting[0]["protocol"])
        with Store.open(folder) as store:
            records = [one for one in store.records() if Encoder.of(one.cell) == encoder]
            return cls(fitting[0], records, store.base)

    @cached_property
    def lines(self) -> dict[str, Line]:
        """The rows of each agent, by its name; the images that all have."""
        left_out = set(self.results["failed"])
        found = lines_of(self.records)
        return {name: line.only(set(line.images) - left_out) for name, line in found.items()}

    @cached_property
    def samples(self) -> dict[str, Sample]:
        """The images by name."""
        data = load_again(self.results["protocol"]["data"], self.base)
        return {sample.name: sample for sample in data if isinstance(sample, Sample)}

    def record(self, agent: str, image: str, base_qp: int) -> Record:
        """Return the record of an encode; raise InvalidInputError if there is none."""
        if (agent, image, base_qp) not in self._by_place:
            agents = sorted({name for name, _, _ in self._by_place})
            if agent not in agents:
                raise unknown_name("agent of the run", agent, agents)
            raise InvalidInputError(f"{agent} has no row of {image} at QP {base_qp}.")
        return self._by_place[agent, image, base_qp]

    @cached_property
    def _by_place(self) -> dict[tuple[str, str, int], Record]:
        return {(one.cell.line, one.cell.image, one.cell.point): one for one in self.records}


def spread(names: Sequence[str], count: int) -> list[str]:
    """Return `count` of the names, evenly spread, or all if there are fewer."""
    step = max(len(names) / max(count, 1), 1.0)
    return [names[int(n * step)] for n in range(min(count, len(names)))]
