"""One set of arguments for all environments, visible where a user looks for it."""

from __future__ import annotations

import inspect
from typing import Any, get_type_hints

import gymnasium as gym
import pytest

from dmic_gym import make_sb3_vec
from dmic_gym.codecs.base import Codec
from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.envs.map_env import CodingMapEnv
from dmic_gym.envs.settings import CodingArguments, CodingSettings
from dmic_gym.envs.vector_env import CodingVectorEnv
from dmic_gym.tasks.segmenters.network import NetworkSegmenter
from tests.support import phantoms, vesselness

SETTINGS = inspect.signature(CodingSettings).parameters


@pytest.mark.parametrize("make", [CodingEnv, CodingMapEnv, CodingVectorEnv, make_sb3_vec])
def test_a_signature_shows_every_argument_with_its_default(make: Any) -> None:
    shown = inspect.signature(make).parameters
    assert {name: shown[name].default for name in SETTINGS} == {
        name: parameter.default for name, parameter in SETTINGS.items()
    }
    assert "render_mode" in shown
    assert not any(p.kind is p.VAR_KEYWORD for p in shown.values())


def test_the_typed_arguments_are_the_settings() -> None:
    settings, arguments = (
        get_type_hints(one, localns={"Codec": Codec}) for one in (CodingSettings, CodingArguments)
    )
    assert {"dataset": settings["dataset"], **arguments} == {
        name: settings[name] for name in SETTINGS
    }


def test_an_argument_that_does_not_exist_is_named() -> None:
    with pytest.raises(TypeError, match="presset"):
        CodingEnv(presset="medium")  # type: ignore[call-arg]


@pytest.mark.parametrize("name", ["second", "tests.support:vesselness"])
def test_a_segmenter_by_name(name: str) -> None:
    env: Any = gym.make("CodingEnv-v0", dataset=phantoms(1, 40), segmenter=name, preset="ultrafast")
    segmenter = env.unwrapped.evaluator.segmenter
    assert segmenter is vesselness if ":" in name else isinstance(segmenter, NetworkSegmenter)
    observation, _ = env.reset(seed=0)
    assert observation["ctu"][1].any()
    env.close()
