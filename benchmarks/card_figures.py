"""Write what recorded results say of the shipped policies into their cards.

python benchmarks/card_figures.py
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from dmic_gym.agents.policy.shipped import SHIPPED_POLICIES, policy_names
from dmic_gym.bench.results_files import read_results
from dmic_gym.bench.tables import of_set
from dmic_gym.tasks.segmenters.weights import read_card, write_card

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def main() -> None:
    """Write the cards."""
    recorded = sorted(RESULTS.glob("*/results.json"))
    for name in policy_names():
        path = SHIPPED_POLICIES / f"{name}.safetensors"
        card = read_card(path)
        rows = [row for results in recorded for row in figures(name, results)]
        write_card(path, replace(card, metrics={**card.metrics, "bd_rates": rows}))


def figures(name: str, path: Path) -> Iterator[dict[str, Any]]:
    """Return what a recorded run says of a policy, a row for each set of base QPs."""
    for results in read_results(path):
        protocol, agents = results["protocol"], results["agents"]
        if name not in agents:
            continue
        for qp_set, qps in protocol["qp_sets"].items():
            found = of_set(results, agents[name], qp_set)
            yield {
                "data": protocol["data"],
                "images": protocol["images"],
                "ctu_size": protocol["ctu_size"],
                "base_qps": ",".join(map(str, qps)),
                "bd_rate_percent": _round(found["bd_rate_percent"]),
                "ci95": [_round(end) for end in found["ci95"] or ()] or None,
                "second_segmenter_bd_rate_percent": _round(found["second"]["bd_rate_percent"]),
                "consistency_bd_rate_percent": _round(found["consistency"]["bd_rate_percent"]),
                "segmenter": f"{protocol['segmenter']['name']} "
                f"{protocol['segmenter']['sha256'][:12]}",
                "recorded": path.relative_to(ROOT).as_posix(),
            }


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


if __name__ == "__main__":
    main()
