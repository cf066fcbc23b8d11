"""Imitation: what another agent chooses is noted step by step, and learned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dmic_gym.agents.registry import make_agent
from dmic_gym.agents.training.config import TrainingConfig
from dmic_gym.agents.training.environments import make_training_env
from dmic_gym.agents.training.imitation import demonstrate
from dmic_gym.agents.training.run import TrainingRun
from dmic_gym.agents.training.video import train_on_clips
from dmic_gym.agents.video_registry import make_gop_planner
from dmic_gym.codecs.hevc.x265 import X265Codec
from dmic_gym.envs.evaluator import Evaluator
from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.data.clip import Clip
from dmic_gym.tasks.segmenters.weights import load_weights, read_card
from tests.envs.video_support import moving_clip, small_evaluator
from tests.support import phantoms, vesselness

IMAGES = TrainingConfig(
    epochs=40, steps=0, base_qps=(27, 32, 37), ctu_size=32, preset="ultrafast", imitate="roi:6:0.3"
)
CLIPS = replace(IMAGES, credit=True, envs=2, maps=2, imitate="cap")


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return [moving_clip(3), moving_clip(3, seed=1, name="other")]


def run(out: Path, config: TrainingConfig) -> TrainingRun:
    return TrainingRun("tiny", out, config, vesselness, device="cpu")


def test_a_policy_that_imitates_a_rule_codes_as_the_rule_does(tmp_path: Path) -> None:
    samples = phantoms(2)
    path = run(tmp_path, IMAGES).run(samples)
    evaluator = Evaluator(X265Codec(32, "ultrafast"), vesselness)
    maps = [
        [
            make_agent(agent, evaluator).plan(evaluator, reference, qp).result.qp_map
            for reference in map(evaluator.reference, samples)
            for qp in IMAGES.base_qps
        ]
        for agent in (str(path), "roi:6:0.3")
    ]
    own, rule = (np.stack(found) for found in maps)
    assert len(np.unique(rule[0])) == 2
    assert np.mean(np.abs(own - rule) <= 3) > 0.9
    assert read_card(path).metrics["config"]["imitate"] == "roi:6:0.3"


@pytest.mark.parametrize("mode", ["ctu", "frame", "hierarchical"])
def test_the_steps_of_a_group_lead_to_the_maps_of_the_agent(mode: Any, clips: list[Clip]) -> None:
    agent = "random" if mode == "ctu" else "cascade"
    config = replace(CLIPS, mode=mode, base_qps=(20,), imitate=agent)
    env = make_training_env(config, clips[:1], vesselness)
    shown = demonstrate(env, agent, config)
    env.close()
    evaluator = small_evaluator()
    reference = evaluator.reference(clips[0].gops(8)[0])
    maps = make_gop_planner(agent, evaluator).plan(evaluator, reference, 20).result.qp_maps - 20
    expected = {
        "ctu": maps.ravel().tolist(),
        "frame": [0, 3, 3],
        "hierarchical": [0, 3, 3] + 18 * [0],
    }[mode]
    assert maps.max() <= 29
    offsets = np.asarray(env.env.qp_offsets)[shown.actions]
    assert sorted(offsets.tolist()) == sorted(expected)
    for key, space in env.observation_space.items():  # type: ignore[attr-defined]
        assert shown.observations[key].shape == (len(expected), *space.shape)
        assert shown.observations[key].dtype == space.dtype


def test_both_levels_imitate_and_go_on_by_reinforcement_learning(
    clips: list[Clip], tmp_path: Path
) -> None:
    config = replace(CLIPS, epochs=2, steps=72)
    found = train_on_clips(clips, run(tmp_path, config))
    for path, steps in zip(found.written, (72, 12), strict=True):
        assert read_card(path).metrics["a2c_steps"] == steps
        assert read_card(path).metrics["config"]["imitate"] == "cap"
    again = train_on_clips(clips, run(tmp_path / "again", config))
    a, b = (load_weights(one.ctu)[0] for one in (found, again) if one.ctu)
    assert all(np.array_equal(a[name], b[name]) for name in a)


def test_errors_say_what_to_pass(clips: list[Clip], tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="epochs above 0"):
        replace(IMAGES, epochs=0, steps=1)
    with pytest.raises(InvalidInputError, match="imitate"):
        replace(CLIPS, mode="ctu", imitate=None)
    with pytest.raises(InvalidInputError, match="roi"):
        train_on_clips(clips, run(tmp_path, replace(CLIPS, imitate="rio")), "ctu")
