from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from dmic_gym.agents.policy.key_map import rename, suggest
from dmic_gym.errors import InvalidInputError, WeightsError

TENSORS = {name: torch.ones(1) for name in ("module.enc.0.weight", "module.head", "ema.head")}
TABLE = {r"^module\.enc\.(\d+)": r"trunk.\1", r"^module\.": "", "^ema.*": ""}


def test_the_first_rule_that_is_found_decides() -> None:
    assert list(rename(TENSORS, TABLE)) == ["trunk.0.weight", "head"]
    assert list(rename(TENSORS, None)) == list(TENSORS)


def test_tables_in_files(tmp_path: Path) -> None:
    as_json, as_toml = tmp_path / "map.json", tmp_path / "map.toml"
    as_json.write_text(json.dumps(TABLE))
    as_toml.write_text("".join(f"'{old}' = '{new}'\n" for old, new in TABLE.items()))
    for path in (as_json, str(as_toml)):
        assert rename(TENSORS, path).keys() == rename(TENSORS, TABLE).keys()


def test_two_tensors_with_one_name() -> None:
    with pytest.raises(WeightsError, match=r"'module\.head' and 'ema\.head' the same name 'head'"):
        rename(TENSORS, {r"^(module|ema)\.": ""})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"(": "x"}, "not a regular expression"),
        ({"head": r"\9"}, "the replacement"),
        ({"head": None}, "must be text"),
        ("none.json", "cannot be read"),
    ],
)
def test_tables_that_are_none(table: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        rename(TENSORS, table)


@pytest.mark.parametrize(("text", "message"), [("{", "not valid"), ("[1]", "one table")])
def test_files_that_are_no_tables(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=message):
        rename(TENSORS, path)


def test_a_rule_is_suggested_only_where_shapes_agree() -> None:
    own = {"features.0.weight": torch.ones(2, 3), "features.0.bias": torch.ones(2)}
    file = {"net.enc.0.weight": torch.ones(2, 3), "net.enc.0.bias": torch.ones(2)}
    rule = suggest(own, file)
    assert rule == {r"^net\.enc\.": "features."}
    assert rename(file, rule).keys() == own.keys()
    assert suggest(own, {name: torch.ones(9) for name in file}) == {}
