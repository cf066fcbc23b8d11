"""How fast the environments are: ratios measured in one run, in turns.

    python benchmarks/speed.py [--quick] [--json FILE]

``--json FILE`` writes the figures to FILE and the tables to FILE with suffix ``.md``.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from measure.common import QUICK, Row, Scale, machine, markdown
from measure.dtypes import forms
from measure.floor import single, vector
from measure.obvious import against_obvious
from measure.sizes import sizes
from measure.training import training

TITLES = {
    "floor": "(a) Episode over floor: encode + decode + segmentation of the same images",
    "subprocess": "(b) Against an ffmpeg process per encode and a plain float32 network",
    "forms": "(c) Steps a second",
    "memory": "(d) Memory",
    "sizes": "(e) Cost against image and CTU size, one thread",
    "growth": "(e) Exponent of the time in the number of pixels: 1 is linear",
    "training": "(f) Where the time of A2C training goes",
}


def measure(scale: Scale) -> dict[str, Any]:
    begin = time.perf_counter()
    at_start = machine()
    singles, vectors = _told("floor", lambda: (single(scale), vector(scale)))
    subprocess = _told("subprocess", lambda: against_obvious(scale))
    speeds, memory = _told("forms", lambda: forms(scale))
    by_size, growth = _told("sizes", lambda: sizes(scale))
    loop = _told("training", lambda: training(scale))
    return {
        "floor_ratio_single": singles[0]["ratio"],
        "floor_ratio_vector": vectors[0]["ratio"],
        "speedup_over_subprocess": subprocess[1]["times ours"],
        "speedup_over_subprocess_one_at_a_time": subprocess[2]["times ours"],
        "machine": at_start,
        "seconds": round(time.perf_counter() - begin),
        "tables": {
            "floor": singles + vectors,
            "subprocess": subprocess,
            "forms": speeds,
            "memory": memory,
            "sizes": by_size,
            "growth": growth,
            "training": loop,
        },
    }


def _told(name: str, part: Any) -> Any:
    print(f"{name} ...", flush=True)
    return part()


def report(results: dict[str, Any], command: str) -> str:
    heads: list[Row] = [
        {"figure": name, "value": value}
        for name, value in results.items()
        if isinstance(value, float)
    ]
    facts = [f"- {name}: {value}" for name, value in results["machine"].items()]
    parts = [
        "# Speed",
        f"Made by `{command}` in {results['seconds']} s. Times are medians of calls in turns, "
        "ratios medians over the turns; images are phantoms of 300x300 unless said.",
        "\n".join(facts),
        markdown(heads),
    ]
    for name, rows in results["tables"].items():
        parts += [f"## {TITLES[name]}", markdown(rows)]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smaller run of under a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write results to FILE")
    given = parser.parse_args()
    quick = " --quick" if given.quick else ""
    target = f" --json {given.json}" if given.json else ""
    results = measure(QUICK if given.quick else Scale())
    text = report(results, f"python benchmarks/speed.py{quick}{target}")
    print(text)
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(results, indent=2) + "\n")
        given.json.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
