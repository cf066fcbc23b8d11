from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dmic_gym.bench.charts import draw_curves
from dmic_gym.bench.results import results_in, results_of
from dmic_gym.bench.results_files import (
    check_folder,
    keep_previous,
    read_results,
    save_results,
)
from dmic_gym.bench.store import Store
from dmic_gym.errors import DataError
from tests.bench.records import stored
from tests.bench.sweeping import comparable, run_into, small, swept, toml

CHANGES: dict[str, Any] = {
    "agents": ["anchor", "random"],
    "codecs": ["x265", "jpeg"],
    "qualities": {"jpeg": [20, 40, 80]},
    "ctu_sizes": [64, 32],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep over two encoders and a still codec, and what it comes to as files."""
    folder = tmp_path_factory.mktemp("saved")
    swept(folder, **CHANGES)
    save(folder)
    return folder


def save(folder: Path) -> None:
    with Store.open(folder) as store:
        results = results_of(store.records(), small(**CHANGES), run=store.runs()[-1])
        save_results(results, folder)


def test_results_are_short_and_rows_are_one_line_each(folder: Path) -> None:
    content = json.loads((folder / "results.json").read_text())
    assert {"protocol", "agents", "stills", "failed"} <= set(content)
    assert content["agents"]["random"]["images"] == "rows.jsonl"
    assert content["protocol"]["ctu_size"] == 64
    assert [one["protocol"]["ctu_size"] for one in content["more"]] == [32]
    lines = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    rows = [line for line in lines if "of" in line]
    assert len(rows) == len(stored(folder)) == 2 * (2 * 2 * 3 + 3)
    assert len(lines) == len(rows) + 1 + 5  # a run, two agents with two encoders, a still codec


def test_what_is_read_is_what_was_saved(folder: Path) -> None:
    with Store.open(folder) as store:
        expected = results_of(store.records(), small(**CHANGES), run=store.runs()[-1])
    assert read_results(folder) == expected
    assert read_results(folder / "results.json") == expected


def test_only_what_was_compared_is_read_of_a_store_that_holds_more(tmp_path: Path) -> None:
    run_into(tmp_path, small(images=3, base_qps=[27, 32, 37, 42]))
    fewer = small(images=2, base_qps=[32, 37, 42])
    plan = run_into(tmp_path, fewer, resume=True)
    with Store.open(tmp_path) as store:
        expected = results_in(store, fewer, plan)
    save_results(expected, tmp_path)
    read = read_results(tmp_path)
    assert read == expected
    assert len(read[0]["agents"]["roi"]["images"]) == 2 * 3


def test_either_file_stands_for_the_store(folder: Path) -> None:
    for path in (folder, folder / "results.json", folder / "rows.jsonl"):
        with Store.open(path) as store:
            assert len(store.records()) == 30


def test_earlier_results_are_kept_with_their_rows(folder: Path, tmp_path: Path) -> None:
    names = [tmp_path / name for name in ("results.json", "rows.jsonl")]
    for number in range(3):
        keep_previous(names)
        for path in names:
            path.write_bytes((folder / path.name).read_bytes())
        content = json.loads(names[0].read_text())
        names[0].write_text(json.dumps(content | {"failed": {"n": str(number)}}))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "results-1.json", "results-2.json", "results.json",
        "rows-1.jsonl", "rows-2.jsonl", "rows.jsonl",
    ]  # fmt: skip
    (tmp_path / "rows.jsonl").unlink()
    assert read_results(tmp_path / "results-1.json")[0]["failed"] == {"n": "0"}
    assert len(read_results(tmp_path / "results-2.json")[0]["agents"]["random"]["images"]) == 6


def test_a_number_is_never_used_twice(tmp_path: Path) -> None:
    (tmp_path / "rows-1.jsonl").write_text("mine")
    for name in ("results.json", "rows.jsonl"):
        (tmp_path / name).write_text("{}")
    keep_previous([tmp_path / "results.json", tmp_path / "rows.jsonl"])
    assert (tmp_path / "rows-1.jsonl").read_text() == "mine"
    assert (tmp_path / "results-2.json").is_file()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"Cannot write into .*file"):
        check_folder(tmp_path / "file")
    check_folder(tmp_path / "fine")
    assert list((tmp_path / "fine").iterdir()) == []


def test_the_picture_shows_the_curves(folder: Path) -> None:
    figure = draw_curves(read_results(folder)[0])
    assert [axes.get_ylabel() for axes in figure.axes] == ["Dice (mean)", "Consistency Dice (mean)"]
    assert {line.get_label() for line in figure.axes[0].get_lines()} == {"anchor", "random"}


def test_bench_and_sweep_give_equal_rows(dmic: Any, tmp_path: Path) -> None:
    for name, sample in enumerate(np.random.default_rng(0).integers(0, 256, (3, 64, 64), np.uint8)):
        smooth = cv2.GaussianBlur(sample, (0, 0), 3)
        (tmp_path / "data").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "data" / f"{name}.png"), smooth)
        mask = (smooth > np.median(smooth)).astype(np.uint8) * 255
        cv2.imwrite(str(tmp_path / "data" / f"{name}_gt.png"), mask)
    settings = {"data": ["data"], "agents": ["anchor", "random", "roi"]}
    code, _, _ = dmic("sweep", toml(tmp_path, **settings), "--out", "swept", "--jobs", 1)
    assert code == 0
    code, _, _ = dmic(
        "bench", "--data", "data", "--agents", "random,roi", "--qps", "27,32,37",
        "--out", "benched", "--preset", "ultrafast", "--segmenter", "tests.support:vesselness",
        "--jobs", 1,
    )  # fmt: skip
    assert code == 0
    with Store.open(tmp_path / "swept") as one, Store.open(tmp_path / "benched") as other:
        assert comparable(one.records()) == comparable(other.records())
        assert len(one.records()) == 3 * 3 * 3
    swept_, benched = (read_results(tmp_path / name)[0] for name in ("swept", "benched"))
    for name, part in swept_["agents"].items():
        assert part["bd_rate_percent"] == benched["agents"][name]["bd_rate_percent"]
        assert part["ci95"] == benched["agents"][name]["ci95"]
        assert part["bits_at"] == benched["agents"][name]["bits_at"]
    assert dmic("replay", "benched")[1].splitlines()[-1] == "27 of 27 cells as stored"
    assert dmic("report", "benched", "--no-pictures")[0] == 0
    assert (tmp_path / "benched" / "report" / "report.html").is_file()
