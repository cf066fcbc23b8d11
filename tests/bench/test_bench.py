"""What a benchmark comes to: `dmic bench` as a command is in tests/test_cli.py."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import math
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from dmic_gym.agents.registry import make_agent
from dmic_gym.bench import charts, terminal
from dmic_gym.bench.engines import SerialEngine
from dmic_gym.bench.protocol import LOW_RATE_QPS, STANDARD_QPS, split_by_use, versions
from dmic_gym.bench.results import results_in
from dmic_gym.bench.runner import run_sweep
from dmic_gym.bench.store import Store
from dmic_gym.bench.tables import notes, qps_of
from dmic_gym.bench.workbench import code_image
from dmic_gym.codecs import X265Codec, uniform_map
from dmic_gym.errors import EncodeError
from dmic_gym.tasks.data import registry
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.metrics import binarize, dice
from tests.bench.sweeping import small
from tests.support import phantoms, small_env, texture, vesselness

# The keys that the issue asks for; more may stand beside them.
AGENT_KEYS = {"bd_rate_percent", "bd_rate_note", "ci95", "points", "images"}
POINT_KEYS = {"base_qp", "bits", "slice_bits", "dice", "consistency_dice", "psnr", "iou"}
IMAGE_KEYS = {*POINT_KEYS, "name", "encodes", "seconds", "qp_map", "sha256"}
QPS = (22, 27, 32, 37)
DATA = "phantoms?count=3&size=130&seed=3"


class Constant:
    """An agent that always takes one action."""

    def __init__(self, action: int) -> None:
        self.action = action

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[int, Any]:
        return self.action, state


zero, plus_3 = Constant(3), Constant(4)


def run(**changes: Any) -> dict[str, Any]:
    """Bench in memory; return the results of the one data set and encoder."""
    definition = small(**{"data": [DATA], "base_qps": list(QPS), **changes})
    with Store.in_memory() as store:
        plan = run_sweep(definition, store, SerialEngine(), command="dmic bench")
        (found,) = results_in(store, definition, plan)
    return found


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    return run(agents=["anchor", "random", "roi", f"{__name__}:zero", f"{__name__}:plus_3"])


@pytest.fixture
def own_data(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give samples the name of a data set; return the name."""

    def named(samples: list[Sample]) -> list[str]:
        monkeypatch.setitem(registry.DATASETS, "own", lambda: samples)
        return ["own"]

    return named


def test_results_json_is_as_documented(results: dict[str, Any]) -> None:
    read = json.loads(json.dumps(results, allow_nan=False))
    assert read == results
    assert set(results) == {"protocol", "agents", "stills", "failed"}
    assert list(results["agents"])[:3] == ["anchor", "random", "roi"]
    for agent in results["agents"].values():
        assert set(agent) >= AGENT_KEYS
        assert isinstance(agent["bd_rate_note"], str)
        assert agent["bd_rate_percent"] is None or math.isfinite(agent["bd_rate_percent"])
        assert agent["ci95"] is None or agent["ci95"][0] <= agent["ci95"][1]
        assert [point["base_qp"] for point in agent["points"]] == list(QPS)
        assert all(set(point) >= POINT_KEYS for point in agent["points"])
        assert [(row["name"], row["base_qp"]) for row in agent["images"]] == [
            (f"phantom-3-000{n}", qp) for n in range(3) for qp in QPS
        ]
        for row in agent["images"]:
            assert set(row) >= IMAGE_KEYS
            assert np.shape(row["qp_map"]) == (3, 3)
            assert len(row["sha256"]) == 64
            assert row["encodes"] == 1
            assert row["seconds"] > 0


def test_the_protocol_is_enough_to_run_it_again(results: dict[str, Any]) -> None:
    protocol = results["protocol"]
    assert protocol["data"] == DATA
    assert protocol["command"] == "dmic bench"
    assert protocol["images"] == 3
    assert protocol["base_qps"] == list(QPS)
    assert (protocol["codec"], protocol["ctu_size"], protocol["preset"]) == (
        "x265",
        64,
        "ultrafast",
    )
    assert "crf=QP" in protocol["x265_params"]
    assert "psy-rd=0" in protocol["x265_params"]
    assert protocol["qp_offsets"][3] == 0
    assert protocol["segmenter"]["name"] == "tests.support:vesselness"
    assert protocol["versions"] == versions()
    assert {"python", "av", "torch", "dmic_gym"} <= set(versions())


def test_points_are_means_over_images(results: dict[str, Any]) -> None:
    for agent in results["agents"].values():
        for point in agent["points"]:
            rows = [row for row in agent["images"] if row["base_qp"] == point["base_qp"]]
            for key in POINT_KEYS - {"base_qp"}:
                assert point[key] == pytest.approx(sum(row[key] for row in rows) / len(rows))


