from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize

from dmic_gym.agents.policy import shipped
from dmic_gym.agents.policy.card import PolicyMismatchWarning
from dmic_gym.agents.policy.loading import load_policy, save_policy
from dmic_gym.agents.policy.trunk import DMICPolicy
from dmic_gym.errors import InvalidInputError, WeightsError
from dmic_gym.tasks.segmenters.weights import read_card
from tests.agents.policies import SETTINGS, same, small_model, small_vec, tensors_of

TRUNK = "features_extractor."


class OwnPolicy(DMICPolicy):
    pass


def saved(folder: Path, model: A2C | None = None, name: str = "mine") -> Path:
    return save_policy(
        model or small_model(seed=3),
        folder,
        name,
        data=["two phantoms"],
        command="dmic pretrain --steps 8",
        metrics={"reward": 0.25},
        notes=["A test."],
    )


def test_load_learn_save_load_same_actions(tmp_path: Path) -> None:
    model = small_model(seed=3)
    path = saved(tmp_path, model)
    loaded = load_policy(path, small_vec(), seed=0, n_steps=4, device="cpu")
    assert isinstance(loaded, A2C)
    assert same(loaded.policy, model.policy)
    loaded.learn(50)
    assert not same(loaded.policy, model.policy)
    again = load_policy(saved(tmp_path, loaded, "tuned"), small_vec(), device="cpu")
    observations: Any = small_vec().reset()
    one, other = (m.predict(observations, deterministic=True)[0] for m in (loaded, again))
    np.testing.assert_array_equal(one, other)
    loaded.save(tmp_path / "model")
    whole = A2C.load(tmp_path / "model", device="cpu")
    np.testing.assert_array_equal(whole.predict(observations, deterministic=True)[0], one)


