"""The programs under examples/ run as a user would run them."""

from __future__ import annotations

import importlib
import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dmic_gym.agents.baselines import Agent
from dmic_gym.envs.settings import DEFAULT_QP_OFFSETS
from tests.agents.policies import SETTINGS
from tests.support import ROOT, play, small_env

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
OWN_AGENT = ROOT / "examples" / "own_agent.py"


def test_an_agent_of_ones_own_takes_30_lines() -> None:
    assert OWN_AGENT in EXAMPLES
    assert len(OWN_AGENT.read_text().splitlines()) <= 32


@pytest.mark.slow
def test_it_trains_saves_and_benches(tmp_path: Path) -> None:
    (tmp_path / "examples").mkdir()
    shutil.copy(OWN_AGENT, tmp_path / "examples")
    command = [sys.executable, "examples/own_agent.py", "200"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    results = json.loads((tmp_path / "dmic-bench" / "results.json").read_text())
    names = ["anchor", "own_agent.zip", "examples.own_agent:ThriftyAgent"]
    assert list(results["agents"]) == names


def test_own_weights_are_loaded_mapped_or_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main = runpy.run_path(str(ROOT / "examples" / "own_weights.py"))["main"]
    main(tmp_path, gym.make("CodingEnv-v0", **SETTINGS))
    printed = capsys.readouterr().out
    for words in (
        "trained 2.7% of the parameters; loaded again, the same actions: [",
        "0 of the policy's 32 tensors fit",
        "They do with key_map={'^net\\\\.': ''}: the same actions.",
        "action_net.bias has shape (7,), the policy's has (13,)",
        "a plain pickle can run code",
        "refused, and nothing in it was run",
    ):
        assert words in printed


def test_its_agent_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    kind: Any = importlib.import_module("examples.own_agent").ThriftyAgent
    agent = kind()
    assert isinstance(kind(), Agent)
    for importance, offset in ((0, 6), (255, 0)):
        action = agent.predict({"ctu": np.full((2, 64, 64), importance, np.uint8)})
        assert DEFAULT_QP_OFFSETS[action] == offset
    env = small_env()
    _, info = play(env, agent.predict, options={"sample": 0, "base_qp": 27})
    assert set(info["qp_map"].ravel()) <= {27, 33}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_compiles(path: Path) -> None:
    compile(path.read_text(), str(path), "exec")
