"""What the README claims stands in recorded results, made with the networks that are shipped."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from dmic_gym.agents.policy.loading import load_agent
from dmic_gym.agents.policy.shipped import policy_names
from dmic_gym.bench.provenance import state_sha256
from dmic_gym.envs.settings import DEFAULT_QP_OFFSETS
from dmic_gym.tasks.segmenters.find import describe_segmenter, find_segmenter
from dmic_gym.tasks.segmenters.weights import SHIPPED, read_card
from tests.support import ROOT

README = (ROOT / "README.md").read_text()
RESULTS = ROOT / "benchmarks" / "results"


def _readme() -> ModuleType:
    spec = importlib.util.spec_from_file_location("readme", ROOT / "benchmarks" / "readme.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_table_is_what_its_results_say() -> None:
    tables = _readme()
    assert tables.names(README)
    assert tables.written(README) == README


def test_every_figure_in_a_table_stands_in_a_generated_one() -> None:
    generated = {
        row for name in _readme().names(README) for row in _readme().table(name).split("\n")
    }
    for line in README.splitlines():
        if line.startswith("|") and "%" in line:
            assert line in generated


def _recorded() -> list[Path]:
    return sorted(path.parent for path in RESULTS.glob("*/rows.jsonl"))


@pytest.mark.parametrize("folder", _recorded(), ids=lambda folder: folder.name)
def test_recorded_results_were_made_with_the_shipped_networks(folder: Path) -> None:
    policies = (load_agent(name, DEFAULT_QP_OFFSETS, 64) for name in policy_names())
    shipped = {state_sha256(policy.state_dict()) for policy in policies}
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