def test_rows_are_real_encodes(results: dict[str, Any]) -> None:
    samples = {sample.name: sample for sample in phantoms(3, 130, 3)}
    codec = X265Codec(64, "ultrafast")
    for name in ("anchor", "random", "roi"):
        for row in results["agents"][name]["images"][::5]:
            sample = samples[row["name"]]
            assert sample.mask is not None
            encoded = codec.encode([sample.image], [row["qp_map"]])[0]
            assert row["sha256"] == hashlib.sha256(encoded.bitstream).hexdigest()
            assert (row["bits"], row["slice_bits"]) == (encoded.bits, encoded.slice_bits)
            mask = binarize(vesselness(encoded.reconstruction[None])[0])
            assert row["dice"] == dice(mask, sample.mask)
            if name == "anchor":
                assert set(np.ravel(row["qp_map"])) == {row["base_qp"]}


def test_an_agent_that_differs_has_a_figure_and_an_interval(results: dict[str, Any]) -> None:
    roi = results["agents"]["roi"]
    low, high = roi["ci95"]
    assert low <= roi["bd_rate_percent"] <= high
    assert low < high
    assert results["agents"]["random"]["bd_rate_note"] != ""


def test_the_null_agent_is_the_anchor_to_the_byte(results: dict[str, Any]) -> None:
    anchor, null = results["agents"]["anchor"], results["agents"][f"{__name__}:zero"]
    for agent in (anchor, null):
        assert agent["bd_rate_percent"] == 0.0
        assert agent["ci95"] == [0.0, 0.0]
        assert agent["bits_at"]["dice"]["97"]["percent"] == 0.0
    assert [row["sha256"] for row in null["images"]] == [row["sha256"] for row in anchor["images"]]


def test_agents_are_compared_with_roi_where_it_takes_part(results: dict[str, Any]) -> None:
    assert results["protocol"]["compare"] == ["roi"]
    roi, null = results["agents"]["roi"], results["agents"][f"{__name__}:zero"]
    assert roi["against"] == {}
    found = null["against"]["roi"]
    assert found["points"] == pytest.approx(-roi["bd_rate_percent"])
    # the null agent's BD-rate is 0 in every resample, so the difference is roi's own, mirrored
    assert found["ci95"] == pytest.approx([-roi["ci95"][1], -roi["ci95"][0]])
    level, own = (part["bits_at"]["dice"]["99"] for part in (null, roi))
    assert level["against"]["roi"]["points"] == pytest.approx(-own["percent"])


def test_bits_at_a_quality_lie_between_the_points_beside_it(results: dict[str, Any]) -> None:
    anchor = results["agents"]["anchor"]
    best = max(point["dice"] for point in anchor["points"])
    for share in (99, 97, 95):
        found = anchor["bits_at"]["dice"][str(share)]
        assert found["level"] == pytest.approx(share / 100 * best)
        if found["bits"] is None:
            assert "curve begins" in found["note"] or "curve ends" in found["note"]
            continue
        below = [p["bits"] for p in anchor["points"] if p["dice"] < found["level"]]
        above = [p["bits"] for p in anchor["points"] if p["dice"] >= found["level"]]
        assert max(below) < found["bits"] <= max(above)
    assert anchor["bits_at"]["dice"]["99"]["bits"] > anchor["bits_at"]["dice"]["97"]["bits"]


def test_a_constant_offset_lies_on_the_anchors_curve(results: dict[str, Any]) -> None:
    codec = X265Codec(64, "ultrafast")
    samples = {sample.name: sample.image for sample in phantoms(3, 130, 3)}
    for row in results["agents"][f"{__name__}:plus_3"]["images"]:
        image = samples[row["name"]]
        anchor = codec.encode([image], [uniform_map(image.shape, 64, row["base_qp"] + 3)])[0]
        assert row["sha256"] == hashlib.sha256(anchor.bitstream).hexdigest()


def test_the_order_of_agents_and_images_does_not_matter(
    results: dict[str, Any], own_data: Any
) -> None:
    other = run(agents=["roi", "random"], data=own_data(phantoms(3, 130, 3)[::-1]))
    assert list(other["agents"]) == ["anchor", "roi", "random"]
    for name in ("roi", "random"):
        rows = [part["agents"][name]["images"] for part in (results, other)]
        assert [row["sha256"] for row in rows[0]] == [row["sha256"] for row in rows[1]]
        for key in ("bd_rate_percent", "ci95"):
            assert other["agents"][name][key] == results["agents"][name][key]


