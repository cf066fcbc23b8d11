"""What a training run leaves on disk and takes up again; with A2C and PPO."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3 import A2C, PPO

from dmic_gym.agents.policy.network import HEAD
from dmic_gym.agents.policy.trunk import DMICPolicy
from dmic_gym.agents.search.tables import TABLE_QPS
from dmic_gym.agents.training.checkpoints import WARM_STARTED, Checkpoints, restore, save_checkpoint
from dmic_gym.agents.training.config import TrainingConfig
from dmic_gym.agents.training.learn import VALUE_TABLES, train
from dmic_gym.agents.training.progress import Episodes, silent
from dmic_gym.agents.training.value_tables import (
    QPValueTable,
    collect_value_tables,
    read_value_tables,
)
from dmic_gym.codecs.base import Encoded
from dmic_gym.codecs.hevc.x265 import X265Codec
from dmic_gym.envs.rewards import bit_price
from dmic_gym.errors import CodecError, EncodeError, InvalidInputError, WeightsError
from tests.agents.policies import same, small_model, small_vec

CONFIG = TrainingConfig(epochs=1, steps=48, checkpoint_every=8)


class BrokenCodec(X265Codec):
    """Fails at everything but constant QP."""

    def encode(self, frames: Any, qp_maps: Any) -> list[Encoded]:
        if np.ptp(qp_maps):
            raise EncodeError("out of order")
        return super().encode(frames, qp_maps)


def ppo() -> PPO:
    return PPO(DMICPolicy, small_vec(), n_steps=4, batch_size=8, n_epochs=1, seed=0, device="cpu")


@pytest.mark.parametrize("make", [small_model, ppo])
def test_the_last_two_checkpoints_are_kept_and_the_newest_restored(
    tmp_path: Path, make: Any
) -> None:
    model = make()
    model.learn(48, Checkpoints(tmp_path, 8))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["a2c_40_steps.zip", "a2c_48_steps.zip"]
    other = make()
    assert restore(other, tmp_path) == 48
    assert same(other.policy, model.policy)


@pytest.mark.parametrize("make", [small_model, ppo])
def test_training_tunes_the_head_alone_whatever_the_algorithm(tmp_path: Path, make: Any) -> None:
    model, before = make(), make()
    train(model, model.get_env(), CONFIG, tmp_path, parts=HEAD)
    assert same(model.policy.features_extractor, before.policy.features_extractor)
    assert not same(model.policy.action_net, before.policy.action_net)
    assert model.num_timesteps >= CONFIG.steps


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    model = small_model()
    assert restore(model, tmp_path) is None
    save_checkpoint(model, tmp_path / WARM_STARTED)
    assert restore(model, tmp_path) == 0
    newest = tmp_path / "a2c_8_steps.zip"
    newest.write_bytes((tmp_path / WARM_STARTED).read_bytes()[:5000])
    with pytest.raises(WeightsError, match="Delete it to go on from the one before"):
        restore(model, tmp_path)
    newest.unlink()
    assert restore(model, tmp_path) == 0


def arrays(table: QPValueTable) -> list[Any]:
    return [array.round(3).tolist() for array in vars(table.tables).values()]


def test_value_tables_go_on_behind_a_line_that_was_cut_off(tmp_path: Path) -> None:
    env = small_vec().env
    path = tmp_path / VALUE_TABLES
    arguments = (env.evaluator, list(env.dataset), path)
    whole = {table.name: arrays(table) for table in collect_value_tables(*arguments)}
    os.truncate(path, path.stat().st_size - 10)
    for _ in range(2):
        again = {table.name: arrays(table) for table in collect_value_tables(*arguments)}
        assert again == whole
        assert len(read_value_tables(path)) == 2
    with pytest.raises(InvalidInputError, match="2 images are named"):
        collect_value_tables(env.evaluator, [env.dataset[0]] * 2, tmp_path / "other.jsonl")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"epochs": -1}, "Nearest: 0"),
        ({"learning_rate": 0.0}, "above 0"),
        ({"warm_start_rate": float("nan")}, "above 0"),
        ({"steps": 0, "epochs": 0}, "Nothing would be learned"),
    ],
)
def test_a_configuration_of_nonsense_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        replace(CONFIG, **given)


def test_a_run_in_which_every_episode_fails_is_stopped() -> None:
    env = small_vec(codec=BrokenCodec(64, "ultrafast"), preset=None)
    model = A2C(DMICPolicy, env, n_steps=8, seed=0, device="cpu")
    with (
        pytest.warns(RuntimeWarning, match="out of order"),
        pytest.raises(CodecError, match=r"10 episodes in a row failed.*out of order"),
    ):
        model.learn(4000, Episodes(silent, 4000))


def test_a_table_values_a_uniform_map_as_its_encode_does(tmp_path: Path) -> None:
    env = small_vec().env
    sample = env.dataset[0]
    (table,) = collect_value_tables(env.evaluator, [sample], tmp_path / VALUE_TABLES)
    reference = env.evaluator.reference(sample)
    base, coarse = (env.evaluator.anchor(reference, qp) for qp in (TABLE_QPS[2], TABLE_QPS[4]))
    values = table.values(TABLE_QPS[2], [0, TABLE_QPS[4] - TABLE_QPS[2], 99])
    assert values[:, 0].tolist() == [0.0] * len(values)
    saved = 1 - coarse.slice_bits / base.slice_bits
    price = bit_price(TABLE_QPS[2]) * base.slice_bits / sample.image.size
    assert base.dice is not None
    assert coarse.dice is not None
    ours, theirs = values[:, 1].mean(), saved + (coarse.dice - base.dice) / price
    assert np.sign(ours - saved) == np.sign(theirs - saved)
    assert ours == pytest.approx(theirs, rel=0.3)
    last = table.values(TABLE_QPS[2], [51 - TABLE_QPS[2]])
    np.testing.assert_allclose(values[:, 2], last[:, 0])
