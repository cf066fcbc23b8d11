from __future__ import annotations

import gc
import pickle
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from dmic_gym.agents.policy.freeze import (
    PartialFreezeCallback,
    PolicyParts,
    frozen_but,
    keep_in_eval,
    trainable_share,
)
from dmic_gym.agents.policy.network import HEAD
from dmic_gym.agents.policy.trunk import DMICPolicy
from dmic_gym.errors import FreezeError, InvalidInputError
from tests.agents.policies import small_model, small_vec, tensors_of

SETTINGS: dict[Any, dict[str, Any]] = {
    A2C: {"n_steps": 4},
    PPO: {"n_steps": 4, "batch_size": 4, "n_epochs": 2},
}


class LiveTrunk(BaseFeaturesExtractor):
    """Has all that follows the mode of training: BatchNorm, dropout, and a buffer of its own."""

    def __init__(self, observation_space: Any) -> None:
        super().__init__(observation_space, 8)
        size = observation_space["features"].shape[0]
        self.layers = nn.Sequential(nn.Linear(size, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))
        self.register_buffer("mask", torch.ones(8), persistent=False)

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        output: Tensor = self.layers(observations["features"]) * self.mask
        return output


LIVE = {"policy": "MultiInputPolicy", "policy_kwargs": {"features_extractor_class": LiveTrunk}}


def made(algorithm: Any, **arguments: Any) -> Any:
    settings: dict[str, Any] = {"policy": DMICPolicy, "env": small_vec(), "seed": 0}
    return algorithm(**(settings | SETTINGS[algorithm] | arguments), device="cpu")


def trained_names(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}


@pytest.mark.parametrize("algorithm", [A2C, PPO])
@pytest.mark.parametrize("policy", [{}, LIVE])
def test_the_head_learns_and_the_rest_stays(algorithm: Any, policy: dict[str, Any]) -> None:
    model = made(algorithm, **policy)
    before = tensors_of(model.policy)
    callback = PartialFreezeCallback()
    model.learn(32, callback)
    changed = trained_names(before, tensors_of(model.policy))
    head = {name for name in before if name.startswith(HEAD)}
    assert changed == head
    assert callback.share == trainable_share(model.policy)
    if not policy:
        assert 0.026 <= callback.share <= 0.028
    assert all(parameter.requires_grad for parameter in model.policy.parameters())


def test_without_the_callback_the_live_trunk_would_change() -> None:
    """What the freeze has to hold back: gradients and BatchNorm's statistics."""
    model = made(A2C, **LIVE)
    before = tensors_of(model.policy)
    model.policy.features_extractor.requires_grad_(False)
    model.learn(16)
    changed = trained_names(before, tensors_of(model.policy))
    assert any("running_mean" in name for name in changed)
    assert not [name for name in changed if name.endswith("layers.0.weight")]


@pytest.mark.parametrize("algorithm", [A2C, PPO])
def test_save_load_learn(algorithm: Any, tmp_path: Path) -> None:
    model = made(algorithm, **LIVE)
    model.learn(16, PartialFreezeCallback())
    model.save(tmp_path / "model")
    loaded = algorithm.load(tmp_path / "model", env=small_vec(), device="cpu")
    before = tensors_of(loaded.policy)
    loaded.learn(16, PartialFreezeCallback())
    changed = trained_names(before, tensors_of(loaded.policy))
    assert changed
    assert all(name.startswith(HEAD) for name in changed)
    loaded.save(tmp_path / "again")
    last = algorithm.load(tmp_path / "again", env=small_vec(), device="cpu")
    before = tensors_of(last.policy)
    last.learn(32)  # without the callback, everything learns
    changed = trained_names(before, tensors_of(last.policy))
    assert any(name.startswith("features_extractor") for name in changed)


def test_the_same_learning_as_a_head_on_a_fixed_trunk() -> None:
    """A frozen trunk in eval: the same actions and the same head twice, dropout or not."""
    heads = []
    for _ in range(2):
        model = made(A2C, **LIVE)
        torch.manual_seed(5)
        model.learn(16, PartialFreezeCallback())
        heads.append(tensors_of(model.policy.action_net))
    assert all(torch.equal(heads[0][name], heads[1][name]) for name in heads[0])


class Spy(BaseCallback):
    """Keep a pickle of the policy and the trunk's mode from within training."""

    def __init__(self) -> None:
        super().__init__()
        self.pickled = b""

    def _on_step(self) -> bool:
        self.pickled = self.pickled or pickle.dumps(self.model.policy)
        return True


