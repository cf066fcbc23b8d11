from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmic_gym.agents.baselines import FixedOffsetAgent, RandomAgent, ROIAgent, nearest_action
from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.envs.settings import DEFAULT_QP_OFFSETS
from tests.support import small_env

INDEX = {offset: index for index, offset in enumerate(DEFAULT_QP_OFFSETS)}


def actions(env: CodingEnv, agent: Any, sample: int, base_qp: int) -> list[int]:
    observation, _ = env.reset(options={"sample": sample, "base_qp": base_qp})
    state, chosen, over = None, [], False
    while not over:
        action, state = agent.predict(observation, state=state)
        assert env.action_space.contains(action)
        chosen.append(action)
        observation, _, over, _, _ = env.step(action)
    return chosen


@given(
    st.lists(st.integers(-51, 51), min_size=1, unique=True).filter(lambda o: 0 in o),
    st.integers(-60, 60),
)
def test_the_nearest_action(offsets: list[int], wanted: int) -> None:
    found = offsets[nearest_action(offsets, wanted)]
    assert abs(found - wanted) == min(abs(offset - wanted) for offset in offsets)
    if wanted in offsets:
        assert found == wanted
    if wanted == 0:
        assert found == 0


def test_ties_go_to_the_lower_offset() -> None:
    assert nearest_action((-3, 0, 3), -2) == 0
    assert nearest_action((0, 2), 1) == 0
    assert nearest_action((2, 0), 1) == 1


@pytest.mark.parametrize(("offset", "used"), [(0, 0), (3, 3), (13, 12), (-40, -10), (99, 29)])
def test_a_fixed_offset(env: CodingEnv, offset: int, used: int) -> None:
    agent = FixedOffsetAgent(env.qp_offsets, offset)
    assert actions(env, agent, 0, 27) == [INDEX[used]] * 9


def test_the_random_agent_depends_on_image_and_qp_but_not_on_order(env: CodingEnv) -> None:
    cells = list(itertools.product(range(3), (22, 37)))
    agent = RandomAgent(env.qp_offsets)
    forwards = {cell: actions(env, agent, *cell) for cell in cells}
    backwards = {cell: actions(env, agent, *cell) for cell in reversed(cells)}
    alone = {cell: actions(env, RandomAgent(env.qp_offsets), *cell) for cell in cells}
    assert forwards == backwards == alone
    assert len({tuple(chosen) for chosen in forwards.values()}) == len(cells)


def test_the_random_agent_is_uniform_and_seeded(env: CodingEnv) -> None:
    small = small_env(ctu_size=16, reward="linear")
    agent = RandomAgent(small.qp_offsets)
    chosen = [a for n in range(3) for qp in (22, 27, 32) for a in actions(small, agent, n, qp)]
    counts = np.bincount(chosen, minlength=13)
    assert len(chosen) == 729
    assert (counts > 56 - 4 * 7.2).all()
    assert (counts < 56 + 4 * 7.2).all()
    one, other = (actions(env, RandomAgent(env.qp_offsets, seed), 0, 22) for seed in (0, 1))
    assert one != other


@pytest.mark.parametrize("ctu_size", [64, 16])
def test_roi_keeps_what_the_segmenter_sees(ctu_size: int) -> None:
    env = small_env(ctu_size=ctu_size, reward="linear")
    for sample in range(3):
        actions(env, ROIAgent(env.qp_offsets), sample, 27)
        seen = env.reference.importance >= 0.5
        qps = env.qp_map
        rows, cols = qps.shape
        for row, col in itertools.product(range(rows), range(cols)):
            block = seen[
                row * ctu_size : (row + 1) * ctu_size, col * ctu_size : (col + 1) * ctu_size
            ]
            assert qps[row, col] == (27 if block.any() else 39)
    assert len(np.unique(qps)) == 2 or ctu_size == 64


def test_roi_settings(env: CodingEnv) -> None:
    assert set(actions(env, ROIAgent(env.qp_offsets, threshold=0.0), 0, 27)) == {INDEX[0]}
    never = ROIAgent(env.qp_offsets, background_offset=20, threshold=1.1)
    assert set(actions(env, never, 0, 27)) == {INDEX[21]}
