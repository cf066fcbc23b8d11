"""The transfer table: what is tuned, made once, and compared."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from stable_baselines3 import A2C

from dmic_gym.agents.policy.loading import save_policy
from dmic_gym.agents.policy.trunk import DMICPolicy
from tests.agents.policies import small_vec
from tests.support import ROOT

SMALL = """
task = "phantoms?count=4&size=96"
segmenter = "tests.support:vesselness"
second = ""
out = "table"
tuned = ["head"]
samples = [1, 2]
choices = 2
compare = ["roi"]
presets = ["ultrafast"]

[sources]
other = "other.safetensors"
none = "random"

[base_qps]
low_rate = [32, 37, 42]

[training]
epochs = 1
steps = 0
preset = "ultrafast"

[training.2]
epochs = 2
variations = 3
"""


def test_the_recorded_definition_has_all_cells(program: Any) -> None:
    found = program("transfer").Experiment.read(ROOT / "benchmarks" / "transfer.toml")
    cells = {cell.name for cell in found.cells}
    assert len(cells) == 3 * (5 + 3 + 4)
    assert {"hrlvsc-head-1-4", "phantoms-all-695-0", "none-head-40-0"} < cells
    for cell in found.cells:
        config, variations = found.settings(cell)
        assert config.seed == cell.choice
        assert variations >= cell.samples


def test_a_table_is_made_and_gone_on_with(
    program: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env = small_vec()
    save_policy(A2C(DMICPolicy, env, seed=3), tmp_path, "other", critic=False)
    env.close()
    (tmp_path / "small.toml").write_text(SMALL)

    def run(*arguments: str) -> str:
        program("transfer", "small.toml", "--jobs", 1, *arguments)
        return capsys.readouterr().out

    first = run("--only", "other-head-1-*", "--images", "2")
    assert first.count("tuning ") == 2
    assert "30 encodes, 0 of them done" in first  # anchor, roi, source, two choices
    rows = json.loads((tmp_path / "table" / "transfer.json").read_text())["rows"]
    told = [(row["source"], row["tuned"], row["samples"], row["choices"]) for row in rows]
    assert told == [("roi", "", 0, 1), ("other", "none", 0, 1), ("other", "head", 1, 2)]
    assert set(rows[-1]["against"]) == {"zero-shot", "roi"}
    tables = (tmp_path / "table" / "tables" / "qp-value-tables.jsonl").read_text()

    second = run("--only", "*-head-*-0", "--images", "2")
    assert second.count("tuning ") == 3
    assert "42 encodes, 24 of them done" in second
    assert (tmp_path / "table" / "tables" / "qp-value-tables.jsonl").read_text().startswith(tables)
    with (tmp_path / "table" / "transfer.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [(line["source"], line["samples"]) for line in lines[2:]] == [
        *[("other", "1"), ("other", "2"), ("none", "1"), ("none", "2")]
    ]
    policies = tmp_path / "table" / "policies"
    card = json.loads((policies / "none-head-2-0" / "none-head-2-0.json").read_text())
    assert card["metrics"]["start"] == "random"
    assert card["metrics"]["images"] == 3
    assert card["metrics"]["config"]["epochs"] == 2
