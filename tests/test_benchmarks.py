"""The programs under benchmarks/ that belong to policies and results, on small phantoms."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dmic_gym.agents.registry import make_agent
from dmic_gym.agents.training.learning_log import read_log
from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.metrics import dice
from tests.bench.sweeping import toml
from tests.support import phantoms, vesselness

SETTINGS: dict[str, Any] = {"ctu_size": 32, "preset": "ultrafast"}
QPS = (27, 37)


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
@pytest.mark.parametrize("credit", [False, True])
def test_the_ppo_baseline_is_trained_resumed_and_benched(
    program: Any, tmp_path: Path, credit: bool
) -> None:
    arguments = (
        "--task", "phantoms?count=1&size=96", "--envs", 4, "--segmenter",
        "tests.support:vesselness", "--out", tmp_path / "ppo", "--device", "cpu",
        "--checkpoint-every", 1, *(["--credit"] if credit else []),
    )  # fmt: skip
    program("baseline_ppo", *arguments, "--steps", 1)
    with pytest.raises(InvalidInputError, match="pass --resume"):
        program("baseline_ppo", *arguments, "--steps", 2049)
    program("baseline_ppo", *arguments, "--steps", 2049, "--resume")
    card = json.loads((tmp_path / "ppo" / "ppo.json").read_text())
    assert card["architecture"] == "MultiInputPolicy"
    assert card["metrics"]["a2c_steps"] == 4096
    assert card["metrics"]["config"]["credit"] is credit
    assert ("each CTU is paid" if credit else "once an episode") in card["notes"][0]
    learning = read_log(tmp_path / "ppo" / "learning.jsonl")
    assert [line["steps"] for line in learning if "reward" in line] == [2048, 4096]
    env = CodingEnv(dataset=phantoms(1, 96), segmenter=vesselness)
    planner = make_agent(str(tmp_path / "ppo" / "ppo.safetensors"), env.evaluator)
    plan = planner.plan(env.evaluator, env.evaluator.reference(env.dataset[0]), 32)
    assert plan.result.qp_map.shape == (2, 2)
    env.close()


SMALL_ABLATION = """
out = "ablation"
learned = "phantoms?count=4&size=96"
kept_back = "phantoms?count=4&size=96&select=::2"
segmenter = "tests.support:vesselness"
inputs = ["numbers", "both"]
compare = ["roi"]

[base_qps]
low_rate = [27, 37, 47]

[training]
preset = "ultrafast"
envs = 2
maps = 2
credit = true

[recipes.tables]
epochs = 1
steps = 0

