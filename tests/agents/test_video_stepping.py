from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3 import A2C

from dmic_gym.agents.baselines import full_agent
from dmic_gym.agents.policy.card import PolicyMismatchWarning
from dmic_gym.agents.video_registry import make_gop_planner
from dmic_gym.agents.video_stepping import GopSteppingPlanner
from dmic_gym.envs.settings import DEFAULT_QP_OFFSETS
from dmic_gym.envs.video_env import VideoCodingEnv
from dmic_gym.envs.video_evaluator import GopResult
from dmic_gym.errors import InvalidInputError
from tests.envs.video_support import moving_clip, small_evaluator

QP = 32
PLUS_3 = 4


class Varied:
    """An agent that looks at where it is: neighbours and levels get other offsets."""

    def predict(self, observation: Any, deterministic: bool = False) -> tuple[int, None]:
        seen = np.concatenate([observation["features"], observation["video"]])
        return int(1000 * seen.sum()) % 5, None


class Constant:
    def predict(self, observation: Any) -> int:
        return PLUS_3


class Wrong:
    def predict(self, observation: Any) -> int:
        return 99


def saved(path: Path) -> A2C:
    """A model as new, written to a file."""
    env = VideoCodingEnv([moving_clip(3)], segmenter=small_evaluator().segmenter, gop=3)
    model = A2C("MultiInputPolicy", env, seed=0, device="cpu")
    model.save(path)
    return model


def coded(spec: str) -> GopResult:
    evaluator = small_evaluator()
    (gop,) = moving_clip(3).gops(3)
    planner = make_gop_planner(spec, evaluator)
    return planner.plan(evaluator, evaluator.reference(gop), QP).result


def played(agent: Any, mode: Any = "hierarchical") -> GopResult:
    evaluator = small_evaluator()
    env = VideoCodingEnv(
        [moving_clip(3)],
        segmenter=evaluator.segmenter,
        ctu_size=32,
        preset="ultrafast",
        gop=3,
        mode=mode,
    )
    observation, _ = env.reset(options={"clip": 0, "start": 0, "base_qp": QP})
    over = False
    while not over:
        action, _ = agent.predict(observation, deterministic=True)
        observation, _, over, _, _ = env.step(action)
    assert env.result is not None
    return env.result


def test_an_agent_is_stepped_as_by_the_environment() -> None:
    found = coded(f"{__name__}:Varied")
    assert len(np.unique(found.qp_maps)) > 2
    assert found.bitstream == played(Varied()).bitstream


@pytest.mark.parametrize(("levels", "offset"), [("fc", 6), ("f", 3), ("c", 3), ("", 0)])
def test_levels_add_up_and_may_be_left_out(levels: str, offset: int) -> None:
    evaluator = small_evaluator()
    (gop,) = moving_clip(3).gops(3)
    frame, ctu = (full_agent(Constant()) if level in levels else None for level in "fc")
    planner = GopSteppingPlanner(frame, ctu, DEFAULT_QP_OFFSETS)
    found = planner.plan(evaluator, evaluator.reference(gop), QP).result
    assert np.unique(found.qp_maps).tolist() == [QP + offset]


@pytest.mark.parametrize(("mode", "spec"), [("frame", "levels:{}:"), ("ctu", "levels::{}")])
def test_a_policy_of_one_level_needs_no_other(mode: Any, spec: str, tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    model = saved(path)
    assert coded(spec.format(path)).bitstream == played(model, mode).bitstream


def test_a_policy_of_stable_baselines3_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    model = saved(path)
    assert coded(str(path)).bitstream == played(model).bitstream


def test_a_shipped_policy_sets_the_qps_of_ctus_alone() -> None:
    with pytest.warns(PolicyMismatchWarning, match="used at CTU 32"):
        named, spelled = coded("dmic"), coded("levels::dmic")
    assert named.bitstream == spelled.bitstream
    assert len(np.unique(named.qp_maps)) > 1


def test_a_wrong_action_is_named() -> None:
    with pytest.raises(InvalidInputError, match=r"Wrong.predict returned the action 99.*0\.\.12"):
        coded(f"{__name__}:Wrong")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("levels:one.zip", "Write levels:frame.zip:ctu.zip"),
        ("levels:anchor:roi", "'anchor' is no policy"),
        ("mlp", "Unknown agent of clips 'mlp'"),
    ],
)
def test_policies_that_are_off(spec: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make_gop_planner(spec, small_evaluator())