def test_the_card_says_what_it_is(tmp_path: Path) -> None:
    card = read_card(saved(tmp_path))
    assert (card.name, card.architecture, card.seed) == ("mine", "DMICPolicy", 3)
    assert card.data == ["two phantoms"]
    assert card.command == "dmic pretrain --steps 8"
    assert card.metrics == {"reward": 0.25}
    assert card.versions["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert card.versions.keys() >= {"python", "dmic_gym", "stable-baselines3", "av"}
    assert card.arguments["policy_kwargs"] == {}
    assert card.arguments["qp_offsets"] == list(small_vec().env.qp_offsets)
    assert card.arguments["observation"]["ctu"] == {"shape": [2, 64, 64], "dtype": "uint8"}
    assert len(card.sha256) == 64


def test_a_shared_trunk_is_stored_once_and_restored_thrice(tmp_path: Path) -> None:
    path = saved(tmp_path)
    names = load_file(path).keys()
    assert not [name for name in names if name.startswith(("pi_", "vf_"))]
    assert len(names) == len({id(p) for p in small_model().policy.parameters()})
    policy = load_policy(path, small_vec(), device="cpu").policy
    state = policy.state_dict()
    for name in names:
        if name.startswith(TRUNK):
            assert torch.equal(state["pi_" + name], state[name])
            assert torch.equal(state["vf_" + name], state[name])


def test_the_policy_is_built_as_it_was(tmp_path: Path) -> None:
    kwargs = {"net_arch": {"pi": [8], "vf": [16]}, "activation_fn": torch.nn.Tanh}
    model = small_model(policy="MultiInputPolicy", policy_kwargs=kwargs)
    loaded = load_policy(saved(tmp_path, model), small_vec(), device="cpu", algorithm=PPO)
    assert isinstance(loaded, PPO)
    assert same(loaded.policy, model.policy)
    assert any(isinstance(part, torch.nn.Tanh) for part in loaded.policy.modules())
    card = json.loads((tmp_path / "mine.json").read_text())
    card["arguments"]["policy_kwargs"]["activation_fn"] = "os:system"
    (tmp_path / "mine.json").write_text(json.dumps(card))
    with pytest.raises(WeightsError, match="os:system"):
        load_policy(tmp_path / "mine.safetensors", small_vec(), device="cpu")


def test_a_policy_of_ones_own(tmp_path: Path) -> None:
    path = saved(tmp_path, small_model(policy=OwnPolicy))
    with pytest.raises(WeightsError, match="policy=OwnPolicy"):
        load_policy(path, small_vec())
    loaded = load_policy(path, small_vec(), policy=OwnPolicy, device="cpu")
    assert isinstance(loaded.policy, OwnPolicy)
    with pytest.raises(InvalidInputError, match="Did you mean 'DMICPolicy'"):
        load_policy(path, small_vec(), policy="DMIPolicy")


@pytest.mark.parametrize("kind", ["gym", "dummy", "monitor"])
def test_any_environment_of_stable_baselines(kind: str, tmp_path: Path) -> None:
    env: Any = gym.make("CodingEnv-v0", **SETTINGS)
    if kind == "dummy":
        env = DummyVecEnv([partial(gym.make, "CodingEnv-v0", **SETTINGS)])
    elif kind == "monitor":
        env = VecMonitor(small_vec())
    model = load_policy(saved(tmp_path), env, device="cpu", n_steps=4)
    model.learn(8)
    assert model.num_timesteps >= 8


def test_another_environment_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    with pytest.raises(InvalidInputError, match=r"qp_offsets=\(-10, -6, -3, 0, 3,.*29\)"):
        load_policy(path, small_vec(qp_offsets=(-3, 0, 3)))
    fewer: Any = gym.wrappers.TransformAction(
        gym.make("CodingEnv-v0", **SETTINGS), int, gym.spaces.Discrete(5)
    )
    with pytest.raises(InvalidInputError, match="other QP offsets"):
        load_policy(path, fewer)
    less = gym.wrappers.FilterObservation(gym.make("CodingEnv-v0", **SETTINGS), ["ctu", "features"])
    with pytest.raises(InvalidInputError, match=r"'frame' = uint8 \(2, 64, 64\).*absent"):
        load_policy(path, less)
    with pytest.raises(InvalidInputError, match=r"make_sb3_vec\(\), got CodingVectorEnv"):
        load_policy(path, small_vec().env)  # type: ignore[arg-type]


def test_another_ctu_size_or_meaning_of_the_actions_is_told_or_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    shifted = tuple(range(-6, 7))  # as many, with another meaning
    for env, words in (
        (small_vec(ctu_size=32), r"mine.* trained for CTU 64 and is used at CTU 32"),
        (gym.make("CodingEnv-v0", qp_offsets=shifted, **SETTINGS), "for other QP offsets"),
    ):
        with pytest.warns(PolicyMismatchWarning, match=words):
            load_policy(path, env, device="cpu")
        with pytest.raises(InvalidInputError, match=words):
            load_policy(path, env, strict=True)


def test_a_critic_that_was_never_trained_is_not_in_the_file(tmp_path: Path) -> None:
    model = small_model(seed=3)
    path = save_policy(model, tmp_path, "mine", critic=False)
    assert not [name for name in load_file(path) if "value_net" in name]
    assert read_card(path).arguments["critic"] is False
    loaded = load_policy(path, small_vec(), device="cpu", seed=9)
    fresh, state = small_model(seed=9).policy.state_dict(), loaded.policy.state_dict()
    for name, tensor in model.policy.state_dict().items():
        assert torch.equal(state[name], fresh[name] if "value_net" in name else tensor)
    card = json.loads(path.with_suffix(".json").read_text())
    card["arguments"]["critic"] = True
    path.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(WeightsError, match="4 missing: mlp_extractor"):
        load_policy(path, small_vec())


def test_normalised_observations_cannot_be_saved(tmp_path: Path) -> None:
    env = VecNormalize(small_vec(), norm_obs_keys=["features"])
    with pytest.raises(InvalidInputError, match="norm_obs=False"):
        saved(tmp_path, small_model(env=env))
    assert saved(tmp_path, small_model(env=VecNormalize(small_vec(), norm_obs=False))).is_file()


def test_names_of_shipped_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model(seed=3)
    saved(tmp_path, model)
    monkeypatch.setattr(shipped, "SHIPPED_POLICIES", tmp_path)
    assert same(load_policy("mine", small_vec(), device="cpu").policy, model.policy)
    with pytest.raises(InvalidInputError, match="Did you mean 'mine'"):
        load_policy("mina", small_vec())


@pytest.mark.parametrize("kind", ["state_dict", "nested", "safetensors", "sb3"])
def test_files_without_a_card(kind: str, tmp_path: Path) -> None:
    model = small_model(seed=3)
    tensors = tensors_of(model.policy)
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.zip")
    if kind == "sb3":
        model.save(path)
    elif kind == "safetensors":
        save_file(tensors, path)
    else:
        torch.save({"epoch": 1, "state_dict": tensors} if kind == "nested" else tensors, path)
    loaded = load_policy(path, small_vec(), device="cpu")
    assert same(loaded.policy, model.policy)


def foreign(folder: Path, model: A2C) -> Path:
    """A state_dict in which trunk and head have other names."""
    named = {
        (f"net.enc.{name.removeprefix(TRUNK)}" if name.startswith(TRUNK) else f"rl.{name}"): tensor
        for name, tensor in tensors_of(model.policy).items()
        if not name.startswith(("pi_", "vf_"))
    }
    torch.save(named, folder / "foreign.pt")
    return folder / "foreign.pt"


def test_a_key_map(tmp_path: Path) -> None:
    model = small_model(seed=3)
    path = foreign(tmp_path, model)
    table = {r"^net\.enc\.": TRUNK, r"^rl\.": ""}
    assert same(load_policy(path, small_vec(), key_map=table, device="cpu").policy, model.policy)
    with pytest.raises(WeightsError, match="0 of the policy's") as raised:
        load_policy(path, small_vec(), partial=True)  # nothing matching raises all the same
    assert r'key_map={"^net\\.enc\\.": "features_extractor."}' in str(raised.value)
    partial = {r"^net\.enc\.": TRUNK}
    with pytest.raises(WeightsError, match="8 missing: mlp_extractor") as raised:
        load_policy(path, small_vec(), key_map=partial)
    assert r'key_map={"^rl\\.": ""}. To load what fits, pass partial=True.' in str(raised.value)


def test_what_fits_is_loaded_with_a_warning(tmp_path: Path) -> None:
    model = small_model(seed=3)
    tensors = tensors_of(model.policy)
    tensors["action_net.weight"] = torch.zeros(3, 32)
    del tensors["value_net.bias"]
    torch.save(tensors | {"stray": torch.zeros(1)}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"action_net\.weight has shape \(3, 32\)"):
        load_policy(tmp_path / "w.pt", small_vec())
    with pytest.warns(UserWarning, match="1 missing: value_net.bias"):
        loaded = load_policy(tmp_path / "w.pt", small_vec(), partial=True, device="cpu", seed=8)
    state, fresh = loaded.policy.state_dict(), small_model(seed=8).policy.state_dict()
    for name in state:
        if name in ("action_net.weight", "value_net.bias"):
            assert torch.equal(state[name], fresh[name])
        else:
            assert torch.equal(state[name], tensors[name])


def test_a_damaged_file_or_a_card_of_something_else(tmp_path: Path) -> None:
    path = saved(tmp_path)
    card = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(card | {"arguments": {"width": 16}}))
    with pytest.raises(WeightsError, match="not a policy's"):
        load_policy(path, small_vec())
    path.write_bytes(path.read_bytes()[:-4] + b"abcd")
    with pytest.raises(WeightsError, match="SHA-256"):
        load_policy(path, small_vec())
