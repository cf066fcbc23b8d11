"""Tensors of other names and shapes: renamed, reported, refused."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from dmic_gym.agents.policy.loading import load_policy, save_policy
from dmic_gym.agents.policy.matching import copy_tensors, rename, suggest
from dmic_gym.errors import InvalidInputError, WeightsError
from tests.agents.policies import same, small_model, small_vec, tensors_of

TENSORS = {name: torch.ones(1) for name in ("module.enc.0.weight", "module.head", "ema.head")}
TABLE = {r"^module\.enc\.(\d+)": r"trunk.\1", r"^module\.": "", "^ema.*": ""}


def test_the_first_rule_that_is_found_decides() -> None:
    assert list(rename(TENSORS, TABLE)) == ["trunk.0.weight", "head"]
    assert list(rename(TENSORS, None)) == list(TENSORS)


def test_two_tensors_with_one_name() -> None:
    with pytest.raises(WeightsError, match=r"'module\.head' and 'ema\.head' the same name 'head'"):
        rename(TENSORS, {r"^(module|ema)\.": ""})


@pytest.mark.parametrize("table", [{"(": "x"}, {"head": r"\9"}, {"head": None}, "map.json", [1]])
def test_tables_that_are_none(table: Any) -> None:
    with pytest.raises(InvalidInputError, match="no table of regular expressions"):
        rename(TENSORS, table)


def test_a_rule_is_suggested_only_where_shapes_agree() -> None:
    own = {"features.0.weight": torch.ones(2, 3), "features.0.bias": torch.ones(2)}
    file = {"net.enc.0.weight": torch.ones(2, 3), "net.enc.0.bias": torch.ones(2)}
    rule = suggest(own, file)
    assert rule == {r"^net\.enc\.": "features."}
    assert rename(file, rule).keys() == own.keys()
    assert suggest(own, {name: torch.ones(9) for name in file}) == {}


def test_an_exact_load_warns_of_nothing(tmp_path: Path) -> None:
    model = small_model(seed=3)
    path = save_policy(model, tmp_path, "mine")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(load_policy(path, small_vec(), device="cpu").policy, model.policy)


def test_refused_loads_leave_the_policy_alone() -> None:
    given, policy = tensors_of(small_model(seed=3).policy), small_model(seed=4).policy
    before = tensors_of(policy)
    trunk = next(name for name, _ in policy.features_extractor.named_parameters())
    bad: dict[str, torch.Tensor] = {
        "action_net.bias": torch.full((13,), torch.nan),
        "value_net.bias": torch.zeros(1, dtype=torch.int64),
        f"vf_features_extractor.{trunk}": torch.ones_like(before[f"features_extractor.{trunk}"]),
    }
    for name, tensor in bad.items():
        with pytest.raises(WeightsError, match=r"NaN|int64|differs from its copy"):
            copy_tensors(policy, given | {name: tensor}, "w.pt")
    assert all(torch.equal(before[name], t) for name, t in policy.state_dict().items())


def test_what_fits_is_told() -> None:
    tensors = tensors_of(small_model(seed=3).policy)
    count = len(list(small_model().policy.parameters()))
    tensors["action_net.weight"] = torch.zeros(3, 32)
    del tensors["value_net.bias"]
    report = copy_tensors(
        small_model().policy, tensors | {"stray": torch.zeros(1)}, "w.pt", partial=True
    )
    assert report.splitlines() == [
        f"w.pt: {count - 2} of the policy's {count} tensors fit",
        "  1 missing: value_net.bias",
        "  1 unexpected: stray",
        "  1 mismatched: action_net.weight has shape (3, 32), the policy's has (13, 32)",
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_tensor_of_a_huge_shape_is_not_made(dtype: torch.dtype, tmp_path: Path) -> None:
    """A stride of 0 makes one number look like terabytes."""
    tensors: dict[str, torch.Tensor] = tensors_of(small_model().policy)
    tensors["action_net.weight"] = torch.zeros(1, dtype=dtype).expand(1 << 20, 1 << 20)
    torch.save(tensors, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"has shape \(1048576, 1048576\)"):
        load_policy(tmp_path / "w.pt", small_vec())


def test_half_precision_is_widened(tmp_path: Path) -> None:
    halves = {name: t.half() for name, t in tensors_of(small_model(seed=3).policy).items()}
    torch.save(halves, tmp_path / "w.pt")
    state = load_policy(tmp_path / "w.pt", small_vec(), device="cpu").policy.state_dict()
    assert all(torch.equal(state[name], half.float()) for name, half in halves.items())
