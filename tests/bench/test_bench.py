from __future__ import annotations

import copy
import hashlib
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dmic_gym.agents.registry import as_planner
from dmic_gym.bench import bench, files, pictures, report
from dmic_gym.bench.protocol import split_by_use, versions
from dmic_gym.bench.runner import code_image
from dmic_gym.codecs import X265Codec, uniform_map
from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.errors import DataError, EncodeError, InvalidInputError
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.metrics import binarize, dice
from tests.support import phantoms, small_env, texture, vesselness

# The keys that the issue asks for; more may stand beside them.
AGENT_KEYS = {"bd_rate_percent", "bd_rate_note", "ci95", "points", "images"}
POINT_KEYS = {"base_qp", "bits", "slice_bits", "dice", "consistency_dice", "psnr"}
IMAGE_KEYS = {*POINT_KEYS, "name", "encodes", "seconds", "qp_map", "sha256"}
QPS = (22, 27, 32, 37)


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


def run(env: CodingEnv | None = None, qps: Sequence[int] = QPS, **kwargs: Any) -> dict[str, Any]:
    env = env or small_env(dataset=phantoms(3, 130, 3), reward="linear")
    return bench.bench(env, qp_sets={"custom": qps}, **kwargs)


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    return run(
        agents=("anchor", "random", "roi", f"{__name__}:zero", f"{__name__}:plus_3"),
        data="phantoms",
        command="dmic bench",
    )


def test_results_json_is_as_documented(results: dict[str, Any]) -> None:
    read = json.loads(json.dumps(results, allow_nan=False))
    assert read == results
    assert set(results) == {"protocol", "agents", "failed"}
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
    assert protocol["data"] == "phantoms"
    assert protocol["command"] == "dmic bench"
    assert protocol["images"] == 3
    assert protocol["base_qps"] == list(QPS)
    assert (protocol["ctu_size"], protocol["preset"]) == (64, "ultrafast")
    assert "crf=QP" in protocol["x265_params"]
    assert "psy-rd=0" in protocol["x265_params"]
    assert protocol["qp_offsets"][3] == 0
    assert "vesselness" in protocol["segmenter"]["name"]
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
        assert report.percent(agent["bd_rate_percent"]) == "+0.00 %"
    assert [row["sha256"] for row in null["images"]] == [row["sha256"] for row in anchor["images"]]


def test_a_constant_offset_lies_on_the_anchors_curve(results: dict[str, Any]) -> None:
    codec = X265Codec(64, "ultrafast")
    samples = {sample.name: sample.image for sample in phantoms(3, 130, 3)}
    for row in results["agents"][f"{__name__}:plus_3"]["images"]:
        image = samples[row["name"]]
        anchor = codec.encode([image], [uniform_map(image.shape, 64, row["base_qp"] + 3)])[0]
        assert row["sha256"] == hashlib.sha256(anchor.bitstream).hexdigest()


def test_the_order_of_agents_and_images_does_not_matter(results: dict[str, Any]) -> None:
    samples = phantoms(3, 130, 3)[::-1]
    other = run(small_env(dataset=samples, reward="linear"), agents=("roi", "random"))
    assert list(other["agents"]) == ["anchor", "roi", "random"]
    for name in ("roi", "random"):
        hashes = [
            sorted((row["name"], row["base_qp"], row["sha256"]) for row in part["images"])
            for part in (results["agents"][name], other["agents"][name])
        ]
        assert hashes[0] == hashes[1]
        assert other["agents"][name]["bd_rate_percent"] == pytest.approx(
            results["agents"][name]["bd_rate_percent"]
        )


def test_progress_is_told() -> None:
    cells: list[str] = []
    total: list[int] = []
    run(agents=("anchor",), qps=(30, 35, 40), images=2, on_start=total.append, on_cell=cells.append)
    assert total == [6]
    assert cells == ["anchor"] * 6


class FailingCodec(X265Codec):
    """Refuses one size."""

    def encode(self, frames: Any, qp_maps: Any) -> Any:
        if frames[0].shape == (64, 80):
            raise EncodeError("no such size today")
        return super().encode(frames, qp_maps)


def test_an_image_that_fails_is_left_out_of_every_agent(results: dict[str, Any]) -> None:
    bad = phantoms(1, (64, 80), seed=9)[0]
    samples = [*phantoms(2, 130, 3), Sample(bad.image, bad.mask, "bad"), phantoms(3, 130, 3)[2]]
    env = small_env(dataset=samples, codec=FailingCodec(64, "ultrafast"), reward="linear")
    found = run(env, agents=("anchor", "roi"))
    assert list(found["failed"]) == ["bad"]
    assert "no such size today" in found["failed"]["bad"]
    for agent in found["agents"].values():
        assert {row["name"] for row in agent["images"]} == {f"phantom-3-000{n}" for n in range(3)}
    for name in ("anchor", "roi"):
        for key in ("bd_rate_percent", "ci95"):
            assert found["agents"][name][key] == results["agents"][name][key]
    assert any("bad: " in note and "no such size" in note for note in report.notes(found))


