"""How fast the environments are: ratios measured in one run, in turns.

    python benchmarks/speed.py [--quick] [--parts floor,policy,...] [--json FILE]

``--json FILE`` writes the figures to FILE and the tables to FILE with suffix ``.md``.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from measure.common import QUICK, Row, Scale, machine, markdown
from measure.floor import single, vector
from measure.forms import forms
from measure.obvious import against_obvious
from measure.policy import policy
from measure.segmenter_training import segmenter_training
from measure.sizes import sizes
from measure.startup import startup
from measure.training import training

from dmic_gym.io import portable

Facts = dict[str, float]
Tables = dict[str, list[Row]]

TITLES = {
    "floor": "(a) Episode over floor: encode + decode + segmentation of the same images",
    "subprocess": "(b) Against an ffmpeg process per encode and a plain float32 network",
    "forms": "(c) Steps a second",
    "memory": "(d) Memory",
    "sizes": "(e) Cost against image and CTU size, one thread",
    "growth": "(e) Exponent of the time in the number of pixels: 1 is linear",
    "training": "(f) Where the time of A2C training goes",
    "policy": "(g) A policy's own time over the encode it steers, 512x512, medium, QP 32",
    "segmenter_training": "(h) An epoch of train-segmenter over a plain loop, crops of 256x256",
    "startup": "(i) Whole processes, wall time; the picture has 128x128 samples",
}


PARTS: dict[str, Callable[[Scale], tuple[Facts, Tables]]] = {
    "floor": lambda scale: _floor(single(scale), vector(scale)),
    "subprocess": lambda scale: _subprocess(against_obvious(scale)),
    "forms": lambda scale: ({}, dict(zip(("forms", "memory"), forms(scale), strict=True))),
    "sizes": lambda scale: ({}, dict(zip(("sizes", "growth"), sizes(scale), strict=True))),
    "training": lambda scale: ({}, {"training": training(scale)}),
    "policy": lambda scale: ({}, {"policy": policy(scale)}),
    "segmenter_training": lambda scale: ({}, {"segmenter_training": segmenter_training(scale)}),
    "startup": lambda scale: ({}, {"startup": startup(scale)}),
}


def measure(scale: Scale, parts: Sequence[str]) -> dict[str, Any]:
    begin = time.perf_counter()
    facts, tables, at_start = Facts(), Tables(), machine()
    for name in parts:
        print(f"{name} ...", flush=True)
        some_facts, some_tables = PARTS[name](scale)
        facts |= some_facts
        tables |= some_tables
    seconds = round(time.perf_counter() - begin)
    return {**facts, "machine": at_start, "seconds": seconds, "tables": tables}


def _floor(singles: list[Row], vectors: list[Row]) -> tuple[Facts, Tables]:
    facts = {
        "floor_ratio_single": singles[0]["ratio"],
        "floor_ratio_vector": vectors[0]["ratio"],
    }
    return facts, {"floor": singles + vectors}


def _subprocess(rows: list[Row]) -> tuple[Facts, Tables]:
    facts = {
        "speedup_over_subprocess": rows[1]["times ours"],
        "speedup_over_subprocess_one_at_a_time": rows[2]["times ours"],
    }
    return facts, {"subprocess": rows}


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
        *([markdown(heads)] if heads else []),
    ]
    for name, rows in results["tables"].items():
        parts += [f"## {TITLES[name]}", markdown(rows)]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smaller run of under a minute")
    parser.add_argument("--parts", default=",".join(PARTS), help="which, with commas between")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write results to FILE")
    given = parser.parse_args()
    results = measure(QUICK if given.quick else Scale(), given.parts.split(","))
    text = report(results, portable(shlex.join(["python", "benchmarks/speed.py", *sys.argv[1:]])))
    print(text)
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(results, indent=2) + "\n")
        given.json.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
