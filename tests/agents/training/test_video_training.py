"""Training on clips: both levels in turns, resumed, saved, and used by the planner of groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import BaseCallback

from dmic_gym.agents.policy.loading import load_policy
from dmic_gym.agents.policy.trunk import DMICPolicy
from dmic_gym.agents.training.config import TrainingConfig
from dmic_gym.agents.training.credit import CreditCallback, step_returns
from dmic_gym.agents.training.environments import episode_steps, make_training_env
from dmic_gym.agents.training.learning_log import LEARNING, HeldOut, read_log
from dmic_gym.agents.training.run import CardNotes, TrainingRun
from dmic_gym.agents.training.video import TrainedLevels, train_on_clips
from dmic_gym.agents.video_registry import make_gop_planner
from dmic_gym.bench.held_out import held_out_clips_judge
from dmic_gym.cli.clip_training import split_off
from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.data.clip import Clip
from dmic_gym.tasks.segmenters.weights import load_weights, read_card
from tests.envs.video_support import moving_clip, small_evaluator
from tests.support import small_env, vesselness

CONFIG = TrainingConfig(
    epochs=0,
    steps=72,
    envs=2,
    credit=True,
    maps=2,
    ctu_size=32,
    base_qps=(32, 42),
    checkpoint_every=36,
    preset="ultrafast",
)
"""Two updates of the CTU level: groups of three frames of six CTUs, two maps of each."""


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return [moving_clip(3), moving_clip(3, seed=1, name="other")]


def small_run(out: Path, **arguments: Any) -> TrainingRun:
    settings: dict[str, Any] = {
        "name": "tiny",
        "config": CONFIG,
        "segmenter": vesselness,
        "device": "cpu",
        "card": CardNotes(["two phantoms"]),
    }
    return TrainingRun(out=out, **(settings | arguments))


@pytest.fixture(scope="module")
def levels(clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> TrainedLevels:
    return train_on_clips(clips, small_run(tmp_path_factory.mktemp("levels")))


def tensors(path: Path | None) -> dict[str, Any]:
    assert path is not None
    return load_weights(path)[0]


def same(one: Path | None, other: Path | None) -> bool:
    a, b = tensors(one), tensors(other)
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_the_ctu_level_comes_first_and_the_frame_level_is_trained_over_it(
    levels: TrainedLevels,
) -> None:
    assert levels.ctu is not None
    assert levels.frame is not None
    assert (levels.ctu.name, levels.frame.name) == (
        "tiny-ctu.safetensors",
        "tiny-frame.safetensors",
    )
    lower, upper = (read_card(path).metrics for path in (levels.ctu, levels.frame))
    assert (lower["a2c_steps"], upper["a2c_steps"]) == (72, 12)
    assert lower["other_level"] is None
    assert upper["other_level"].startswith("tiny-ctu.safetensors ")
    assert lower["config"]["mode"] == "ctu"
    assert lower["reward"] == "priced"
    assert read_card(levels.ctu).data == ["two phantoms"]
    log = read_log(levels.ctu.parent / LEARNING)
    assert [line["steps"] for line in log] == [36, 72]
    assert all(-3.0 <= line["reward"] <= 3.0 and line["bits_share"] > 0.0 for line in log)


@pytest.mark.slow
def test_a_level_is_trained_and_the_other_stays_as_it_is(
    levels: TrainedLevels, clips: list[Clip], tmp_path: Path
) -> None:
    assert levels.ctu is not None
    before = levels.ctu.read_bytes()
    run = small_run(tmp_path / "again", config=replace(CONFIG, steps=36))
    again = train_on_clips(clips, run, turns=2)
    assert levels.ctu.read_bytes() == before
    first = tmp_path / "again/ctu/tiny-ctu.safetensors"
    assert again.ctu == tmp_path / "again/ctu-2/tiny-ctu-2.safetensors"
    assert not same(first, again.ctu)
    card = read_card(again.ctu).metrics
    assert card["start"].startswith("tiny-ctu.safetensors ")
    assert card["other_level"].startswith("tiny-frame.safetensors ")


def test_a_resumed_training_equals_an_unbroken_one(
    levels: TrainedLevels, clips: list[Clip], tmp_path: Path
) -> None:
    def kill(stage: str, done: int, total: int, word: str) -> None:
        if stage.endswith("frame") and done >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_on_clips(clips, small_run(tmp_path, on_progress=kill))
    with pytest.raises(InvalidInputError, match="--resume"):
        train_on_clips(clips, small_run(tmp_path))
    resumed = train_on_clips(clips, small_run(tmp_path, resume=True))
    assert same(resumed.ctu, levels.ctu)
    assert same(resumed.frame, levels.frame)


@pytest.mark.slow
def test_a_killed_ctu_level_goes_on_as_if_it_had_not_been(
    levels: TrainedLevels, clips: list[Clip], tmp_path: Path
) -> None:
    def kill(stage: str, done: int, total: int, word: str) -> None:
        if done > 36:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_on_clips(clips, small_run(tmp_path, on_progress=kill), "ctu")
    resumed = train_on_clips(clips, small_run(tmp_path, resume=True), "ctu")
    assert same(resumed.ctu, levels.ctu)
    assert resumed.frame is None


def test_the_pair_codes_a_group(levels: TrainedLevels, clips: list[Clip]) -> None:
    evaluator = small_evaluator()
    reference = evaluator.reference(clips[0].gops(3)[0])
    for agent in (levels.agent, TrainedLevels(ctu=levels.ctu).agent):
        plan = make_gop_planner(agent, evaluator).plan(evaluator, reference, 36)
        assert plan.encodes == 1
        assert plan.result.qp_maps.shape == (3, 2, 3)


@pytest.mark.slow
def test_one_policy_serves_both_levels(clips: list[Clip], tmp_path: Path) -> None:
    config = replace(CONFIG, steps=42, maps=1)
    found = train_on_clips(clips, small_run(tmp_path, config=config), "hierarchical")
    assert found.agent == str(tmp_path / "hierarchical/tiny.safetensors")
    evaluator = small_evaluator()
    reference = evaluator.reference(clips[0].gops(3)[0])
    assert make_gop_planner(found.agent, evaluator).plan(evaluator, reference, 36).encodes == 1


def test_the_ctu_level_acts_on_images_with_the_same_weights(levels: TrainedLevels) -> None:
    env = small_env(ctu_size=32)
    assert levels.ctu is not None
    model = load_policy(levels.ctu, env, device="cpu")
    assert isinstance(model.policy, DMICPolicy)
    stored = tensors(levels.ctu)
    for name, tensor in model.policy.state_dict().items():
        if name in stored:
            assert np.array_equal(tensor.numpy(), stored[name]), name
    observation, _ = env.reset(seed=0)
    assert 0 <= int(model.predict(observation, deterministic=True)[0]) < 13
    env.close()


class Seen(BaseCallback):
    """Keeps the infos at the end of episodes, and what the buffer is paid."""

    def __init__(self) -> None:
        super().__init__()
        self.infos: dict[int, dict[str, Any]] = {}
        self.returns = np.empty((0,))

    def _on_step(self) -> bool:
        for row in np.flatnonzero(self.locals["dones"]).tolist():
            self.infos[row] = self.locals["infos"][row]
        return True

    def _on_rollout_end(self) -> None:
        self.returns = self.locals["rollout_buffer"].returns.copy()


@pytest.mark.parametrize("mode", ["ctu", "frame", "hierarchical"])
def test_each_step_is_paid_for_its_place_and_for_what_follows(mode: Any, clips: list[Clip]) -> None:
    config = replace(CONFIG, mode=mode)
    env = make_training_env(config, clips, vesselness)
    seen, steps = Seen(), episode_steps(env, config)
    assert steps == {"ctu": 18, "frame": 3, "hierarchical": 21}[mode]
    model = A2C("MultiInputPolicy", env, n_steps=steps, seed=0, device="cpu")
    model.learn(steps * 2, [CreditCallback(), seen])
    for row, info in seen.infos.items():
        frames = discounted(info["frame_rewards"], 0.7)
        ctus = step_returns(info["ctu_rewards"], 0.3, 0.5, 0.7).reshape(3, 6)
        expected = {
            "ctu": ctus.ravel(),
            "frame": frames,
            "hierarchical": np.column_stack([frames / np.sqrt(6), ctus]).ravel(),
        }[mode]
        np.testing.assert_allclose(seen.returns[:, row], expected, atol=1e-5)
    env.close()


def discounted(rewards: Sequence[float], share: float) -> Any:
    return [sum(share ** (k - n) * rewards[k] for k in range(n, 3)) for n in range(3)]


@pytest.mark.slow
def test_the_ctu_level_learns_what_is_paid(clips: list[Clip], tmp_path: Path) -> None:
    config = replace(CONFIG, steps=20 * 180, envs=10, maps=5, base_qps=(37,), learning_rate=3e-3)
    found = train_on_clips(clips[:1], small_run(tmp_path, config=config), "ctu")
    assert found.ctu is not None
    rewards = [line["reward"] for line in read_log(found.ctu.parent / LEARNING)]
    assert np.mean(rewards[-4:]) > np.mean(rewards[:4]) + 0.3


def test_errors_say_what_to_pass(clips: list[Clip], tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="levels"):
        train_on_clips(clips, small_run(tmp_path), "level")
    with pytest.raises(InvalidInputError, match="epochs=0"):
        replace(CONFIG, mode="ctu", epochs=1)


@pytest.mark.slow
def test_a_ctu_level_goes_on_from_weights_or_stays_under_the_frame_level(
    levels: TrainedLevels, clips: list[Clip], tmp_path: Path
) -> None:
    assert levels.ctu is not None
    config = replace(CONFIG, steps=36)
    run = small_run(tmp_path, config=config)
    further = train_on_clips(clips, run, "ctu", weights=levels.ctu)
    over = train_on_clips(clips, run, "frame", weights=levels.ctu)
    assert further.ctu is not None
    assert over.frame is not None
    assert read_card(further.ctu).metrics["start"].startswith("tiny-ctu.safetensors ")
    assert not same(further.ctu, levels.ctu)
    assert read_card(over.frame).metrics["other_level"].startswith("tiny-ctu.safetensors ")
    assert over.ctu == levels.ctu
    assert over.written == (over.frame,)


def test_clips_kept_back_are_judged_while_a_level_learns(clips: list[Clip], tmp_path: Path) -> None:
    def judge(evaluator: Any, mode: Any, other: Any) -> HeldOut:
        return HeldOut(held_out_clips_judge(evaluator, clips[1:], mode, other), 1)

    config = replace(CONFIG, steps=36)
    found = train_on_clips(clips[:1], small_run(tmp_path, config=config), "ctu", make_judge=judge)
    assert found.ctu is not None
    lines = [line for line in read_log(found.ctu.parent / LEARNING) if "held_out" in line]
    assert [line["steps"] for line in lines] == [0, 36]
    evaluator = small_evaluator()
    reference = evaluator.reference(clips[1].gops(8)[0])
    planner = make_gop_planner(found.agent, evaluator)
    coded = [planner.plan(evaluator, reference, qp).result.figures for qp in (32, 37, 42, 47)]
    assert lines[-1]["held_out"]["bits"] == [one.bits for one in coded]
    assert "bd_rate_consistency" in lines[-1]["held_out"]


def test_clips_are_kept_back_by_seed(clips: list[Clip]) -> None:
    assert split_off(clips, 0, 0) == ([], clips)
    (kept,), (learned,) = split_off(clips, 1, 0)
    assert {kept, learned} == set(clips)
    with pytest.raises(InvalidInputError, match="between 0 and 1"):
        split_off(clips, 2, 0)


def test_a_resumed_training_on_stills_equals_an_unbroken_one(
    clips: list[Clip], tmp_path: Path
) -> None:
    config = replace(CONFIG, epochs=1, steps=48, checkpoint_every=12)

    def kill(stage: str, done: int, total: int, word: str) -> None:
        if stage == "A2C" and done > 24:
            raise KeyboardInterrupt

    whole = train_on_clips(clips, small_run(tmp_path / "whole", config=config), "stills")
    part = small_run(tmp_path / "part", config=config)
    with pytest.raises(KeyboardInterrupt):
        train_on_clips(clips, replace(part, on_progress=kill), "stills")
    resumed = train_on_clips(clips, replace(part, resume=True), "stills")
    assert same(resumed.ctu, whole.ctu)
    assert resumed.ctu == tmp_path / "part/tiny.safetensors"
    with pytest.raises(InvalidInputError, match="stills_of was"):
        train_on_clips(clips[:1], replace(part, resume=True), "stills")
