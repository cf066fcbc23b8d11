from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

from dmic_gym.agents.policy.loading import load_into, save_policy
from dmic_gym.errors import WeightsError
from tests.agents.policies import small_model, tensors_of


def test_an_exact_load_warns_of_nothing(tmp_path: Path) -> None:
    policy = small_model().policy
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = load_into(policy, save_policy(small_model(seed=3), tmp_path, "mine"))
    assert report.complete
    count = len(list(policy.parameters()))
    assert str(report).endswith(f"mine.safetensors: {count} of the policy's {count} tensors fit")


def test_refused_loads_leave_the_policy_alone(tmp_path: Path) -> None:
    model, policy = small_model(seed=3), small_model(seed=4).policy
    before = tensors_of(policy)
    trunk = next(name for name, _ in policy.features_extractor.named_parameters())
    bad: dict[str, torch.Tensor] = {
        "action_net.bias": torch.full((13,), torch.nan),
        "value_net.bias": torch.zeros(1, dtype=torch.int64),
        f"vf_features_extractor.{trunk}": torch.ones_like(before[f"features_extractor.{trunk}"]),
    }
    for name, tensor in bad.items():
        torch.save(tensors_of(model.policy) | {name: tensor}, tmp_path / "w.pt")
        with pytest.raises(WeightsError, match=r"NaN|int64|differs from its copy"):
            load_into(policy, tmp_path / "w.pt")
    assert all(torch.equal(before[name], t) for name, t in policy.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_tensor_of_a_huge_shape_is_not_made(dtype: torch.dtype, tmp_path: Path) -> None:
    """A stride of 0 makes one number look like terabytes."""
    tensors: dict[str, torch.Tensor] = tensors_of(small_model().policy)
    tensors["action_net.weight"] = torch.zeros(1, dtype=dtype).expand(1 << 20, 1 << 20)
    torch.save(tensors, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"has shape \(1048576, 1048576\)"):
        load_into(small_model().policy, tmp_path / "w.pt")


def test_half_precision_is_widened(tmp_path: Path) -> None:
    model, policy = small_model(seed=3), small_model(seed=4).policy
    halves = {name: tensor.half() for name, tensor in tensors_of(model.policy).items()}
    torch.save(halves, tmp_path / "w.pt")
    load_into(policy, tmp_path / "w.pt")
    state = policy.state_dict()
    assert all(torch.equal(state[name], half.float()) for name, half in halves.items())
