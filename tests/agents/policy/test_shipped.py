"""The policies that come with the package, and what their cards say of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import dmic_gym
from dmic_gym.agents.policy.card import PolicyMismatchWarning
from dmic_gym.agents.policy.network import CRITIC, HEAD
from dmic_gym.agents.policy.shipped import SHIPPED_POLICIES, policy_names
from dmic_gym.agents.registry import make_agent
from dmic_gym.codecs import X265Codec
from dmic_gym.envs.complexity import ctu_sums
from dmic_gym.envs.evaluator import Evaluator
from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.data.phantoms.dataset import Phantoms
from dmic_gym.tasks.segmenters.network import load_segmenter
from dmic_gym.tasks.segmenters.weights import Card, find_weights, load_weights, read_card
from tests.support import ROOT, vesselness

SHIPPED = policy_names()


def card_of(name: str) -> Card:
    return read_card(find_weights(name, SHIPPED_POLICIES))


def test_names_promise_what_they_learned_from() -> None:
    assert set(SHIPPED) == {"hrlvsc", "dmic-1shot", "dmic"}
    assert not any(word in line for line in card_of("hrlvsc").data for word in ("arcade", "angio"))


@pytest.mark.parametrize("name", SHIPPED)
def test_at_another_ctu_size_they_warn_or_are_refused(name: str) -> None:
    with X265Codec(32) as codec:
        evaluator = Evaluator(codec, vesselness)
        words = f"The policy {name} was trained for CTU 64 and is used at CTU 32"
        with pytest.warns(PolicyMismatchWarning, match=words):
            make_agent(name, evaluator)
        with pytest.raises(InvalidInputError, match=words):
            make_agent(f"{name}+refine:2", evaluator, strict=True)


def test_one_shot_changed_the_head_alone() -> None:
    before, after = (
        load_weights(SHIPPED_POLICIES / f"{name}.safetensors") for name in ("hrlvsc", "dmic-1shot")
    )
    assert all(name.startswith(CRITIC) for name in before[0].keys() - after[0].keys())
    changed = {name for name in after[0] if before[0][name].ne(after[0][name]).any()}
    assert changed
    assert all(name.startswith(HEAD) for name in changed)
    assert len(after[1].metrics["names"]) == 1
    assert after[1].metrics["trainable_share"] == pytest.approx(0.027, abs=0.001)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_card_says_who_judged_how_long_and_with_what_result(name: str) -> None:
    card = card_of(name)
    assert card.architecture == "DMICPolicy"
    assert all(len(sha256) == 64 for sha256 in card.metrics["segmenters"].values())
    shipped = read_card(find_weights("unet")).sha256
    assert card.metrics["segmenters"].get("unet", shipped) == shipped
    trained = card.metrics["a2c_steps"] > 0
    assert card.arguments["critic"] is trained
    tensors, _ = load_weights(name, SHIPPED_POLICIES)
    assert any(key.startswith(CRITIC) for key in tensors) is trained
    assert any("not timed" in note for note in card.notes) is (card.metrics["seconds"] is None)
    assert any("no reinforcement learning" in note for note in card.notes) is not trained


@pytest.mark.parametrize("name", SHIPPED)
def test_the_bd_rates_of_a_card_are_the_recorded_ones(name: str) -> None:
    rows = card_of(name).metrics["bd_rates"]
    assert {row["ctu_size"] for row in rows} == {64, 32}
    assert {row["base_qps"] for row in rows} == {"32,37,42,47", "22,27,32,37"}
    for row in rows:
        recorded = json.loads((ROOT / row["recorded"]).read_text())
        protocol, found = recorded["protocol"], recorded["agents"][name]
        sets = {",".join(map(str, qps)): qp_set for qp_set, qps in protocol["qp_sets"].items()}
        found = found.get(sets[row["base_qps"]], found)
        assert protocol["data"] == row["data"]
        assert protocol["ctu_size"] == row["ctu_size"]
        assert protocol["segmenter"]["sha256"].startswith(row["segmenter"].split()[1])
        assert round(found["bd_rate_percent"], 2) == row["bd_rate_percent"]
        assert [round(bound, 2) for bound in found["ci95"] or ()] == (row["ci95"] or [])


@pytest.mark.parametrize("name", SHIPPED)
def test_more_bits_go_where_vessels_are(name: str) -> None:
    with X265Codec(64, "ultrafast") as codec:
        evaluator = Evaluator(codec, load_segmenter())
        agent = make_agent(name, evaluator)
        for sample in Phantoms(4, size=256, seed=9):
            reference = evaluator.reference(sample)
            qp_map = agent.plan(evaluator, reference, 32).result.qp_map
            share = ctu_sums(reference.importance, 64)
            full, empty = qp_map[share > np.median(share)], qp_map[share <= np.median(share)]
            assert full.mean() < empty.mean()
            assert qp_map.std() > 1


@pytest.mark.parametrize("name", SHIPPED)
def test_they_learn_on_and_come_back(name: str, tmp_path: object) -> None:
    vec = dmic_gym.make_sb3_vec(2, dataset=Phantoms(2, size=96), preset="ultrafast", seed=0)
    model = dmic_gym.load_policy(name, vec, device="cpu")
    model.learn(50, callback=dmic_gym.PartialFreezeCallback())
    observation: Any = vec.reset()
    actions, _ = model.predict(observation, deterministic=True)
    model.save(f"{tmp_path}/again.zip")
    again = dmic_gym.load_policy(f"{tmp_path}/again.zip", vec, device="cpu")
    np.testing.assert_array_equal(again.predict(observation, deterministic=True)[0], actions)
    vec.close()


def test_encode_and_bench_say_it_in_one_line(tmp_path: Path) -> None:
    """As a user sees it: in a process of its own, where warnings are no errors."""
    cv2.imwrite(str(tmp_path / "a.png"), Phantoms(1, size=96)[0].image)
    encode = ["encode", "a.png", "a.hevc", "--ctu", "32", "--overwrite"]
    bench = ["bench", "--agents", "dmic-1shot", "--ctu", "32", "--images", "1", "--qps", "32"]
    for command, name in ((encode, "dmic"), (bench, "dmic-1shot")):
        words = f"The policy {name} was trained for CTU 64 and is used at CTU 32"
        for strict in (False, True):
            found = subprocess.run(
                [sys.executable, "-m", "dmic_gym", *command, *["--strict"] * strict],
                cwd=tmp_path,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                check=False,
            )
            assert found.stderr.replace("\n", " ").count(words) == 1
            assert (found.returncode == 2) is strict
