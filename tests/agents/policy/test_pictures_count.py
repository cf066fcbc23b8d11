"""Policies that see decide by what they see: noise in place of a picture changes decisions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dmic_gym.agents.policy.loading import load_agent, save_policy
from dmic_gym.agents.policy.shipped import SHIPPED_POLICIES, policy_names
from dmic_gym.agents.search.tables import Tables
from dmic_gym.agents.training.config import TrainingConfig
from dmic_gym.agents.training.learn import new_model
from dmic_gym.agents.training.table_images import TableImages
from dmic_gym.agents.training.value_tables import QPValueTable
from dmic_gym.agents.training.warm_start import warm_start
from dmic_gym.envs.results import Reference
from dmic_gym.envs.sb3 import make_sb3_vec
from dmic_gym.envs.settings import DEFAULT_QP_OFFSETS
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.segmenters.weights import find_weights, read_card
from tests.agents.policies import small_vec
from tests.support import phantoms, vesselness

PICTURES = ("ctu", "frame")
LEAST = 0.05
"""Share of the decisions that noise has to change where the pictures are all there is to learn."""


def dark_and_light() -> list[Sample]:
    """Phantoms as they are, and lighter ones."""
    found = []
    for number, sample in enumerate(phantoms(4, 128, seed=5)):
        shift = 0.6 * (number % 2)
        shaded = shift * 255.0 + (1.0 - shift) * sample.image
        found.append(Sample(shaded.astype(np.uint8), sample.mask, f"{number}"))
    return found


def table(name: str, sign: int) -> QPValueTable:
    """A table in which the Dice falls with the QP, or rises with it."""
    qps = np.array([20, 51], np.int16)
    by_qp = np.ones((2, 2, 2)) * qps[:, None, None]
    overlap = 1000.0 - sign * 20.0 * (by_qp - 34)
    tables = Tables(qps, overlap, np.full_like(by_qp, 1000.0), np.full_like(by_qp, 2000.0))
    return QPValueTable(name, name, 64, 128 * 128, 4000.0, tables)


def fresh(folder: Path, inputs: str) -> str:
    """Return a policy after a short warm start for which dark and light images are opposites."""
    config = TrainingConfig(30, 3e-3, steps=0, base_qps=(34,), inputs=inputs)
    samples = dark_and_light()
    tables = [table(sample.name, 1 - 2 * (n % 2)) for n, sample in enumerate(samples)]
    images = TableImages(folder / "images", tables, augmented=False)
    for number, sample in enumerate(samples):
        images.keep(number, Reference(sample, b"", np.zeros(sample.image.shape, np.float32)))
    env = small_vec()
    model = new_model(env, config, "cpu")
    warm_start(model.policy, images, DEFAULT_QP_OFFSETS, config)
    env.close()
    return str(save_policy(model, folder, inputs, critic=False))


def changed_by_noise(
    weights: str, samples: list[Sample], ctu_size: int = 64, steps: int = 3
) -> dict[str, float]:
    """Return the share of the first decisions that change when each picture is noise."""
    policy: Any = load_agent(weights, DEFAULT_QP_OFFSETS, ctu_size)
    env = make_sb3_vec(
        len(samples), samples, segmenter=vesselness, ctu_size=ctu_size, base_qps=(34,), seed=0
    )
    observations: Any = env.reset()
    shown = []
    for _ in range(steps):
        shown.append({key: value.copy() for key, value in observations.items()})
        observations, *_ = env.step(policy.predict(observations, deterministic=True)[0])
    env.close()
    seen = {key: np.concatenate([step[key] for step in shown]) for key in shown[0]}
    rng, (own, _) = np.random.default_rng(0), policy.predict(seen, deterministic=True)
    found = {}
    for key in PICTURES:
        noise = rng.integers(0, 256, seen[key].shape, np.uint8)
        changed, _ = policy.predict({**seen, key: noise}, deterministic=True)
        found[key] = float((changed != own).mean())
    return found


@pytest.mark.parametrize("name", policy_names())
def test_noise_changes_what_shipped_policies_decide(name: str) -> None:
    size = read_card(find_weights(name, SHIPPED_POLICIES)).arguments["ctu_size"]
    found = changed_by_noise(name, phantoms(8, 4 * size, seed=9), size, steps=15)
    assert min(found.values()) > (0.0 if name == "hrlvsc" else LEAST)


def test_noise_changes_what_a_policy_decides_that_learned_to_see(tmp_path: Path) -> None:
    found = changed_by_noise(fresh(tmp_path, "pixels"), dark_and_light())
    assert min(found.values()) > LEAST


def test_noise_changes_nothing_for_one_that_looks_at_numbers_alone(tmp_path: Path) -> None:
    found = changed_by_noise(fresh(tmp_path, "numbers"), dark_and_light())
    assert found == dict.fromkeys(PICTURES, 0.0)