def test_a_policy_pickled_in_training_keeps_its_trunk_in_eval() -> None:
    spy = Spy()
    model = made(A2C, **LIVE)
    model.learn(8, CallbackList([PartialFreezeCallback(), spy]))
    policy = pickle.loads(spy.pickled)
    policy.train()
    statistics = tensors_of(policy.features_extractor)
    observations = {key: torch.as_tensor(v) for key, v in small_vec().reset().items()}
    first, second = (policy.extract_features(observations) for _ in range(2))
    assert torch.equal(first, second), "dropout is live"
    assert not trained_names(statistics, tensors_of(policy.features_extractor))
    model.policy.train()
    free = [model.policy.extract_features(observations) for _ in range(2)]
    assert not torch.equal(*free), "the freeze outlived learn()"


def test_parts_of_ones_own_choice() -> None:
    model = made(A2C)
    before = tensors_of(model.policy)
    parts = ("action_net", "features_extractor.merge.2")
    model.learn(16, PartialFreezeCallback(parts))
    changed = trained_names(before, tensors_of(model.policy))
    own = ("action_net.", "features_extractor.merge.2.")
    aliases = tuple(f"{who}_features_extractor.merge.2." for who in ("pi", "vf"))
    assert changed == {name for name in before if name.startswith(own + aliases)}


def test_an_alias_of_the_trunk_names_the_trunk() -> None:
    policy = small_model().policy
    whole = trainable_share(policy, ["features_extractor"])
    assert trainable_share(policy, ["vf_features_extractor"]) == whole
    assert whole + trainable_share(policy) == pytest.approx(1.0)
    assert trainable_share(policy, "features_extractor") == whole


def test_only_the_topmost_frozen_modules_are_kept_in_eval() -> None:
    policy = small_model().policy
    assert PolicyParts(policy).frozen_modules == [policy.features_extractor]
    trunk: Any = policy.features_extractor
    parts = PolicyParts(policy, [*HEAD, "features_extractor.merge"])
    assert parts.frozen_modules == [trunk.ctu, trunk.frame, trunk.decisions, trunk.survey]
    assert not [name for name in parts.frozen if "merge" in name or name.startswith(HEAD)]


