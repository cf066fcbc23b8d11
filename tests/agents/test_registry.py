from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dmic_gym.agents.baselines import Agent, FixedOffsetAgent, RandomAgent, ROIAgent
from dmic_gym.agents.planning import SteppingPlanner
from dmic_gym.agents.registry import DESCRIPTIONS, as_planner, draws, make_agent
from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.errors import InvalidInputError

OWN = """
class Own:
    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        return 5, state

def make():
    return Own()

ready = Own()
number = 3.5

class Mute:
    pass

class Needy(Own):
    def __init__(self, required):
        pass
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module in the current folder, not on the path."""
    name = f"own_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return name


@pytest.mark.parametrize(
    ("name", "kind"), [("anchor", FixedOffsetAgent), ("random", RandomAgent), ("roi", ROIAgent)]
)
def test_names(name: str, kind: type, env: CodingEnv) -> None:
    planner = make_agent(name, env.evaluator)
    assert isinstance(planner, SteppingPlanner)
    assert isinstance(planner.agent, kind)


@pytest.mark.parametrize("what", ["Own", "make", "ready"])
def test_a_class_a_function_or_an_object(module: str, what: str, env: CodingEnv) -> None:
    planner = make_agent(f"{module}:{what}", env.evaluator)
    assert isinstance(planner, SteppingPlanner)
    assert isinstance(planner.agent, Agent)
    assert planner.agent.predict({})[0] == 5


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("ancor", "Unknown agent 'ancor'. Did you mean 'anchor'"),
        ("", "Unknown agent ''"),
        ("nowhere:Agent", "Cannot import 'nowhere'.*PYTHONPATH"),
        ("MODULE:Onw", "Did you mean 'Own'"),
        ("MODULE:Mute", "Mute without predict"),
        ("MODULE:number", "float without predict"),
        ("MODULE:", "module:object"),
        (":Own", "module:object"),
        ("roi:much", "roi:much.*Write roi, roi:6 or roi:12:0.3"),
        ("roi:6:0.3:1", "Write roi, roi:6 or roi:12:0.3"),
        ("roi:6:30", "outside 0..1"),
        ("anchor:3", "Write anchor"),
    ],
)
def test_errors_say_what_to_type(module: str, spec: str, words: str, env: CodingEnv) -> None:
    with pytest.raises(InvalidInputError, match=words):
        make_agent(spec.replace("MODULE", module), env.evaluator)


@pytest.mark.parametrize("name", ["anchor", "random", "roi", "roi:6:0.2", "table"])
def test_agents_are_deterministic_from_their_start(name: str, env: CodingEnv) -> None:
    def planned() -> list[list[int]]:
        reference = env.evaluator.reference(env.dataset[1])
        plan = make_agent(name, env.evaluator).plan(env.evaluator, reference, 27)
        assert plan.encodes == (12 if name == "table" else 1)
        qps: list[list[int]] = plan.result.qp_map.tolist()
        return qps

    assert planned() == planned()


@pytest.mark.parametrize("name", ["anchor", "random", "roi"])
def test_a_stepping_planner_does_what_the_agent_does_in_the_environment(
    name: str, env: CodingEnv
) -> None:
    planner = make_agent(name, env.evaluator)
    assert isinstance(planner, SteppingPlanner)
    for base_qp in (22, 47):
        observation, _ = env.reset(options={"sample": 2, "base_qp": base_qp})
        state, over = None, False
        while not over:
            action, state = planner.agent.predict(observation, state=state, deterministic=True)
            observation, _, over, _, _ = env.step(np.int64(action))
        assert env.result is not None
        plan = planner.plan(env.evaluator, env.reference, base_qp)
        assert plan.result.encoded.bitstream == env.result.encoded.bitstream


@pytest.mark.parametrize(
    ("spec", "offset", "threshold"), [("roi:6", 6, 0.5), ("roi:12:0.3", 12, 0.3), ("roi:7", 6, 0.5)]
)
def test_roi_takes_offset_and_threshold(
    spec: str, offset: int, threshold: float, env: CodingEnv
) -> None:
    reference = env.evaluator.reference(env.dataset[0])
    qps = make_agent(spec, env.evaluator).plan(env.evaluator, reference, 27).result.qp_map
    for (row, col), qp in np.ndenumerate(qps):
        block = reference.importance[64 * row : 64 * row + 64, 64 * col : 64 * col + 64]
        assert qp == (27 if (block >= threshold).any() else 27 + offset)


class Simple:
    """What one writes first."""

    def predict(self, observation: Any) -> int:
        return 5 if observation["features"].sum() > 0 else 3


class SimpleWithState:
    def predict(self, obs: Any) -> Any:
        return np.int64(5), None


@pytest.mark.parametrize("kind", [Simple, SimpleWithState])
def test_predict_of_the_observation_alone_is_an_agent(kind: Any, env: CodingEnv) -> None:
    planner = as_planner(kind(), env.qp_offsets)
    assert isinstance(planner, SteppingPlanner)
    assert isinstance(planner.agent, kind)
    plan = planner.plan(env.evaluator, env.evaluator.reference(env.dataset[0]), 30)
    assert set(plan.result.qp_map.ravel().tolist()) == {36}


def test_who_draws() -> None:
    assert all(draws(spec) for spec in ("random", "search:9", "roi+refine:2+recoded", "mine:Agent"))
    assert not any(draws(spec) for spec in ("anchor", "roi:6", "table", "oracle", "dmic"))
    assert {"table", "roi:N[:T]"} < DESCRIPTIONS.keys()


@pytest.mark.parametrize("action", [-1, 13, 2.5, None, "3", [1, 2]])
def test_an_action_that_is_no_index_is_refused(action: Any, env: CodingEnv) -> None:
    class Own:
        def predict(self, *_: Any, **__: Any) -> tuple[Any, None]:
            return action, None

    planner = as_planner(Own(), env.qp_offsets)
    with pytest.raises(InvalidInputError, match=r"Own.predict returned .* 0\.\.12"):
        planner.plan(env.evaluator, env.evaluator.reference(env.dataset[0]), 32)