def test_if_all_fail_the_error_says_why() -> None:
    samples = [Sample(texture((64, 80)), np.ones((64, 80), bool), "bad")]
    env = small_env(dataset=samples, codec=FailingCodec(64, "ultrafast"), reward="linear")
    with pytest.raises(InvalidInputError, match=r"No image is left.*no such size today"):
        run(env)


def test_images_with_empty_masks_are_left_out_by_name() -> None:
    first, second = phantoms(2, 130, 3)
    empty = Sample(first.image, np.zeros(first.image.shape, bool), "empty")
    unmasked = Sample(first.image, None, "unmasked")
    assert split_by_use([first, empty, unmasked]) == ([first, unmasked], ["empty"])
    env = small_env(dataset=[first, empty, second], reward="linear")
    found = run(env, agents=("anchor",), qps=(27, 32, 37))
    assert found["protocol"]["left_out_empty_mask"] == ["empty"]
    assert found["protocol"]["images"] == 2
    assert any("empty" in note for note in report.notes(found))
    with pytest.raises(InvalidInputError, match="non-empty mask"):
        run(small_env(dataset=[empty], reward="linear"))


def test_without_expert_masks_consistency_is_compared() -> None:
    samples = [Sample(s.image, None, s.name) for s in phantoms(2, 130, 3)]
    found = run(small_env(dataset=samples, reward="linear"), agents=("anchor",))
    anchor = found["agents"]["anchor"]
    assert anchor["bd_rate_percent"] is None
    assert anchor["bd_rate_note"].startswith("undefined")
    assert anchor["ci95"] is None
    assert anchor["consistency"]["bd_rate_percent"] == 0.0
    assert all(point["dice"] is None for point in anchor["points"])
    assert report.percent(None) == "undefined"
    assert pictures.draw_curves(found).axes


def test_two_base_qps_have_no_bd_rate_but_a_table() -> None:
    found = run(agents=("anchor",), qps=(27, 37), images=1)
    anchor = found["agents"]["anchor"]
    assert anchor["bd_rate_percent"] is None
    assert "3 are needed" in anchor["bd_rate_note"]
    assert len(anchor["points"]) == 2


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"agents": ("rio",)}, "Did you mean 'roi'"),
        ({"qps": ()}, "at least one base QP"),
        ({"qps": (22, 55)}, "Nearest: 51"),
        ({"images": 0}, "at least 1"),
        ({"images": -2}, "at least 1"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_coded(
    kwargs: dict[str, Any], words: str
) -> None:
    coded: list[str] = []
    with pytest.raises(InvalidInputError, match=words):
        run(on_cell=coded.append, **kwargs)
    assert coded == []


def test_a_row_of_one_image() -> None:
    env = small_env(reward="linear")
    planner = as_planner(zero, env.qp_offsets)
    row = code_image(env.evaluator, planner, phantoms(1)[0], 30)
    assert (row.name, row.base_qp, row.encodes) == ("phantom-0-0000", 30, 1)
    assert row.qp_map == [[30] * 3] * 3
    assert set(row.as_dict()) >= IMAGE_KEYS


def test_files_are_written_and_earlier_ones_kept(results: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    first = files.save(results, folder)
    assert [path.name for path in first[:2]] == ["results.json", "rd-curves.png"]
    assert json.loads(first[0].read_text()) == results
    for path in first[1:]:
        picture = cv2.imread(str(path))
        assert picture is not None
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 10
    changed = copy.deepcopy(results)
    changed["protocol"]["command"] = "second"
    files.save(changed, folder)
    changed["protocol"]["command"] = "third"
    files.save(changed, folder)
    kept = {
        path.name: json.loads(path.read_text())["protocol"]["command"]
        for path in folder.glob("*.json")
    }
    assert kept == {
        "results.json": "third",
        "results-2.json": "second",
        "results-1.json": "dmic bench",
    }
    assert len(list(folder.iterdir())) == 3 * len(first)  # no temporary file is left


def test_a_number_is_never_used_twice(results: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "rd-curves-1.png").write_text("mine")
    for _ in range(2):
        files.save(results, tmp_path)
    assert (tmp_path / "rd-curves-1.png").read_text() == "mine"
    assert (tmp_path / "results-2.json").is_file()


def test_a_folder_that_cannot_be_written(results: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for use in (lambda f: files.save(results, f), files.check_folder):
        with pytest.raises(DataError, match=r"Cannot write into .*file"):
            use(tmp_path / "file")
    files.check_folder(tmp_path / "fine")
    assert list((tmp_path / "fine").iterdir()) == []


def test_tables_show_names_as_they_are(results: dict[str, Any]) -> None:
    from rich.console import Console

    odd = copy.deepcopy(results)
    odd["protocol"]["data"] = "/tmp/[red]images[/]"
    odd["agents"]["a[bold]b:C"] = odd["agents"].pop("roi")
    console = Console(width=200, record=True, file=io.StringIO())
    for table in report.tables(odd):
        console.print(table)
    text = console.export_text()
    assert "/tmp/[red]images[/]" in text
    assert "a[bold]b:C" in text
    assert "+0.00 %" in text
    figure = pictures.draw_curves(odd)
    assert "/tmp/[red]images[/]" in figure.get_suptitle()
