"""The policies that come with the package."""

from __future__ import annotations

import numpy as np
import pytest

import dmic_gym
from dmic_gym.agents.policy.network import HEAD
from dmic_gym.agents.registry import SHIPPED_POLICIES, make_agent, policy_names
from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.envs.complexity import ctu_sums
from dmic_gym.tasks.data.phantoms.dataset import Phantoms
from dmic_gym.tasks.segmenters.weights import load_weights

SHIPPED = ("dmic-1shot", "dmic-40shot", "hrlvsc")


def test_there_are_three() -> None:
    assert set(policy_names()) >= set(SHIPPED)


def test_one_shot_changed_the_head_alone() -> None:
    before, after = (
        load_weights(SHIPPED_POLICIES / f"{name}.safetensors") for name in ("hrlvsc", "dmic-1shot")
    )
    changed = {name for name in before[0] if before[0][name].ne(after[0][name]).any()}
    assert changed
    assert all(name.startswith(HEAD) for name in changed)
    assert len(after[1].metrics["names"]) == 1
    assert after[1].metrics["trainable_share"] == pytest.approx(0.027, abs=0.001)
    assert not any("angiograms" in words for words in before[1].data)


@pytest.mark.parametrize("name", SHIPPED)
def test_more_bits_go_where_vessels_are(name: str) -> None:
    env = CodingEnv(dataset=Phantoms(4, size=256, seed=9), reward="linear", preset="ultrafast")
    planner = make_agent(name, env.evaluator)
    for sample in env.dataset:
        reference = env.evaluator.reference(sample)
        qp_map = planner.plan(env.evaluator, reference, 32).result.qp_map
        share = ctu_sums(reference.importance, env.ctu_size)
        full, empty = qp_map[share > np.median(share)], qp_map[share <= np.median(share)]
        assert full.mean() < empty.mean()
        assert qp_map.std() > 1
    env.close()


@pytest.mark.parametrize("name", SHIPPED)
def test_they_learn_on_and_come_back(name: str, tmp_path: object) -> None:
    vec = dmic_gym.make_sb3_vec(2, dataset=Phantoms(2, size=96), preset="ultrafast", seed=0)
    model = dmic_gym.load_policy(name, vec, device="cpu")
    model.learn(50, callback=dmic_gym.PartialFreezeCallback())
    observation = vec.reset()
    actions, _ = model.predict(observation, deterministic=True)
    model.save(f"{tmp_path}/again.zip")
    again = dmic_gym.load_policy(f"{tmp_path}/again.zip", vec, device="cpu")
    np.testing.assert_array_equal(again.predict(observation, deterministic=True)[0], actions)
    vec.close()
