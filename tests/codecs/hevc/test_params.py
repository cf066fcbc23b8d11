from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmic_gym.codecs.hevc.params import level_params, regions_of_interest, slice_qp, x265_params
from dmic_gym.errors import InvalidInputError


@given(
    st.integers(1, 200), st.integers(1, 200), st.sampled_from([64, 32, 16]), st.integers(0, 2**31)
)
def test_regions_paint_the_map(height: int, width: int, ctu_size: int, seed: int) -> None:
    """Painted in order on a canvas, with no pixel twice, they are the map at full resolution."""
    rows, cols = -(-height // ctu_size), -(-width // ctu_size)
    qps = np.random.default_rng(seed).integers(28, 31, (rows, cols)).astype(np.int16)
    base_qp = slice_qp(qps)
    canvas, hits = np.full((height, width), base_qp), np.zeros((height, width), int)
    for region in regions_of_interest(qps, base_qp, (height, width), ctu_size):
        x, y, w, h = (int(region[key]) for key in "xywh")
        assert w > 0
        assert h > 0
        assert x + w <= width
        assert y + h <= height
        offset, scale = region["qoffset"].split("/")
        assert scale == "51"
        canvas[y : y + h, x : x + w] += int(offset)
        hits[y : y + h, x : x + w] += 1
    np.testing.assert_array_equal(
        canvas, qps.repeat(ctu_size, 0).repeat(ctu_size, 1)[:height, :width]
    )
    assert hits.max(initial=0) <= 1


def test_runs_of_equal_qps_are_one_region() -> None:
    qps = np.array([[20, 20, 30, 30], [30, 30, 30, 25]], np.int16)
    regions = list(regions_of_interest(qps, 30, (128, 250), 64))
    assert regions == [
        {"x": "0", "y": "0", "w": "128", "h": "64", "qoffset": "-10/51"},
        {"x": "192", "y": "64", "w": "58", "h": "64", "qoffset": "-5/51"},
    ]


def test_a_uniform_map_has_no_region() -> None:
    qps = np.full((3, 3), 37, np.int16)
    assert slice_qp(qps) == 37
    assert list(regions_of_interest(qps, 37, (130, 130), 64)) == []


@pytest.mark.parametrize(
    ("qps", "median"), [([5], 5), ([1, 2], 1), ([9, 1, 5], 5), ([51, 0, 51, 0], 0)]
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