def test_a_frozen_module_keeps_nothing_but_eval() -> None:
    layer = nn.Dropout(0.5)
    layer.register_forward_pre_hook(keep_in_eval)
    layer.train()
    assert torch.equal(layer(torch.ones(100)), torch.ones(100))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (("mlp_extracter",), "Did you mean 'mlp_extractor'"),
        (("mlp_extractor.policy_nett",), "Did you mean 'mlp_extractor.policy_net'"),
        (("mlp",), "Unknown part 'mlp'"),
        ((), "Nothing would be trained"),
        (("features_extractor.ctu.1",), "hold no parameters"),
    ],
)
def test_parts_that_are_none(parts: tuple[str, ...], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        made(A2C).learn(8, PartialFreezeCallback(parts))


class Meddler(BaseCallback):
    """Changes one bit of a frozen tensor."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def _on_step(self) -> bool:
        policy = self.model.policy
        tensor = dict([*policy.named_parameters(), *policy.named_buffers()])[self.name]
        with torch.no_grad():
            tensor.view(-1)[0] = torch.nextafter(tensor.view(-1)[0], torch.tensor(9.0))
        return True


@pytest.mark.parametrize("name", ["layers.1.running_var", "layers.0.weight", "mask"])
def test_one_bit_is_noticed(name: str) -> None:
    model = made(A2C, **LIVE)
    name = f"features_extractor.{name}"
    with pytest.raises(FreezeError, match=rf"changed in training: {name}\."):
        model.learn(8, CallbackList([PartialFreezeCallback(), Meddler(name)]))
    assert all(parameter.requires_grad for parameter in model.policy.parameters())


def test_a_with_block_freezes_for_other_training() -> None:
    policy: Any = small_model().policy
    optimizer = torch.optim.SGD(policy.parameters(), lr=0.1)
    observations: Any = {key: torch.as_tensor(v) for key, v in small_vec().reset().items()}

    def step() -> set[str]:
        before = tensors_of(policy)
        optimizer.zero_grad()
        logits = policy.get_distribution(observations).distribution.logits
        (logits[:, :1] + policy.predict_values(observations)).sum().backward()
        optimizer.step()
        return trained_names(before, tensors_of(policy))

    with frozen_but(policy, ["value_net"]):
        assert step() == {"value_net.weight", "value_net.bias"}
    with frozen_but(policy, None):
        assert any(name.startswith("features_extractor") for name in step())
    with pytest.raises(ZeroDivisionError), frozen_but(policy, HEAD):
        raise ZeroDivisionError
    assert all(parameter.requires_grad for parameter in policy.parameters())
    with pytest.raises(FreezeError, match="action_net"), frozen_but(policy, ["value_net"]):
        policy.action_net.bias.data.add_(1.0)


class Interruption(BaseCallback):
    def _on_step(self) -> bool:
        raise KeyboardInterrupt


class InterruptedUpdate(BaseCallback):
    """After the first update, as the second rollout begins."""

    def _on_rollout_start(self) -> None:
        if self.num_timesteps:
            raise KeyboardInterrupt

    def _on_step(self) -> bool:
        return True


def test_after_an_interruption() -> None:
    model, callback = made(A2C), PartialFreezeCallback()
    with pytest.raises(KeyboardInterrupt):
        model.learn(8, CallbackList([callback, Interruption()]))
    assert not any(p.requires_grad for p in model.policy.features_extractor.parameters())
    model.learn(8, callback)  # the same callback again ends both freezes
    assert all(parameter.requires_grad for parameter in model.policy.parameters())
    with pytest.raises(KeyboardInterrupt):
        model.learn(8, CallbackList([callback, Interruption()]))
    PartialFreezeCallback.release(model)
    assert all(parameter.requires_grad for parameter in model.policy.parameters())


@pytest.mark.parametrize("algorithm", [A2C, PPO])
@pytest.mark.parametrize("again", [True, False])
def test_after_an_interruption_a_plain_learn_trains_everything(algorithm: Any, again: bool) -> None:
    """The README's form keeps no reference to the callback."""
    model = made(algorithm, **LIVE)
    with pytest.raises(KeyboardInterrupt):
        model.learn(16, CallbackList([PartialFreezeCallback(), InterruptedUpdate()]))
    assert not any(p.requires_grad for p in model.policy.features_extractor.parameters())
    if again:
        before = tensors_of(model.policy)
        model.learn(16, callback=PartialFreezeCallback())
        changed = trained_names(before, tensors_of(model.policy))
        assert changed
        assert all(name.startswith(HEAD) for name in changed)
        assert all(parameter.requires_grad for parameter in model.policy.parameters())
    before = tensors_of(model.policy)
    model.learn(8)
    changed = trained_names(before, tensors_of(model.policy))
    assert any(name.startswith("features_extractor.layers.0") for name in changed)
    assert any("running_mean" in name for name in changed)
    assert all(parameter.requires_grad for parameter in model.policy.parameters())


def test_a_frozen_policy_can_be_forgotten() -> None:
    model = made(A2C)
    with pytest.raises(KeyboardInterrupt):
        model.learn(8, CallbackList([PartialFreezeCallback(), Interruption()]))
    gone = weakref.ref(model.policy)
    del model
    gc.collect()
    assert gone() is None


def test_what_was_frozen_before_is_so_afterwards() -> None:
    model = made(A2C)
    model.policy.value_net.requires_grad_(False)
    before = tensors_of(model.policy)
    model.learn(8, PartialFreezeCallback())
    assert "value_net.weight" in trained_names(before, tensors_of(model.policy))
    required = [n for n, p in model.policy.named_parameters() if not p.requires_grad]
    assert required == ["value_net.weight", "value_net.bias"]


class Kept(KVWriter):
    def __init__(self) -> None:
        self.values: list[dict[str, Any]] = []

    def write(self, key_values: dict[str, Any], *_: Any) -> None:
        self.values.append(dict(key_values))

    def close(self) -> None:
        pass


def test_the_share_is_in_every_line_of_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    model, kept, callback = made(A2C), Kept(), PartialFreezeCallback(verbose=1)
    model.set_logger(Logger(None, [kept]))
    model.learn(24, callback, log_interval=1)
    assert len(kept.values) == 3
    shares = [line["train/trainable_share"] for line in kept.values]
    np.testing.assert_array_equal(shares, callback.share)
    assert f"Training {callback.share:.2%} of the parameters" in capsys.readouterr().out
