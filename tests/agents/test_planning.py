from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from dmic_gym.agents.planning import (
    OracleAgent,
    RefinedAgent,
    SampledAgent,
    SearchAgent,
    make_objective,
)
from dmic_gym.agents.registry import make_agent
from dmic_gym.agents.search.objective import Objective
from dmic_gym.agents.search.posterior_cache import PosteriorCache
from dmic_gym.agents.search.refine import STEPS_FROM_A_PLAN, refine
from dmic_gym.agents.search.tables import TABLE_QPS, allocate, build_tables
from dmic_gym.codecs import X265Codec
from dmic_gym.codecs.base import Encoded
from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.envs.complexity import complexity
from dmic_gym.envs.evaluator import Evaluator
from dmic_gym.envs.rewards import bit_price
from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.segmenters.network import load_segmenter
from tests.support import small_env, texture, vesselness


def objective_of(env: CodingEnv, base_qp: int = 32) -> Objective:
    reference = env.evaluator.reference(env.dataset[0])
    posteriors = PosteriorCache(env.evaluator.segmenter)
    return make_objective(env.evaluator, reference, base_qp, posteriors)


def test_a_refined_map_is_never_worth_less_and_costs_what_it_says(env: CodingEnv) -> None:
    objective = objective_of(env)
    start = objective.try_uniform(32)
    values = [start.value]
    for budget in (1, 6, 15):
        before = objective.encodes
        found = refine(objective, start, budget)
        assert objective.encodes - before <= budget
        values.append(found.value)
    assert values == sorted(values)
    assert values[-1] > values[0]
    again = env.evaluator.score(objective.reference, found.qp_map)
    assert again.encoded.bitstream == found.result.encoded.bitstream


def test_threads_change_nothing_but_the_time(env: CodingEnv) -> None:
    evaluator = Evaluator(env.evaluator.codec, env.evaluator.segmenter, workers=3)
    plans = []
    for each in (env.evaluator, evaluator):
        reference = each.reference(env.dataset[0])
        specs = ("search:19", "roi+refine:11", "table")
        plans += [make_agent(spec, each).plan(each, reference, 32) for spec in specs]
    evaluator.close()
    for one, three in zip(plans[:3], plans[3:], strict=True):
        assert one.encodes == three.encodes
        assert one.result.encoded.bitstream == three.result.encoded.bitstream


def test_maps_tried_together_stay_within_the_budget_and_cost_nothing_twice(env: CodingEnv) -> None:
    objective = objective_of(env)
    maps = [np.full(objective.shape, qp, np.int16) for qp in (30, 30, 34, 38)]
    first = objective.try_map(maps[2])
    trials = objective.try_maps(maps, budget=1)
    assert objective.encodes == 2
    assert [int(trial.qp_map[0, 0]) for trial in trials] == [30, 30, 34]
    assert trials[0] is trials[1]
    assert trials[2] is first


def test_the_best_of_drawn_maps_is_never_worth_less_and_more_draws_hold_the_fewer(
    env: CodingEnv,
) -> None:
    objective = objective_of(env)
    values, plain = [], make_agent("roi", env.evaluator)
    start = plain.plan(env.evaluator, objective.reference, 32).result
    for spec in ("roi", "roi+sample:3", "roi+sample:9"):
        plan = make_agent(spec, env.evaluator).plan(env.evaluator, objective.reference, 32)
        assert plan.encodes == 1 + int(spec.partition(":")[2] or 0)
        assert np.abs(plan.result.qp_map - start.qp_map).max() <= SampledAgent.SPREAD
        values.append(objective.accept(plan.result).value)
    assert values == sorted(values)
    assert values[-1] > values[0]


def test_the_first_sweep_takes_the_first_of_the_steps(env: CodingEnv) -> None:
    for steps in ((5, 1), STEPS_FROM_A_PLAN):
        objective = objective_of(env)
        start = objective.try_uniform(32)
        refine(objective, start, 6, steps=steps)
        moved = [np.abs(trial.qp_map - start.qp_map) for trial in objective.trials[1:]]
        assert len(moved) == 6
        assert all(set(np.unique(each)) == {0, steps[0]} for each in moved)


