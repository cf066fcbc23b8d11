"""The programs under benchmarks/ that belong to policies, on small phantoms."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from dmic_gym.agents.registry import make_agent
from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.errors import InvalidInputError
from tests.support import ROOT, phantoms, vesselness

SETTINGS: dict[str, Any] = {"ctu_size": 32, "preset": "ultrafast"}
QPS = (27, 37)


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Run the main function of a program with arguments; return its module."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])

    def run(name: str, *arguments: object) -> Any:
        module = importlib.import_module(name)
        if arguments:
            monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
            module.main()
        return module

    return run


class WhereImportant:
    """Spends few bits but where the importance it sees is high."""

    def predict(self, seen: Any, state: Any = None, **_: Any) -> tuple[int, Any]:
        return (3 if seen["ctu"][1].mean() > 25 else 6), state


class Pattern:
    """Looks at nothing."""

    def predict(self, seen: Any, state: Any = None, **_: Any) -> tuple[int, Any]:
        return 5, state


def test_shuffled_importance_moves_only_agents_that_look(program: Any) -> None:
    shuffled = program("shuffled_importance")
    env = CodingEnv(dataset=phantoms(3, 96), segmenter=vesselness, **SETTINGS)
    for agent, looks in (("WhereImportant", True), ("Pattern", False)):
        lines = shuffled.code(env, f"tests.test_benchmarks:{agent}", QPS)
        own, other = (list(lines[name].rows.values()) for name in (shuffled.OWN, shuffled.SHUFFLED))
        assert len(own) == len(other) == 3 * len(QPS)
        assert ([row.qp_map for row in own] != [row.qp_map for row in other]) == looks
        for one, same in zip(own, other, strict=True):
            if one.qp_map == same.qp_map:
                assert (one.dice, one.consistency_dice) == (same.dice, same.consistency_dice)
    with pytest.raises(InvalidInputError, match="plans without observations"):
        shuffled.code(env, "search:6", QPS)
    env.close()


def test_every_image_gets_anothers_importance(program: Any) -> None:
    shuffled = program("shuffled_importance")
    env = CodingEnv(dataset=phantoms(4, 96), segmenter=vesselness, **SETTINGS)
    references = env.evaluator.references(list(env.dataset))
    found = shuffled.partners(references, seed=1)
    names = [reference.sample.name for reference in references]
    assert sorted(found[o.key].name for o in references) == sorted(names)
    assert all(found[o.key].name != o.sample.name for o in references)
    alone = env.evaluator.reference(phantoms(1, 130)[0])
    with pytest.raises(InvalidInputError, match="leave it out"):
        shuffled.partners([*references, alone], seed=1)
    env.close()


@pytest.mark.slow
def test_shuffled_importance_writes_what_it_found(program: Any, tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    program(
        "shuffled_importance", "--data", "phantoms?select=0:2", "--agent", "roi",
        "--segmenter", "tests.support:vesselness", "--preset", "ultrafast", "--qps", "22,32,42",
        "--json", out,
    )  # fmt: skip
    results = json.loads(out.read_text())
    assert list(results["agents"]) == ["anchor", "own importance", "shuffled importance"]
    assert results["protocol"]["images"] == 2
    assert results["protocol"]["command"].startswith("python benchmarks/shuffled_importance.py ")


@pytest.mark.slow
def test_the_ppo_baseline_can_be_benched(program: Any, tmp_path: Path) -> None:
    program(
        "baseline_ppo", "--data", "phantoms?select=0:1", "--envs", 16, "--steps", 1,
        "--segmenter", "tests.support:vesselness", "--out", tmp_path / "ppo", "--device", "cpu",
    )  # fmt: skip
    card = json.loads((tmp_path / "ppo" / "ppo.json").read_text())
    assert card["architecture"] == "MultiInputPolicy"
    assert card["metrics"]["steps"] == 2048
    assert card["notes"][0].startswith("A baseline: ")
    env = CodingEnv(dataset=phantoms(1, 96), segmenter=vesselness)
    planner = make_agent(str(tmp_path / "ppo" / "ppo.safetensors"), env.evaluator)
    plan = planner.plan(env.evaluator, env.evaluator.reference(env.dataset[0]), 32)
    assert plan.result.qp_map.shape == (2, 2)
    env.close()


@pytest.mark.slow
def test_the_cost_of_a_policys_decisions(program: Any, tmp_path: Path) -> None:
    program("speed", "--quick", "--parts", "policy", "--json", tmp_path / "speed.json")
    results = json.loads((tmp_path / "speed.json").read_text())
    shares = {(row["CTU"], row["part"]): row["over encode"] for row in results["tables"]["policy"]}
    assert len(shares) == 15
    assert all(shares[size, "predict"] > shares[size, "encode"] == 1 for size in (64, 32, 16))
    assert "(g) A policy's own time" in (tmp_path / "speed.md").read_text()


def test_low_delay_measures_streams_that_equal_a_plain_run(
    program: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DMIC_DATA", raising=False)
    rows = program("measure.low_delay").low_delay([(64, 96)], [27, 42], 2)
    assert [(row["preset"], row["QP"]) for row in rows] == [
        *[("ultrafast", 27), ("ultrafast", 42)],
        *[("medium", 27), ("medium", 42)],
    ]
    assert all(row["equal to plain"] and row["stream ms"] > 0 for row in rows)
    assert rows[0]["kbit"] > rows[1]["kbit"]
