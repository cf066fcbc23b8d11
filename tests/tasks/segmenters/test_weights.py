from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from dmic_gym.errors import InvalidInputError, WeightsError
from dmic_gym.tasks.segmenters.architectures import build
from dmic_gym.tasks.segmenters.network import load_segmenter
from dmic_gym.tasks.segmenters.weights import (
    Card,
    apply_weights,
    find_weights,
    load_weights,
    read_card,
    save_weights,
    shipped_names,
)


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"a": torch.randn(3, 4, generator=generator), "b": torch.arange(5)}


def saved(folder: Path, half: bool = False) -> Path:
    card = Card("toy", "toy", {"width": 3}, ["made up"], "make toy", 7, {}, {"dice": 0.5}, ["x"])
    return save_weights(tensors(), card, folder, half=half)


def test_round_trip_keeps_every_bit_and_the_card(tmp_path: Path) -> None:
    path = saved(tmp_path)
    loaded, card = load_weights(path)
    assert all(torch.equal(loaded[name], value) for name, value in tensors().items())
    assert (card.name, card.arguments, card.seed, card.notes) == ("toy", {"width": 3}, 7, ["x"])
    assert card == read_card(path)
    assert {p.name for p in tmp_path.iterdir()} == {"toy.safetensors", "toy.json"}


def test_same_tensors_same_hash(tmp_path: Path) -> None:
    first, second = saved(tmp_path / "1"), saved(tmp_path / "2")
    assert load_weights(first)[1].sha256 == load_weights(second)[1].sha256


def test_half_precision_keeps_integers_and_vectors(tmp_path: Path) -> None:
    loaded, _ = load_weights(saved(tmp_path, half=True))
    original = tensors()
    assert torch.equal(loaded["a"], original["a"].half().float())
    assert not torch.equal(loaded["a"], original["a"])
    assert torch.equal(loaded["b"], original["b"])


def test_tensors_that_share_memory_are_stored(tmp_path: Path) -> None:
    whole = torch.arange(6.0)
    path = save_weights({"x": whole, "y": whole[2:]}, Card("s", "s"), tmp_path)
    assert torch.equal(load_weights(path)[0]["y"], whole[2:])


@pytest.mark.parametrize("place", [20, 200, -1])
def test_a_tampered_file_is_refused(tmp_path: Path, place: int) -> None:
    path = saved(tmp_path)
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(WeightsError, match="SHA-256"):
        load_weights(path)


def test_a_file_that_is_no_safetensors_is_refused_even_with_its_hash(tmp_path: Path) -> None:
    path = saved(tmp_path)
    path.write_bytes(b"\x80\x04junk")
    card = json.loads(path.with_suffix(".json").read_text())
    card["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(WeightsError, match="not a safetensors file"):
        load_weights(path)


def test_a_missing_or_broken_card_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    path.with_suffix(".json").write_text('{"name": "toy"}')
    with pytest.raises(WeightsError, match="not a card"):
        load_weights(path)
    path.with_suffix(".json").unlink()
    with pytest.raises(WeightsError, match="cannot be read"):
        load_weights(path)


def test_names_and_paths(tmp_path: Path) -> None:
    path = saved(tmp_path)
    assert find_weights("toy", tmp_path) == find_weights(str(path)) == path
    assert shipped_names(tmp_path) == ["toy"]
    with pytest.raises(InvalidInputError, match="Did you mean 'toy'"):
        find_weights("toyy", tmp_path)
    with pytest.raises(WeightsError, match="no such weights file"):
        find_weights(tmp_path / "other.safetensors")


def test_weights_must_fit_the_network() -> None:
    layer = nn.Linear(4, 3)
    good = {name: torch.zeros_like(value) for name, value in layer.state_dict().items()}
    apply_weights(layer, good, "toy")
    assert float(layer.weight.detach().abs().sum()) == 0.0
    with pytest.raises(WeightsError, match="bias is missing"):
        apply_weights(layer, {"weight": good["weight"]}, "toy")
    with pytest.raises(WeightsError, match="extra is unknown"):
        apply_weights(layer, good | {"extra": torch.zeros(1)}, "toy")
    with pytest.raises(WeightsError, match=r"weight is \(3, 5\), expected \(3, 4\)"):
        apply_weights(layer, good | {"weight": torch.zeros(3, 5)}, "toy")


@pytest.mark.parametrize(
    "change", [{"sha256": 5}, {"architecture": ["unet"]}, {"arguments": 3}, {"name": None}]
)
def test_a_card_of_other_types_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    card = saved(tmp_path).with_suffix(".json")
    card.write_text(json.dumps(json.loads(card.read_text()) | change))
    with pytest.raises(WeightsError, match="not a card"):
        load_weights(card)


def test_a_card_nested_without_end_is_refused(tmp_path: Path) -> None:
    card = saved(tmp_path).with_suffix(".json")
    card.write_text("[" * 100_000)
    with pytest.raises(WeightsError, match="not a card"):
        read_card(card)


@pytest.mark.parametrize(
    "arguments",
    [
        {"channels": [10**6, 10**6]},
        {"channels": []},
        {"channels": [2, -4]},
        {"channels": [2, 4], "dilations": [10**9]},
        {"channels": [2, 4], "dropout": 7},
    ],
)
def test_what_a_card_asks_for_is_checked_before_memory_is_taken(
    tmp_path: Path, arguments: dict[str, object]
) -> None:
    state = build("unet", {"channels": [2, 4], "dilations": [1]}).state_dict()
    path = save_weights(state, Card("small", "unet", arguments), tmp_path)
    with pytest.raises(WeightsError):
        load_segmenter(path, "cpu")
