"""Pretraining and fine-tuning, on small phantoms with a segmenter that needs no weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dmic_gym.agents.policy.network import CRITIC, HEAD
from dmic_gym.agents.registry import make_agent
from dmic_gym.agents.search.tables import TABLE_QPS
from dmic_gym.agents.training.config import TrainingConfig
from dmic_gym.agents.training.finetune import choose_samples, finetune
from dmic_gym.agents.training.learn import IMAGES, VALUE_TABLES, new_model, train
from dmic_gym.agents.training.run import RUN, TrainingRun
from dmic_gym.agents.training.value_tables import read_value_tables
from dmic_gym.agents.training.variations import Variations
from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.envs.sb3 import SB3CodingVecEnv, make_sb3_vec
from dmic_gym.errors import DataError, InvalidInputError
from dmic_gym.tasks.data.phantoms.dataset import Phantoms
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.segmenters.protocol import PerSampleSegmenter
from dmic_gym.tasks.segmenters.weights import load_weights, read_card
from tests.support import vesselness

QPS = (27, 37)
CONFIG = TrainingConfig(epochs=2, steps=64, base_qps=QPS, envs=2, checkpoint_every=32)


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return Phantoms(3, size=96, seed=5)[:]


@pytest.fixture(scope="module")
def pretrained(samples: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pretrained")
    return small_run(out).run(samples)


def small_run(out: Path, **arguments: Any) -> TrainingRun:
    settings: dict[str, Any] = {
        "name": "mine",
        "config": CONFIG,
        "segmenter": vesselness,
        "device": "cpu",
    }
    return TrainingRun(out=out, **(settings | arguments))


def small_vec(samples: list[Sample]) -> SB3CodingVecEnv:
    return make_sb3_vec(2, seed=0, dataset=samples, segmenter=vesselness, base_qps=QPS)


def test_training_leaves_weights_a_card_tables_checkpoints_and_a_log(pretrained: Path) -> None:
    out = pretrained.parent
    card = json.loads(pretrained.with_suffix(".json").read_text())
    assert card["metrics"]["config"]["epochs"] == 2
    assert card["metrics"]["gpu"]["gpu"]
    (sha256,) = card["metrics"]["segmenters"].values()
    assert len(sha256) == 64
    assert card["metrics"]["seconds"] >= card["metrics"]["gpu"]["seconds"]
    assert len(read_value_tables(out / VALUE_TABLES)) == 3
    assert list(out.glob("a2c_*_steps.zip"))
    assert list((out / "log").glob("events*"))


def test_a_trained_policy_is_an_agent_by_its_path(pretrained: Path, samples: list[Sample]) -> None:
    env = CodingEnv(dataset=samples, segmenter=vesselness)
    planner = make_agent(str(pretrained), env.evaluator)
    plan = planner.plan(env.evaluator, env.evaluator.reference(samples[0]), 32)
    assert set(plan.result.qp_map.ravel() - 32) <= set(env.qp_offsets)
    env.close()


def test_finetuning_the_head_leaves_the_trunk_bit_identical(
    pretrained: Path, samples: list[Sample], tmp_path: Path
) -> None:
    how = small_run(tmp_path, name="dmic")
    path = finetune(samples[:1], how, weights=pretrained, variations=2)
    before, after = load_weights(pretrained)[0], load_weights(path)[0]
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed
    assert all(name.startswith(HEAD) for name in changed)
    metrics = load_weights(path)[1].metrics
    assert metrics["trainable_share"] == pytest.approx(0.027, abs=0.001)
    assert metrics["names"] == [samples[0].name]


def test_runs_that_share_a_folder_make_each_table_once(
    samples: list[Sample], tmp_path: Path
) -> None:
    shared, config = tmp_path / "tables", replace(CONFIG, epochs=1, steps=0)

    def made(name: str, learned: list[Sample], **changes: Any) -> list[str]:
        """Return the names of the tables in the folder after one more run."""
        how = {"config": replace(config, **changes), "tables": shared}
        small_run(tmp_path / name, **how).run(learned)
        assert not (tmp_path / name / VALUE_TABLES).exists()
        return [table.name for table in read_value_tables(shared / VALUE_TABLES)]

    names = [sample.name for sample in samples]
    assert sorted(made("first", samples[:2])) == names[:2]
    assert sorted(made("second", samples[::-1])) == names
    assert sorted(made("other preset", samples[:1], preset="fast")) == [names[0], *names]
    assert len(list((shared / IMAGES).iterdir())) == 4


def test_a_run_that_was_killed_goes_on_where_it_was(samples: list[Sample], tmp_path: Path) -> None:
    env = small_vec(samples)

    class KilledError(Exception):
        pass

    def kill(stage: str, done: int, total: int, word: str) -> None:
        if stage == "A2C" and done >= 50:
            raise KilledError

    with pytest.raises(KilledError):
        train(new_model(env, CONFIG, "cpu"), env, CONFIG, tmp_path, on_progress=kill)
    with pytest.raises(InvalidInputError, match="--resume"):
        train(new_model(env, CONFIG, "cpu"), env, CONFIG, tmp_path)
    stages: list[tuple[str, int]] = []
    model = new_model(env, replace(CONFIG, seed=9), "cpu")
    train(
        model,
        env,
        CONFIG,
        tmp_path,
        resume=True,
        on_progress=lambda stage, done, total, word: stages.append((stage, done)),
    )
    assert {stage for stage, _ in stages} == {"A2C"}
    assert model.num_timesteps >= CONFIG.steps
    env.close()


def test_a_run_that_goes_on_counts_its_seconds_in_all(
    samples: list[Sample], tmp_path: Path
) -> None:
    config = replace(CONFIG, epochs=1, steps=0)
    first = load_weights(small_run(tmp_path, config=config).run(samples))
    assert not [name for name in first[0] if name.startswith(CRITIC)]
    assert first[1].arguments["critic"] is False
    noted = json.loads((tmp_path / RUN).read_text())
    assert noted["seconds"] == first[1].metrics["seconds"] > 0
    (tmp_path / RUN).write_text(json.dumps(noted | {"seconds": 1000.0}))
    more = small_run(tmp_path, config=replace(config, steps=8), resume=True)
    tensors, card = load_weights(more.run(samples))
    assert card.metrics["seconds"] > 1000.0
    assert card.metrics["a2c_steps"] > 0
    assert [name for name in tensors if name.startswith(CRITIC)]


def test_value_tables_survive_a_line_that_was_cut_off(pretrained: Path, tmp_path: Path) -> None:
    text = (pretrained.parent / VALUE_TABLES).read_text()
    cut = tmp_path / VALUE_TABLES
    cut.write_text(text[:-20])
    assert len(read_value_tables(cut)) == 2
    cut.write_text('{"name": 1}\n')
    with pytest.raises(DataError, match="QP value tables"):
        read_value_tables(cut)


def test_value_tables_raise_the_expected_value_of_the_actions(
    samples: list[Sample], tmp_path: Path
) -> None:
    losses: list[float] = []

    def note(stage: str, done: int, total: int, word: str) -> None:
        if stage == "warm start":
            losses.append(float(word.removeprefix("loss ")))

    env = small_vec(samples)
    config = replace(CONFIG, epochs=30, steps=0)
    train(new_model(env, config, "cpu"), env, config, tmp_path, on_progress=note)
    assert np.mean(losses[-5:]) < losses[0] - 0.1
    env.close()


def test_variations_are_seeded_and_begin_with_the_samples(samples: list[Sample]) -> None:
    varied = Variations(samples[:2], 5, seed=3)
    assert [sample.name for sample in varied] == [
        *(sample.name for sample in samples[:2]),
        f"{samples[0].name}~1",
        f"{samples[1].name}~1",
        f"{samples[0].name}~2",
    ]
    assert np.array_equal(varied[4].image, varied[4].image)
    assert not np.array_equal(varied[4].image, varied[2].image)
    with pytest.raises(InvalidInputError, match="count"):
        Variations(samples, 2)


def test_choosing_more_samples_than_there_are_is_refused(samples: list[Sample]) -> None:
    assert choose_samples(samples, 2, 1) == choose_samples(samples, 2, 1)
    with pytest.raises(InvalidInputError, match="Nearest: 3"):
        choose_samples(samples, 4, 0)


def test_images_of_several_folds_are_judged_each_by_its_own(
    samples: list[Sample], tmp_path: Path
) -> None:
    judged: dict[str, int] = {}

    class Judge:
        def __init__(self, name: str) -> None:
            self.name = name

        def __call__(self, images: Any) -> Any:
            judged[self.name] = judged.get(self.name, 0) + len(images)
            return vesselness(images)

    class Both(PerSampleSegmenter):
        segmenters = (Judge("even"), Judge("odd"))

        def for_sample(self, sample: Sample) -> Judge:
            return self.segmenters[[s.name for s in samples].index(sample.name) % 2]

        def describe(self) -> dict[str, str]:
            return {"name": "both", "sha256": ""}

    config = replace(CONFIG, epochs=1, steps=0)
    small_run(tmp_path, config=config, segmenter=Both()).run(samples)
    encodes = len(TABLE_QPS) + 1  # and the reference
    assert judged == {"even": 2 * encodes, "odd": encodes}
    judged.clear()
    more = replace(CONFIG, epochs=0, steps=100)
    path = small_run(tmp_path / "more", config=more, segmenter=Both()).run(samples)
    assert judged.keys() == {"even", "odd"}  # A2C too
    assert list(read_card(path).metrics["segmenters"]) == [f"{__name__}:{Judge.__qualname__}"]
