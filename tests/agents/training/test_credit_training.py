"""A training with credit: its log, its held-out figures, and that it goes on where it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dmic_gym.agents.training.config import TrainingConfig
from dmic_gym.agents.training.learn import new_model, train
from dmic_gym.agents.training.learning_log import LEARNING, HeldOut, LearningLog, read_log
from dmic_gym.bench.held_out import held_out_judge
from dmic_gym.envs.sb3 import SB3CodingVecEnv
from dmic_gym.errors import InvalidInputError
from tests.agents.policies import same, small_vec
from tests.support import phantoms

CONFIG = TrainingConfig(
    epochs=0,
    steps=64,
    envs=4,
    credit=True,
    maps=2,
    checkpoint_every=16,
    entropy=(0.02, 0.0),
)


def four() -> SB3CodingVecEnv:
    """Episodes of four steps, two maps of each image."""
    from dmic_gym.envs.sb3 import make_sb3_vec
    from tests.agents.policies import SETTINGS

    more: dict[str, Any] = {"maps_per_image": 2, "base_qps": range(26, 48), "reward": "priced"}
    return make_sb3_vec(4, seed=0, workers=1, **(SETTINGS | more))


def trained(out: Path, *, kill_at: int = 0, resume: bool = False, seed: int = 0) -> Any:
    env = four()
    model = new_model(env, replace(CONFIG, seed=seed), "cpu")

    def kill(stage: str, done: int, total: int, word: str) -> None:
        if kill_at and done >= kill_at:
            raise KeyboardInterrupt

    config = replace(CONFIG, seed=0)
    try:
        train(model, env, config, out, resume=resume, on_progress=kill)
    finally:
        env.close()
    return model


def without_seconds(out: Path) -> list[dict[str, Any]]:
    lines = read_log(out / LEARNING)
    return [{key: line[key] for key in line if key not in ("seconds", "entropy")} for line in lines]


def test_a_resumed_run_equals_an_unbroken_one(tmp_path: Path) -> None:
    unbroken = trained(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "parts", kill_at=48)
    resumed = trained(tmp_path / "parts", resume=True, seed=5)
    assert same(resumed.policy, unbroken.policy)
    assert without_seconds(tmp_path / "parts") == without_seconds(tmp_path / "whole")
    assert [line["steps"] for line in read_log(tmp_path / "whole" / LEARNING)] == [16, 32, 48, 64]


def test_the_log_says_how_the_episodes_went(tmp_path: Path) -> None:
    trained(tmp_path)
    first, *_, last = read_log(tmp_path / LEARNING)
    assert first["entropy"] is None
    assert 0.0 < last["entropy"] < 2.57
    for line in (first, last):
        assert -3.0 <= line["reward"] <= 3.0
        assert 0.0 <= line["uniform_maps"] <= 1.0
        assert line["bits_share"] > 0.0
    assert last["seconds"] >= first["seconds"] >= 0.0


def test_held_out_images_are_judged_as_a_sweep_would(tmp_path: Path) -> None:
    env = four()
    model = new_model(env, CONFIG, "cpu")
    judge = held_out_judge(env.env.evaluator, phantoms(2, 96, seed=9))
    train(model, env, CONFIG, tmp_path, held_out=HeldOut(judge, 2))
    judged = [line for line in read_log(tmp_path / LEARNING) if "held_out" in line]
    assert [line["steps"] for line in judged] == [0, 32, 64]
    figures = judged[-1]["held_out"]
    assert figures == judge(model)
    assert len(figures["bits"]) == len(figures["dice"]) == 4
    assert figures["bits"] == sorted(figures["bits"], reverse=True)
    env.close()


def test_lines_of_a_part_that_was_killed_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / LEARNING
    path.write_text('{"steps": 16, "seconds": 2.5, "reward": 0}\n{"steps": 32, "seconds": 5}\n{"st')
    assert [line["steps"] for line in read_log(path)] == [16, 32]
    env = small_vec()
    model = new_model(env, CONFIG, "cpu")
    model.num_timesteps = 16
    log = LearningLog(path)
    log.init_callback(model)
    log.on_training_start({}, {})
    assert [line["steps"] for line in read_log(path)] == [16]
    env.close()


def test_errors_say_what_to_pass() -> None:
    with pytest.raises(InvalidInputError, match="Nearest: num_envs=5"):
        TrainingConfig(envs=6, maps=5)
    env = four()
    with pytest.raises(InvalidInputError, match="'pixels'"):
        new_model(env, replace(CONFIG, inputs="pixel"))
    env.close()
