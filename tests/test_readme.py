"""What README and docs claim stands in recorded results, made with the shipped networks."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import readme

from dmic_gym.agents.policy.loading import load_agent
from dmic_gym.agents.policy.shipped import policy_names
from dmic_gym.bench.provenance import acting_sha256
from dmic_gym.envs.settings import DEFAULT_QP_OFFSETS
from dmic_gym.tasks.segmenters.find import describe_segmenter, find_segmenter
from dmic_gym.tasks.segmenters.weights import SHIPPED, read_card
from tests.support import ROOT

RESULTS = ROOT / "benchmarks" / "results"


PAGES = {path.name: path.read_text() for path in readme.pages()}


@pytest.mark.parametrize("page", PAGES)
def test_every_table_is_what_its_results_say(page: str) -> None:
    assert readme.written(PAGES[page]) == PAGES[page]


def test_every_recorded_run_is_shown() -> None:
    shown = {name for page in PAGES.values() for name in readme.names(page)}
    recorded = {path.parent.name for path in RESULTS.glob("*/results.json")}
    assert shown == recorded, "write <!-- results: NAME --> and <!-- end --> in docs/results.md"


@pytest.mark.parametrize("page", ["README.md", "results.md"])
def test_every_figure_in_a_table_stands_in_a_generated_one(page: str) -> None:
    names = readme.names(PAGES[page])
    assert names
    generated = {row for name in names for row in readme.table(name).split("\n")}
    for line in PAGES[page].splitlines():
        if line.startswith("|") and "%" in line:
            assert line in generated


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    readme = PAGES["README.md"]
    assert len(readme.splitlines()) <= 150
    targets = re.findall(r"\]\(([^)#]+)", readme)
    assert targets
    for target in targets:
        assert target.startswith("https://") or (ROOT / target).is_file(), target


def _recorded() -> list[Path]:
    return sorted(path.parent for path in RESULTS.glob("*/rows.jsonl"))


@pytest.mark.parametrize("folder", _recorded(), ids=lambda folder: folder.name)
def test_recorded_results_were_made_with_the_shipped_networks(folder: Path) -> None:
    policies = (load_agent(name, DEFAULT_QP_OFFSETS, 64) for name in policy_names())
    shipped = {acting_sha256(policy) for policy in policies}
    shipped |= {read_card(path).sha256 for path in SHIPPED.glob("*.safetensors")}
    shipped.add(describe_segmenter(find_segmenter("davis-net", dtype="float32"))["sha256"])
    used = {
        part["sha256"]
        for line in (folder / "rows.jsonl").read_text().splitlines()
        for part in _networks(json.loads(line).get("provenance", {}))
    }
    assert used
    assert used <= shipped


def _networks(provenance: dict[str, dict[str, str] | None]) -> list[dict[str, str]]:
    found = [provenance.get(key) for key in ("segmenter", "second", "agent")]
    return [part for part in found if part]