def test_a_single_ctu_ends_before_the_budget() -> None:
    env = small_env(dataset=[Sample(texture((40, 40)), np.eye(40, dtype=bool), "one")])
    objective = objective_of(env)
    found = refine(objective, objective.try_uniform(32), budget=10_000)
    assert objective.encodes < 52
    assert found.qp_map.shape == (1, 1)


@pytest.mark.parametrize("spec", ["roi", "table", "roi+refine:5"])
def test_a_recoded_map_is_decided_with_medium_whatever_codes_it(spec: str) -> None:
    maps, encodes = [], []
    for preset, name in (("medium", spec), ("ultrafast", f"{spec}+recoded")):
        env = small_env(preset=preset)
        reference = env.evaluator.reference(env.dataset[0])
        plan = make_agent(name, env.evaluator).plan(env.evaluator, reference, 37)
        again = env.evaluator.score(reference, plan.result.qp_map)
        assert again.encoded.bitstream == plan.result.encoded.bitstream
        maps.append(plan.result.qp_map)
        encodes.append(plan.encodes)
        env.close()
    np.testing.assert_array_equal(maps[0], maps[1])
    assert encodes[1] == encodes[0] + 1


@pytest.mark.parametrize("spec", ["search:12", "roi+refine:5", "oracle", "random+refine:1"])
def test_agents_with_the_encoder_in_the_loop(env: CodingEnv, spec: str) -> None:
    planner = make_agent(spec, env.evaluator)
    assert isinstance(planner, SearchAgent | RefinedAgent | OracleAgent)
    reference = env.evaluator.reference(env.dataset[1])
    plans = [planner.plan(env.evaluator, reference, 37) for _ in range(2)]
    assert plans[0].result.encoded.bitstream == plans[1].result.encoded.bitstream
    most = {"search:12": 12, "roi+refine:5": 6, "oracle": 12, "random+refine:1": 2}[spec]
    assert 1 <= plans[0].encodes <= most


