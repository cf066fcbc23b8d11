from __future__ import annotations

import numpy as np
import pytest

from dmic_gym.codecs.hevc.params import level_params, slice_qp, x265_params
from dmic_gym.errors import InvalidInputError


@pytest.mark.parametrize(
    ("qps", "median"), [([5], 5), ([37] * 9, 37), ([1, 2], 1), ([9, 1, 5], 5), ([51, 0, 51, 0], 0)]
)
def test_slice_qp_is_the_lower_median(qps: list[int], median: int) -> None:
    assert slice_qp(np.array([qps], np.int16)) == median


def test_overrides_replace_and_extend() -> None:
    text = x265_params(30, 32, {"aq-mode": 0, "hash": 1})
    settings = dict(pair.split("=") for pair in text.split(":"))
    assert settings["aq-mode"] == "0"
    assert settings["hash"] == "1"
    assert settings["crf"] == "30"
    assert settings["ctu"] == settings["qg-size"] == "32"


@pytest.mark.parametrize("override", [{"a:b": 1}, {"csv": "a:b"}, {"a": "b=c"}])
def test_no_override_smuggles_a_setting(override: dict[str, str | int | float]) -> None:
    with pytest.raises(InvalidInputError, match="must hold no"):
        x265_params(30, 64, override)


def test_only_pictures_without_level_are_marked() -> None:
    assert level_params((2048, 1088), 16) == {}
    assert level_params((2048, 1089), 16) == {"allow-non-conformance": 1}
    assert level_params((4096, 4096), 32) == {}
