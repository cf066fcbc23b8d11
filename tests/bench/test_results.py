from __future__ import annotations

from dataclasses import replace

import pytest

from dmic_gym.bench.cells import CONSTANT, Cell
from dmic_gym.bench.lines import lines_of
from dmic_gym.bench.protocol import ANCHOR
from dmic_gym.bench.results import results_of
from dmic_gym.bench.rows import Record
from dmic_gym.bench.standings import Standings
from dmic_gym.bench.tables import bd_tables, notes
from tests.bench.records import ROW
from tests.bench.sweeping import small

QPS = (27, 32, 37)
IMAGES = ("a", "b", "c")


def coded(cell: Cell, bits: int, dice: float) -> Record:
    return Record(str(cell), cell, {}, replace(ROW, bits=bits, dice=dice))


def curve(agent: str, share: float = 1.0, **settings: object) -> list[Record]:
    """An agent that spends `share` of the anchor's bits for the anchor's Dice."""
    return [
        coded(
            replace(Cell("phantoms", image, agent, qp, None, 64, "medium"), **settings),  # type: ignore[arg-type]
            int(share * 1000 * (40 - qp) * (1 + n / 10)),
            0.9 - qp / 100 + n / 100,
        )
        for n, image in enumerate(IMAGES)
        for qp in QPS
    ]


def still(codec: str, share: float) -> list[Record]:
    """A still codec on the anchor's curve, at qualities 70 - QP."""
    return [
        replace(
            found,
            cell=replace(found.cell, base_qp=None, quality=70 - (found.cell.base_qp or 0)),
        )
        for found in curve(CONSTANT, share, codec=codec, ctu_size=0, preset="")
    ]


def test_each_encoder_is_compared_with_its_own_anchor() -> None:
    records = [
        *curve(ANCHOR),
        *curve("roi", 0.8),
        *curve(ANCHOR, 2.0, ctu_size=32),
        *curve("roi", 1.0, ctu_size=32),
    ]
    found = {r["protocol"]["ctu_size"]: r["agents"] for r in results_of(records, small())}
    assert found[64]["roi"]["bd_rate_percent"] == pytest.approx(-20, abs=0.1)
    assert found[32]["roi"]["bd_rate_percent"] == pytest.approx(-50, abs=0.1)
    assert found[64][ANCHOR]["bd_rate_percent"] == 0.0


def test_a_still_codec_is_compared_over_its_own_qualities() -> None:
    records = [*curve(ANCHOR), *still("jpeg", 1.5)]
    (found,) = results_of(records, small())
    assert found["stills"]["jpeg"]["bd_rate_percent"] == pytest.approx(50, abs=0.1)
    assert [p["quality"] for p in found["stills"]["jpeg"]["points"]] == [33, 38, 43]
    assert list(found["agents"]) == [ANCHOR]
    headings = [table.heading for table in bd_tables(found)]
    assert "BD-rate, Constant quality, all points" in headings


def test_images_that_one_lacks_are_left_out_of_all_and_named() -> None:
    roi = [
        record
        for record in curve("roi", 0.8)
        if (record.cell.image, record.cell.base_qp) != ("b", 32)
    ]
    (found,) = results_of([*curve(ANCHOR), *roi], small(), left_out=["d"])
    assert found["protocol"]["images"] == 2
    assert found["failed"] == {"b": "not coded by all at every point"}
    assert {row["name"] for row in found["agents"][ANCHOR]["images"]} == {"a", "c"}
    assert found["agents"]["roi"]["bd_rate_percent"] == pytest.approx(-20, abs=0.1)
    assert notes(found) == [
        "left out, expert mask empty: d",
        "left out: b: not coded by all at every point",
    ]


def test_an_agent_without_a_complete_image_does_not_empty_the_table() -> None:
    one_each = dict(zip(IMAGES, QPS, strict=True))
    some = [r for r in curve("roi") if r.cell.base_qp == one_each[r.cell.image]]
    (found,) = results_of([*curve(ANCHOR), *curve("random"), *some], small(agents=["random"]))
    assert found["protocol"]["images"] == 3
    assert list(found["agents"]) == [ANCHOR, "random"]
    assert found["failed"] == {"roi": "no image was coded at every point"}


def test_without_an_anchor_there_is_nothing_to_compare() -> None:
    assert results_of(curve("roi"), small()) == []
    assert results_of([], small()) == []


def test_seeds_are_lines_of_their_own() -> None:
    lines = lines_of([*curve("random"), *curve("random", seed=1)])
    assert {name: len(line.rows) for name, line in lines.items()} == {
        "random": 9,
        "random seed 1": 9,
    }


def test_the_best_so_far_is_that_of_complete_images_and_no_oracle() -> None:
    standings = Standings(QPS)
    assert standings.best() is None
    for record in [*curve(ANCHOR), *curve("oracle", 0.1)]:
        standings.add(record)
    assert standings.best() is None
    for record in curve("roi", 0.8)[:2]:
        standings.add(record)
    assert standings.best() is None
    for record in [*curve("roi", 0.8)[2:4], *curve("random", 1.5)]:
        standings.add(record)
    best = standings.best()
    assert best is not None
    assert best[0] == "roi"
    assert best[1] == pytest.approx(-20, abs=0.1)


def test_a_level_that_a_curve_does_not_reach_is_said() -> None:
    def found(shift: float) -> dict[str, object]:
        line = [
            replace(r, row=r.row and replace(r.row, dice=(r.row.dice or 0) + shift))
            for r in curve("roi")
        ]
        (results,) = results_of([*curve(ANCHOR), *line], small())
        part: dict[str, object] = results["agents"]["roi"]["bits_at"]["dice"]["97"]
        return part

    assert found(0.0)["percent"] == pytest.approx(0.0, abs=1e-9)
    assert found(-0.5)["note"] == "undefined: the curve ends at 0.140, the level is 0.621"
    assert found(0.2)["note"] == "undefined: the curve begins at 0.740, the level is 0.621"


def test_the_difference_of_two_agents_is_paired() -> None:
    records = [*curve(ANCHOR), *curve("roi", 0.8), *curve("table", 0.7), *curve("random", 1.2)]
    (results,) = results_of(records, small(compare=["roi", "table"]))
    against = results["agents"]["table"]["against"]
    assert list(against) == ["roi"]
    assert against["roi"]["points"] == pytest.approx(-10, abs=0.2)
    low, high = against["roi"]["ci95"]
    assert high - low < 0.5  # both move with the images alike
    assert set(results["agents"]["random"]["against"]) == {"roi", "table"}
    assert results["agents"]["table"]["bits_at"]["dice"]["97"]["against"]["roi"]["points"] < 0
