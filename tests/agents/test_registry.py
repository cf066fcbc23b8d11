from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dmic_gym.agents.baselines import Agent, FixedOffsetAgent, RandomAgent, ROIAgent
from dmic_gym.agents.registry import AGENTS, make_agent
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
    assert isinstance(make_agent(name, env), kind)


@pytest.mark.parametrize("what", ["Own", "make", "ready"])
def test_a_class_a_function_or_an_object(module: str, what: str, env: CodingEnv) -> None:
    agent: Any = make_agent(f"{module}:{what}", env)
    assert isinstance(agent, Agent)
    assert agent.predict({})[0] == 5


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
    ],
)
def test_errors_say_what_to_type(module: str, spec: str, words: str, env: CodingEnv) -> None:
    with pytest.raises(InvalidInputError, match=words):
        make_agent(spec.replace("MODULE", module), env)


@pytest.mark.parametrize("name", [name for name in AGENTS if name != "oracle"])
def test_agents_are_deterministic_from_their_start(name: str, env: CodingEnv) -> None:
    def actions() -> list[int]:
        agent: Any = make_agent(name, env)
        observation, _ = env.reset(options={"sample": 1, "base_qp": 27})
        state, chosen, over = None, [], False
        while not over:
            action, state = agent.predict(observation, state=state, deterministic=True)
            chosen.append(int(action))
            observation, _, over, _, _ = env.step(np.int64(action))
        return chosen

    assert actions() == actions()