def test_an_image_that_fails_is_left_out_of_every_agent(
    results: dict[str, Any], own_data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = X265Codec.encode

    def refusing(codec: X265Codec, frames: Any, qp_maps: Any) -> Any:
        if frames[0].shape == (64, 80):
            raise EncodeError("no such size today")
        return encode(codec, frames, qp_maps)

    monkeypatch.setattr(X265Codec, "encode", refusing)
    bad = phantoms(1, (64, 80), seed=9)[0]
    samples = [*phantoms(2, 130, 3), Sample(bad.image, bad.mask, "bad"), phantoms(3, 130, 3)[2]]
    found = run(agents=["anchor", "roi"], data=own_data(samples))
    assert found["failed"] == {"bad": "EncodeError: no such size today"}
    for agent in found["agents"].values():
        assert {row["name"] for row in agent["images"]} == {f"phantom-3-000{n}" for n in range(3)}
    for name in ("anchor", "roi"):
        for key in ("bd_rate_percent", "ci95"):
            assert found["agents"][name][key] == results["agents"][name][key]
    assert "left out: bad: EncodeError: no such size today" in notes(found)


def test_images_with_empty_masks_are_left_out_by_name(own_data: Any) -> None:
    first, second = phantoms(2, 130, 3)
    empty = Sample(first.image, np.zeros(first.image.shape, bool), "empty")
    unmasked = Sample(first.image, None, "unmasked")
    assert split_by_use([first, empty, unmasked]) == ([first, unmasked], ["empty"])
    found = run(agents=["anchor"], base_qps=[27, 32, 37], data=own_data([first, empty, second]))
    assert found["protocol"]["left_out_empty_mask"] == ["empty"]
    assert found["protocol"]["images"] == 2
    assert "left out, expert mask empty: empty" in notes(found)


def test_without_expert_masks_consistency_is_compared(own_data: Any) -> None:
    samples = [Sample(s.image, None, s.name) for s in phantoms(2, 130, 3)]
    found = run(agents=["anchor"], data=own_data(samples))
    anchor = found["agents"]["anchor"]
    assert anchor["bd_rate_percent"] is None
    assert anchor["bd_rate_note"] == "undefined: images without mask"
    assert anchor["ci95"] is None
    assert anchor["bits_at"]["dice"]["99"]["bits"] is None
    assert anchor["bits_at"]["consistency_dice"]["99"]["percent"] == 0.0
    assert anchor["consistency"]["bd_rate_percent"] == 0.0
    assert all(point["dice"] is None for point in anchor["points"])
    assert len(charts.draw_curves(found).axes) == 1
    assert "undefined" in printed(found)


def test_two_base_qps_have_no_bd_rate_but_a_table() -> None:
    found = run(agents=["anchor"], base_qps=[27, 37], images=1)
    anchor = found["agents"]["anchor"]
    assert anchor["bd_rate_percent"] is None
    assert "3 are needed" in anchor["bd_rate_note"]
    assert len(anchor["points"]) == 2


def test_both_qp_sets_and_both_networks() -> None:
    sets = {"standard": list(STANDARD_QPS), "low_rate": list(LOW_RATE_QPS)}
    found = run(agents=["roi"], base_qps=sets, images=2, second="tests.support:vesselness")
    assert found["protocol"]["base_qps"] == [22, 27, 32, 37, 42, 47]
    roi = found["agents"]["roi"]
    assert [point["base_qp"] for point in roi["points"]] == [22, 27, 32, 37, 42, 47]
    assert len(roi["images"]) == 2 * 6
    for part in (roi, roi["low_rate"]):
        # the second network is the first one here, so it has to say the same
        assert part["second"]["bd_rate_percent"] == part["bd_rate_percent"]
        assert part["second"]["ci95"] == part["ci95"]
    assert found["agents"]["anchor"]["low_rate"]["bd_rate_percent"] == 0.0
    assert roi["bd_rate_percent"] != roi["low_rate"]["bd_rate_percent"]
    text = printed(found)
    assert all(f"BD-rate, {qps_of(found, name)}" in text for name in sets)


def test_a_row_of_one_image() -> None:
    evaluator = small_env(reward="linear").evaluator
    row = code_image(evaluator, make_agent(f"{__name__}:zero", evaluator), phantoms(1)[0], 30)
    assert row.encodes == 1
    assert row.qp_map == [[30] * 3] * 3
    assert set(row.as_dict()) == IMAGE_KEYS - {"name", "base_qp"} | {
        "second_dice",
        "second_consistency_dice",
    }


def test_tables_show_names_as_they_are(results: dict[str, Any]) -> None:
    odd = copy.deepcopy(results)
    odd["protocol"]["data"] = "/tmp/[red]images[/]"
    odd["agents"]["a[bold]b:C"] = odd["agents"].pop("roi")
    text = printed(odd)
    assert "/tmp/[red]images[/]" in text
    assert "a[bold]b:C" in text
    assert "+0.0 %" in text
    assert "/tmp/[red]images[/]" in charts.draw_curves(odd).get_suptitle()


def test_notes_stand_below_the_table_of_their_figure(results: dict[str, Any]) -> None:
    text = " ".join(printed(results).split())
    note = results["agents"]["random"]["bd_rate_note"].removeprefix("undefined: ")
    assert f"random, Dice: {note}" in text


def printed(results: dict[str, Any]) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    for part in terminal.tables(results):
        console.print(part, soft_wrap=True)
    return console.export_text()


def test_a_texture_without_structure_has_no_dice_to_compare(own_data: Any) -> None:
    samples = [Sample(texture((64, 80)), np.ones((64, 80), bool), "all")]
    found = run(agents=["anchor"], data=own_data(samples), base_qps=[27, 32, 37])
    assert found["agents"]["anchor"]["ci95"] is None