def test_uniform_encodes_are_made_once_and_counted_each_time(
    env: CodingEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    encode = env.evaluator.codec.encode

    def counted(*job: Any) -> list[Encoded]:
        made.append(1)
        return encode(*job)

    monkeypatch.setattr(env.evaluator.codec, "encode", counted)
    reference = env.evaluator.reference(env.dataset[0])
    plans = [OracleAgent().plan(env.evaluator, reference, qp) for qp in (32, 32, 42)]
    assert [plan.encodes for plan in plans] == [12, 12, 12]
    assert len(made) == 11 + 3
    assert plans[0].seconds_saved == 0.0 < plans[1].seconds_saved
    assert plans[0].result.encoded.bitstream == plans[1].result.encoded.bitstream


def test_search_beats_every_uniform_map_it_tried(env: CodingEnv) -> None:
    objective = objective_of(env)
    found = SearchAgent(20, PosteriorCache(vesselness)).search(objective)
    assert len(objective.trials) == objective.encodes == 20
    assert found.value == max(trial.value for trial in objective.trials)
    uniform = [trial for trial in objective.trials if np.ptp(trial.qp_map) == 0]
    assert len(uniform) == 5
    assert found.value > max(trial.value for trial in uniform)


def test_a_dearer_bit_buys_fewer_bits(env: CodingEnv) -> None:
    bits = []
    for base_qp in (22, 37, 47):
        objective = objective_of(env, base_qp)
        found = SearchAgent(25, PosteriorCache(vesselness)).search(objective)
        bits.append(found.result.figures.bits)
    assert bits == sorted(bits, reverse=True)
    assert bit_price(37) > 3 * bit_price(32)


def test_the_tables_give_bits_to_what_the_belief_wants() -> None:
    image = texture((128, 128))
    image[:, 64:] = texture((128, 64), seed=3)
    mask = np.zeros((128, 128), bool)
    mask[20:40, 10:50] = True

    def dark(images: npt.NDArray[np.uint8], /) -> npt.NDArray[np.float32]:
        return np.asarray(1.0 / (1.0 + np.exp((images.astype(np.float32) - 100.0) / 8.0)))

    env = small_env(dataset=[Sample(image, mask, "corner")], segmenter=dark)
    env.reset(options={"sample": 0, "base_qp": 32})
    objective = Objective(env.evaluator, env.reference, mask, bit_price(32))
    tables = build_tables(objective)
    np.testing.assert_allclose(
        tables.bits.sum(axis=(1, 2)), [t.result.figures.slice_bits for t in objective.trials]
    )
    np.testing.assert_array_equal(
        tables.area.sum(axis=(1, 2)), [t.result.mask.sum() for t in objective.trials]
    )
    qp_map = allocate(tables, objective)
    assert qp_map[0, 0] == qp_map.min() < qp_map.max() == qp_map[1, 1]


def test_complexity_ranks_ctus_as_x265_does() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, (128, 192)) * np.repeat(
        np.repeat([[1, 4, 9], [20, 2, 14]], 64, 0), 64, 1
    )
    image = np.clip(128 + noise, 0, 255).astype(np.uint8)
    with X265Codec() as codec:
        alone = [
            codec.encode([image[y : y + 64, x : x + 64]], [np.array([[27]])])[0].slice_bits
            for y in (0, 64)
            for x in (0, 64, 128)
        ]
    assert np.argsort(complexity(image, 64, 27).ravel()).tolist() == np.argsort(alone).tolist()


def test_tables_are_filled_and_the_map_they_propose_is_coded_once() -> None:
    env = small_env(dataset=[Sample(texture((130, 130)), None, "bare")], segmenter=vesselness)
    evaluator = env.evaluator
    reference = evaluator.reference(env.dataset[0])
    plans = [make_agent("table", evaluator).plan(evaluator, reference, qp) for qp in (22, 37)]
    assert all(plan.encodes == len(TABLE_QPS) + 1 for plan in plans)
    objective = make_objective(evaluator, reference, 22, PosteriorCache(vesselness))
    proposed = allocate(build_tables(objective), objective)
    np.testing.assert_array_equal(plans[0].result.qp_map, proposed)
    assert np.ptp(proposed) > 0
    assert plans[1].result.figures.bits < plans[0].result.figures.bits


def test_the_oracle_needs_a_mask() -> None:
    env = small_env(dataset=[Sample(texture((64, 64)), None, "bare")])
    reference = env.evaluator.reference(env.dataset[0])
    with pytest.raises(InvalidInputError, match=r"bare.*use search"):
        OracleAgent().plan(env.evaluator, reference, 32)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("search", "search:50"),
        ("search:ten", "search:50"),
        ("search:2", "Least: 6"),
        ("roi+refine:0", "Least: 1"),
        ("roi+sample:0", "Least: 1"),
        ("roi+refine:", "search:50"),
        ("rio+refine:5", "Did you mean 'roi'"),
    ],
)
def test_specs_that_are_off(env: CodingEnv, spec: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make_agent(spec, env.evaluator)


def test_the_belief_is_the_posterior_only_for_the_network_it_was_fitted_for() -> None:
    own = small_env()
    own.reset(options={"sample": 0})
    np.testing.assert_array_equal(
        PosteriorCache(vesselness)(own.reference), own.reference.importance
    )
    shipped = small_env(segmenter=load_segmenter())
    shipped.reset(options={"sample": 0})
    posterior = PosteriorCache(shipped.evaluator.segmenter)(shipped.reference)
    assert posterior.shape == shipped.reference.importance.shape
    assert np.abs(posterior - shipped.reference.importance).max() > 0.1
