"""Write the tables of README.md and docs/*.md from recorded results and from cards.

python benchmarks/readme.py

A table stands between `<!-- results: NAME -->` and `<!-- end -->` and is made of
`benchmarks/results/NAME/results.json`; `<!-- command: NAME -->` is for the command that recorded
it, `<!-- networks -->` for the cards of the shipped segmenters, `<!-- transfer -->` for
`benchmarks/results/transfer.csv`, `<!-- ablation -->` for `benchmarks/results/ablation.csv`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dmic_gym.bench.protocol import ANCHOR, UNUSABLE
from dmic_gym.bench.results_files import read_results
from dmic_gym.bench.tables import Entry, bd_entry, cost_table, of_set
from dmic_gym.tasks.segmenters.weights import SHIPPED, read_card

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"

_BLOCK = re.compile(r"(<!-- results: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
_COMMAND = re.compile(r"(<!-- command: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
_OF_THE_MACHINE = re.compile(r" --(jobs \d+|resume|only 'agent=[^']*')")
_NETWORKS = re.compile(r"(<!-- networks -->\n).*?(<!-- end -->)", re.DOTALL)
_ABLATION = re.compile(r"(<!-- ablation -->\n).*?(<!-- end -->)", re.DOTALL)
_TRANSFER = re.compile(r"(<!-- transfer -->\n).*?(<!-- end -->)", re.DOTALL)
_DICE = {"standard": "Dice, QP 22-37", "low_rate": "Dice, QP 32-47"}
_HEADINGS = (
    "{other}, QP 32-47",
    "bits at 97 % of the Dice",
    "encodes",
    "s/image",
)


def pages() -> list[Path]:
    """Return the files that may hold tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def written(text: str) -> str:
    """Return the text of a page with its tables made anew."""
    text = _BLOCK.sub(lambda found: f"{found[1]}{table(found[2])}{found[3]}", text)
    text = _COMMAND.sub(lambda found: f"{found[1]}{command(found[2])}{found[3]}", text)
    text = _ABLATION.sub(lambda found: f"{found[1]}{ablation()}{found[2]}", text)
    text = _TRANSFER.sub(lambda found: f"{found[1]}{transfer()}{found[2]}", text)
    return _NETWORKS.sub(lambda found: f"{found[1]}{networks()}{found[2]}", text)


def names(text: str) -> list[str]:
    """Return the recorded results that a page shows."""
    return [found[2] for found in _BLOCK.finditer(text)]


def table(name: str) -> str:
    """Return the Markdown table of a recorded run."""
    (results,) = read_results(RESULTS / name)
    other = "2nd network" if _has_second(results) else "consistency Dice"
    sets = (_DICE[qps] for qps in _sets(results))
    headings = ["agent", *sets, *(heading.format(other=other) for heading in _HEADINGS)]
    rows = [headings, ("---",) * len(headings), *_rows(results)]
    return _markdown(rows)


def command(name: str) -> str:
    """Return the command that recorded a run, over all its agents, as a block of Markdown."""
    (results,) = read_results(RESULTS / name)
    line = _OF_THE_MACHINE.sub("", results["protocol"]["command"])
    return f"```sh\n{line}\n```\n"


def networks() -> str:
    """Return the Markdown table of the shipped segmenters' cards."""
    rows = [("network", "judged on", "Dice, standard error"), ("---",) * 3]
    for path in sorted(SHIPPED.glob("*.safetensors")):
        card = read_card(path)
        found = card.metrics
        data = f"`{found['test_data'][0]}`, {len(found['test_images'])} images"
        dice = f"{found['test_dice']:.3f} ± {found['test_standard_error']:.3f}"
        rows.append((f"`{card.name}` ({card.architecture})", data, dice))
    return _markdown(rows)


def ablation() -> str:
    """Return the Markdown table of what the trunk looks at and how it learns."""
    figures = ("bd_rate_percent", "minus roi:12:0.3")
    headings = ("looks at", "learned by", "Dice, QP 32-47", figures[1])
    rows: list[tuple[str, ...]] = [headings, ("---",) * len(headings)]
    for row in csv.DictReader((RESULTS / "ablation.csv").read_text().splitlines()):
        name = row["inputs"] if row["recipe"] else f"`{row['inputs']}`"
        rows.append((name, row["recipe"], *(_interval(row, figure) for figure in figures)))
    return _markdown(rows)


def transfer() -> str:
    """Return the Markdown table of what tuning carries over."""
    figures = ("bd_rate_percent", "minus roi:12:0.3", "minus zero-shot")
    headings = ("source", "tuned", "samples", "draws", "Dice, QP 32-47", *figures[1:])
    rows: list[tuple[str, ...]] = [headings, ("---",) * len(headings)]
    for row in csv.DictReader((RESULTS / "transfer.csv").read_text().splitlines()):
        cells = (f"`{row['source']}`", row["tuned"], row["samples"], row["choices"])
        rows.append((*cells, *(_interval(row, figure) for figure in figures)))
    return _markdown(rows)


def _interval(row: Mapping[str, str], figure: str) -> str:
    if not row[figure]:
        return ""
    middle, low, high = (float(row[f"{figure}{end}"]) for end in ("", " low", " high"))
    return f"{middle:+.1f} ({low:+.1f} to {high:+.1f})".replace("-", "\N{MINUS SIGN}")


def _rows(results: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    costs = {row[0].text: row for row in cost_table(results).rows}
    other = "second" if _has_second(results) else "consistency"
    for name, part in results["agents"].items():
        if name == ANCHOR:
            continue
        found = {qps: of_set(results, part, qps) for qps in _sets(results)}
        level = part["bits_at"]["dice"]["97"]
        mark = " (knows the mask)" if name.startswith(UNUSABLE) else ""
        yield (
            f"{_shown(name)}{mark}",
            *(_text(bd_entry(one)) for one in found.values()),
            _text(bd_entry(found["low_rate"][other])),
            _text(bd_entry({**level, "bd_rate_percent": level["percent"], "bd_rate_note": ""})),
            costs[name][1].text,
            costs[name][2].text,
        )


def _sets(results: Mapping[str, Any]) -> list[str]:
    return [qps for qps in _DICE if qps in results["protocol"]["qp_sets"]]


def _shown(agent: str) -> str:
    """Return an agent's spec, or in words which levels of video are policies."""
    if not agent.startswith("levels:"):
        return f"`{agent}`"
    frames, ctus = agent.removeprefix("levels:").split(":")
    return f"policy for {' and '.join(['frames'] * bool(frames) + ['CTUs'] * bool(ctus))}"


def _markdown(rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _has_second(results: Mapping[str, Any]) -> bool:
    return results["protocol"]["second_segmenter"] is not None


def _text(entry: Entry) -> str:
    return f"{entry.text} ({entry.detail})" if entry.detail else entry.text


if __name__ == "__main__":
    for page in pages():
        page.write_text(written(page.read_text()))
