"""Print the BD-rates of recorded benchmark results as a Markdown table.

python benchmarks/table.py benchmarks/results/angiograms-ctu64.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dmic_gym.bench.report import interval, percent

HEADINGS = (
    "agent",
    "Dice, QP 22-37",
    "Dice, QP 32-47",
    "2nd network, QP 22-37",
    "consistency, QP 22-37",
    "encodes",
    "s/image",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, nargs="+")
    for path in parser.parse_args().results:
        results = json.loads(path.read_text())
        protocol = results["protocol"]
        print(f"CTU {protocol['ctu_size']}, {protocol['images']} images:\n")
        print("| " + " | ".join(HEADINGS) + " |")
        print("|---" * len(HEADINGS) + "|")
        for name, agent in results["agents"].items():
            print("| " + " | ".join(_row(name, agent)) + " |")
        print()


def _row(name: str, agent: Mapping[str, Any]) -> list[str]:
    compared = (agent, agent["low_rate"], agent["second"], agent["consistency"])
    points = agent["points"]
    means = [sum(p[key] for p in points) / len(points) for key in ("encodes", "seconds")]
    return [f"`{name}`", *(_cell(part) for part in compared), f"{means[0]:.0f}", f"{means[1]:.2f}"]


def _cell(comparison: Mapping[str, Any]) -> str:
    bounds = comparison["ci95"]
    tail = "" if bounds is None else f" ({interval(bounds)})"
    return percent(comparison["bd_rate_percent"]).replace(" %", "") + tail


if __name__ == "__main__":
    main()
