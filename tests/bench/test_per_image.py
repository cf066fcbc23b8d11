from __future__ import annotations

from typing import Any

import pytest

from dmic_gym.bench import per_image


def test_the_featured_line_is_never_the_oracle() -> None:
    def results(**rates: float | None) -> dict[str, Any]:
        lines = {name: {"bd_rate_percent": rate} for name, rate in rates.items()}
        stills = {name: lines.pop(name) for name in ("jpeg",) if name in lines}
        return {"agents": lines, "stills": stills}

    assert per_image.featured(results(anchor=0.0, oracle=-60.0, roi=4.0, random=9.0)) == "roi"
    assert per_image.featured(results(anchor=0.0, roi=None, jpeg=80.0)) == "jpeg"
    assert per_image.featured(results(anchor=0.0, roi=None)) == "roi"
    assert per_image.featured(results(anchor=0.0, oracle=-1.0)) is None


def test_extremes() -> None:
    rates = {"a": 3.0, "b": None, "c": -9.0, "d": -2.0}
    assert per_image.extremes(rates) == {"best": "c", "median": "d", "worst": "a"}
    assert per_image.extremes({"a": 1.0, "b": 2.0}) == {"best": "a", "worst": "b"}
    assert per_image.extremes({"a": None}) == {}


def test_savings_of_images() -> None:
    def rows(name: str, factor: float) -> list[dict[str, Any]]:
        return [
            {"name": name, "base_qp": 40 - n, "bits": factor * 100 * 2**n, "dice": 0.5 + n / 20}
            for n in range(4)
        ]

    flat = [{**row, "dice": 0.5} for row in rows("flat", 1.0)]
    anchor = [*rows("a", 1.0), *rows("b", 1.0), *flat]
    agent = [*rows("b", 1.25), *rows("a", 0.5), *flat]
    results = {"agents": {"anchor": {"images": anchor}, "mine": {"images": agent}}, "stills": {}}
    found = per_image.savings(results, "mine")
    assert found["a"] == pytest.approx(-50.0)
    assert found["b"] == pytest.approx(25.0)
    assert found["flat"] is None


def test_intervals_of_means() -> None:
    rows = [{"base_qp": qp, "dice": n / 10 + qp / 100} for n in range(5) for qp in (32, 22)]
    low, high = per_image.mean_intervals(rows, "dice")
    assert low is not None
    assert high is not None
    assert low[0] < 0.2 + 0.22 < low[1]
    assert high[0] - low[0] == pytest.approx(0.1)
    assert per_image.mean_intervals(rows[:2], "dice") == [None, None]
    assert per_image.mean_intervals([*rows, {"base_qp": 22, "dice": None}], "dice")[0] is None
