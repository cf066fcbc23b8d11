"""The programs under examples/ run as a user would run them."""

from __future__ import annotations

import importlib
import runpy
from pathlib import Path

import numpy as np
import pytest

from dmic_gym.agents.baselines import Agent
from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.envs.settings import DEFAULT_QP_OFFSETS, CodingSettings
from tests.support import ROOT, phantoms, play, small_env, vesselness

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
OWN_AGENT = ROOT / "examples" / "own_agent.py"


def test_an_agent_of_ones_own_takes_30_lines() -> None:
    assert OWN_AGENT in EXAMPLES
    assert len(OWN_AGENT.read_text().splitlines()) <= 32


def test_it_plays_an_episode(quick_defaults: None, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(OWN_AGENT), run_name="__main__")
    printed = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert 0 < float(printed["bits"]) <= float(printed["anchor_bits"])
    assert 0 <= float(printed["dice"]) <= 1
    assert "rate_saving" in printed["reward_terms"]


def test_own_weights_are_loaded_mapped_or_refused(
    quick_defaults: None, capsys: pytest.CaptureFixture[str]
) -> None:
    runpy.run_path(str(ROOT / "examples" / "own_weights.py"), run_name="__main__")
    printed = capsys.readouterr().out
    for words in (
        "trained 2.7% of the parameters; loaded again, the same actions: [",
        "0 of the policy's 29 tensors fit",
        "They do with key_map={'^net\\\\.': ''}: the same actions.",
        "action_net.bias has shape (7,), the policy's has (13,)",
        "a plain pickle can run code",
        "refused, and nothing in it was run",
    ):
        assert words in printed


@pytest.fixture
def quick_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without arguments, environments have small phantoms and a segmenter without weights."""
    defaults = CodingSettings.__init__.__kwdefaults__ or {}
    monkeypatch.setattr(CodingEnv.__init__, "__defaults__", (phantoms(2),))
    monkeypatch.setitem(defaults, "segmenter", vesselness)


def test_its_agent_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    agent = importlib.import_module("examples.own_agent").ThriftyAgent()
    assert isinstance(agent, Agent)
    for importance, offset in ((0, 6), (255, 0)):
        action, _ = agent.predict({"ctu": np.full((2, 64, 64), importance, np.uint8)})
        assert DEFAULT_QP_OFFSETS[action] == offset
    env = small_env()
    _, info = play(env, lambda seen: agent.predict(seen)[0], options={"sample": 0, "base_qp": 27})
    assert set(info["qp_map"].ravel()) <= {27, 33}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_compiles(path: Path) -> None:
    compile(path.read_text(), str(path), "exec")
