from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dmic_gym.codecs.hevc.params import slice_qp
from dmic_gym.codecs.hevc.regions import addroi_options, regions_of_interest


@given(
    st.integers(1, 200), st.integers(1, 200), st.sampled_from([64, 32, 16]), st.integers(0, 2**31)
)
def test_regions_paint_the_map(height: int, width: int, ctu_size: int, seed: int) -> None:
    """Painted in order on a canvas, with no pixel twice, they are the map at full resolution."""
    rows, cols = -(-height // ctu_size), -(-width // ctu_size)
    qps = np.random.default_rng(seed).integers(28, 31, (rows, cols)).astype(np.int16)
    base_qp = slice_qp(qps)
    canvas, hits = np.full((height, width), base_qp), np.zeros((height, width), int)
    for found in regions_of_interest(qps, base_qp, (height, width), ctu_size):
        region = addroi_options(found)
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
    regions = regions_of_interest(qps, 30, (128, 250), 64)
    assert [addroi_options(region) for region in regions] == [
        {"x": "0", "y": "0", "w": "128", "h": "64", "qoffset": "-10/51"},
        {"x": "192", "y": "64", "w": "58", "h": "64", "qoffset": "-5/51"},
    ]


def test_a_uniform_map_has_no_region() -> None:
    qps = np.full((3, 3), 37, np.int16)
    assert len(regions_of_interest(qps, 37, (130, 130), 64)) == 0


def test_deeper_samples_have_more_qps_below_zero() -> None:
    regions = regions_of_interest(np.array([[30, 25]], np.int16), 30, (64, 128), 64, 12)
    assert [addroi_options(region)["qoffset"] for region in regions] == ["-5/75"]
