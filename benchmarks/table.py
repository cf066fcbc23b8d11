"""Print what `dmic bench` or `dmic sweep` found as Markdown tables.

python benchmarks/table.py runs/angiograms/results.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dmic_gym.bench.markdown import markdown_table
from dmic_gym.bench.results_files import read_results
from dmic_gym.bench.tables import bd_tables, cost_table, notes, title


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, nargs="+", help="results.json, or its folder")
    for path in parser.parse_args().results:
        for results in read_results(path):
            print(f"{title(results)}\n")
            for table in (*bd_tables(results), cost_table(results)):
                print(markdown_table(table))
            for note in notes(results):
                print(f"- {note}")


if __name__ == "__main__":
    main()
