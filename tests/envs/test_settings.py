"""One set of arguments for all environments, visible where a user looks for it."""

from __future__ import annotations

import inspect
from typing import Any, get_type_hints

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import Subset

from dmic_gym import make_sb3_vec
from dmic_gym.codecs import X265Codec
from dmic_gym.codecs.base import Codec
from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.envs.map_env import CodingMapEnv
from dmic_gym.envs.settings import CodingArguments, CodingSettings
from dmic_gym.envs.vector_env import CodingVectorEnv
from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.registry import Task, find_task
from dmic_gym.tasks.segmenters.network import NetworkSegmenter
from tests.support import phantoms, play, small_env, vesselness

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


class Narrow(X265Codec):
    """A codec that has fewer QPs."""

    qp_range = (10, 40)


def test_the_range_of_qps_is_the_codecs() -> None:
    codec = Narrow(64, "ultrafast")
    env = small_env(codec=codec, dataset=phantoms(1, 130), base_qps=(32,))
    actions = iter([0, 12] * 5)
    reward, info = play(env, lambda _: next(actions), options={"base_qp": 15})
    assert (info["qp_map"].min(), info["qp_map"].max()) == (10, 40)
    assert np.isfinite(reward)
    with pytest.raises(InvalidInputError, match=r"base_qp=41 is outside 10\.\.40. Nearest: 40"):
        env.reset(options={"base_qp": 41})
    with pytest.raises(InvalidInputError, match="Nearest: 40"):
        small_env(codec=codec, base_qps=(47,))
    with pytest.raises(InvalidInputError, match=r"within -30\.\.30"):
        small_env(codec=codec, qp_offsets=(0, 31))


def test_a_task_gives_training_images_and_segmenter() -> None:
    env = small_env(task="phantoms", dataset=None, segmenter=None)
    assert len(env.dataset) == len(find_task("phantoms").load_data("train"))
    assert isinstance(env.evaluator.segmenter, NetworkSegmenter)
    own = Task("mine", test=phantoms(1), train=phantoms(2), segmenter=vesselness)
    env = small_env(task=own, dataset=None, segmenter=None)
    assert len(env.dataset) == 2
    assert env.evaluator.segmenter is vesselness
    env = small_env(task="arcade", dataset=phantoms(3))
    assert (len(env.dataset), env.evaluator.segmenter) == (3, vesselness)
    with pytest.raises(InvalidInputError, match="Did you mean 'phantoms'"):
        small_env(task="phantom")
    with pytest.raises(InvalidInputError, match="split"):
        small_env(task=Task("mine", test=phantoms(1)), dataset=None)


def test_pairs_and_torch_data_sets_are_data_sets() -> None:
    pairs = [(sample.image, sample.mask) for sample in phantoms(3, 64)]

    class Torch(TorchDataset[Any]):
        def __len__(self) -> int:
            return len(pairs)

        def __getitem__(self, index: int) -> Any:
            return torch.tensor(pairs[index][0]), torch.tensor(pairs[index][1])

    for data in (pairs, Torch(), Subset(Torch(), [2, 0])):
        env = small_env(dataset=data, reward="linear")
        _, info = play(env, lambda _: 3, options={"sample": 0})
        assert 0 <= info["dice"] <= 1
        env.close()
