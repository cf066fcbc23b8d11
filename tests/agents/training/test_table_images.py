"""Images with their QP value tables: turned together, kept on disk, gone on from."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dmic_gym.agents.policy.network import CRITIC
from dmic_gym.agents.search.tables import Tables
from dmic_gym.agents.training.checkpoints import WARM_STARTING
from dmic_gym.agents.training.config import TrainingConfig
from dmic_gym.agents.training.learn import IMAGES, new_model, train
from dmic_gym.agents.training.table_images import TableImages, Turn
from dmic_gym.agents.training.value_tables import QPValueTable
from dmic_gym.envs.evaluator import Evaluator
from dmic_gym.envs.features import FIXED_FEATURES
from dmic_gym.errors import WeightsError
from tests.agents.policies import same, small_vec, tensors_of
from tests.support import phantoms, vesselness

CONFIG = TrainingConfig(epochs=3, steps=0)


def table(shape: tuple[int, int], ctu_size: int = 64) -> QPValueTable:
    """A table whose numbers all differ."""
    values = np.arange(3 * shape[0] * shape[1], dtype=np.float64).reshape(3, *shape)
    tables = Tables(np.array([20, 30, 40], np.int16), values, values + 1000, values + 2000)
    return QPValueTable("a", "source", ctu_size, 1, 1.0, tables)


@pytest.mark.parametrize(
    "turn", [Turn(t, f) for t, f in product((False, True), ((), (0,), (1,), (0, 1)))]
)
def test_a_table_turns_with_its_image(turn: Turn) -> None:
    places = np.arange(6).reshape(2, 3)
    image = np.kron(places, np.ones((64, 64), int))
    turned = turn.of(image)
    found = turn.of_table(table((2, 3))).tables
    assert np.array_equal(turned[::64, ::64], found.overlap[0])
    assert np.array_equal(found.bits, found.overlap + 2000)


def test_an_axis_that_ends_in_a_partial_ctu_is_not_reversed() -> None:
    rng = np.random.default_rng(0)
    for turn in (Turn.draw((128, 100), 64, rng) for _ in range(50)):
        assert set(turn.flipped) <= ({1} if turn.transposed else {0})


def test_an_image_comes_back_as_it_was_or_varied(tmp_path: Path) -> None:
    sample = phantoms(1, 128)[0]
    reference = Evaluator(small_vec().env.evaluator.codec, vesselness).reference(sample)
    plain = TableImages(tmp_path, [table((2, 2))], augmented=False)
    varied = TableImages(tmp_path, [table((2, 2))], augmented=True)
    assert not plain.is_kept(0)
    plain.keep(0, reference)
    assert varied.is_kept(0)
    view, found = plain.drawn(0, np.random.default_rng(0))
    assert np.array_equal(view.window(3)[0], sample.image[64:, 64:])
    assert found.tables.bits.tolist() == table((2, 2)).tables.bits.tolist()
    share = FIXED_FEATURES.index("importance_share")
    places = set()
    for seed in range(12):
        other, turned = varied.drawn(0, np.random.default_rng(seed))
        order = turned.tables.overlap[0].astype(int).ravel()
        assert np.allclose(other.fixed[:, share], view.fixed[order, share], atol=1e-5)
        places.add(tuple(order.tolist()))
    assert len(places) > 3


def test_a_warm_start_trains_all_that_chooses_and_goes_on_where_it_was(tmp_path: Path) -> None:
    env = small_vec()

    def run(out: Path, kill_at: int = 0, **options: Any) -> Any:
        def kill(stage: str, done: int, total: int, word: str) -> None:
            if stage == "warm start" and done == kill_at:
                raise KeyboardInterrupt

        model = new_model(env, CONFIG, "cpu")
        before = tensors_of(model.policy)
        train(model, env, CONFIG, out, on_progress=kill, **options)
        return model.policy, before

    whole, before = run(tmp_path / "whole")
    for name, tensor in tensors_of(whole).items():
        chooses = not name.startswith(CRITIC)
        assert bool((tensor != before[name]).any()) is chooses, name
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", kill_at=2)
    images = sorted((tmp_path / "parts" / IMAGES).rglob("*.npz"))
    assert len(images) == 2
    times = [path.stat().st_mtime_ns for path in images]
    resumed, _ = run(tmp_path / "parts", resume=True)
    assert same(resumed, whole)
    assert [path.stat().st_mtime_ns for path in images] == times
    assert not (tmp_path / "parts" / WARM_STARTING).exists()
    env.close()


def test_a_damaged_state_is_refused(tmp_path: Path) -> None:
    env = small_vec()
    (tmp_path / WARM_STARTING).write_bytes(b"half a file")
    model = new_model(env, replace(CONFIG, epochs=1), "cpu")
    with pytest.raises(WeightsError, match="Delete it"):
        train(model, env, CONFIG, tmp_path, resume=True)
    env.close()