[recipes.tables-ppo]
start = "tables"
algorithm = "ppo"
inputs = ["both"]
epochs = 0
steps = 8
"""


@pytest.mark.slow
def test_the_ablation_trains_once_and_judges_what_was_kept_back(
    program: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "small.toml").write_text(SMALL_ABLATION)
    program("ablation", "small.toml", "--jobs", 1, "--only", "both-*")
    said = capsys.readouterr().out
    assert "training both-tables\n" in said
    assert "24 encodes, 0 of them done" in said  # two images, two policies, two more
    program("ablation", "small.toml", "--jobs", 1)
    said = capsys.readouterr().out
    assert "training numbers-tables\n" in said
    assert "training both" not in said
    assert "30 encodes, 24 of them done" in said
    with (tmp_path / "ablation" / "ablation.csv").open() as file:
        rows = [(row["inputs"], row["recipe"]) for row in csv.DictReader(file)]
    assert rows == [("roi", ""), ("numbers", "tables"), ("both", "tables"), ("both", "tables-ppo")]
    policies = tmp_path / "ablation" / "policies"
    card = json.loads((policies / "both-tables-ppo" / "both-tables-ppo.json").read_text())
    assert card["metrics"]["start"] == "both-tables.safetensors"
    assert card["metrics"]["images"] == 2


@pytest.fixture
def recorded_run(program: Any, dmic: Any, tmp_path: Path) -> Path:
    """A sweep of three phantoms at CTU 32 and 64."""
    data, agents = ["phantoms?count=3&size=130"], ["anchor", "roi", "oracle"]
    file = toml(tmp_path, data=data, agents=agents, ctu_sizes=[32, 64])
    assert dmic("sweep", file, "--out", "run", "--jobs", 1)[0] == 0
    return tmp_path / "run"


def test_pictures_of_a_recorded_run(program: Any, recorded_run: Path) -> None:
    run = program("recorded").Recorded.read(recorded_run, 32)
    assert {record.cell.ctu_size for record in run.records} == {32}
    images, means = run.lines["anchor"].images, run.results["agents"]
    where = program("where_bits")
    area, bits, lost = where.measured(run, ["anchor", "roi"], images, 37)
    assert area.sum() == pytest.approx(1.0)
    for name in ("anchor", "roi"):
        point = next(one for one in means[name]["points"] if one["base_qp"] == 37)
        assert bits[name].sum() == pytest.approx(point["slice_bits"])
    point = next(one for one in means["anchor"]["points"] if one["base_qp"] == 37)
    evaluator = CodingEnv(dataset=phantoms(1), segmenter=vesselness).evaluator
    references = [evaluator.reference(run.samples[image]) for image in images]
    whole = [dice(one.mask, one.truth) for one in references]
    assert lost["anchor"].sum() == pytest.approx(sum(whole) / 3 - point["dice"])

    saving = program("saving_by")
    found = saving.bd_of(run, "roi", images, "custom")
    assert found["bd_rate_percent"] == means["roi"]["bd_rate_percent"]
    parted = saving._parted(run, 2, saving._area)
    assert sorted(name for _, _, part in parted for name in part) == sorted(images)
    assert parted[0][0] < parted[1][0]

    where.main(recorded_run, "roi", images=2, ctu=32)
    saving.main([recorded_run], "roi", qps="custom", groups=2)
    program("qp_maps").main(recorded_run, "roi,oracle", ctu=64)
    program("rd_curves").main(recorded_run)
    for name in ("where-bits", "saving-by", "qp-maps", "rd-curves"):
        assert Path(f"{name}.png").read_bytes()[:4] == b"\x89PNG"

    with pytest.raises(InvalidInputError, match="has no CTU 16"):
        program("recorded").Recorded.read(recorded_run, 16)
    with pytest.raises(InvalidInputError, match="Did you mean 'roi'"):
        run.record("rio", images[0], 37)
    with pytest.raises(InvalidInputError, match="no row of phantom-9 at QP 37"):
        run.record("roi", "phantom-9", 37)


def test_noise_is_measured_in_grey_levels(program: Any) -> None:
    noise = program("saving_by").noise
    rng = np.random.default_rng(0)
    smooth = np.tile(np.linspace(60, 180, 256), (256, 1))
    for sigma in (2.0, 6.0):
        image = (smooth + rng.normal(0, sigma, smooth.shape)).round().astype(np.uint8)
        assert noise(image) == pytest.approx(sigma, rel=0.1)
    assert noise(np.full((64, 64), 90, np.uint8)) == 0.0


def test_rings_are_distances_of_ctus(program: Any) -> None:
    mask = np.zeros((256, 256), np.bool_)
    mask[:, :3] = True
    rings = program("where_bits").ring_of(mask, 32)
    assert rings.tolist() == [[0, 1, 2, 2, 3, 3, 3, 3]] * 8


@pytest.mark.slow
def test_the_cost_of_a_policys_decisions(program: Any, tmp_path: Path) -> None:
    program("speed", "--quick", "--parts", "policy", "--json", tmp_path / "speed.json")
    results = json.loads((tmp_path / "speed.json").read_text())
    shares = {(row["CTU"], row["part"]): row["over encode"] for row in results["tables"]["policy"]}
    assert len(shares) == 15
    assert all(shares[size, "predict"] > shares[size, "encode"] == 1 for size in (64, 32, 16))
    assert "(g) A policy's own time" in (tmp_path / "speed.md").read_text()


@pytest.mark.slow
def test_what_an_epoch_of_a_segmenter_costs(program: Any, tmp_path: Path) -> None:
    program("speed", "--quick", "--parts", "segmenter_training", "--json", tmp_path / "speed.json")
    rows = json.loads((tmp_path / "speed.json").read_text())["tables"]["segmenter_training"]
    shipped = [row for row in rows if row["epoch"] == "as shipped"]
    assert {row["network"] for row in shipped} == {"unet", "dilated"}
    assert all(row["over plain"] == 1 for row in rows if row["epoch"] == "plain")


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
