"""What commands print for people, for logs and for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import pytest
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

from dmic_gym import __version__
from dmic_gym.cli.progress import ProgressLines
from tests.support import phantoms

QUICK = ("--preset", "ultrafast", "--jobs", 1)
BENCH = (
    "bench", "--agents", "anchor,roi", "--qps", "27,32,37", "--images", 2, "--data",
    "phantoms?count=2&size=96", "--segmenter", "tests.support:vesselness", *QUICK,
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An image, and a file that is none."""
    path = tmp_path / "data"
    path.mkdir()
    cv2.imwrite(str(path / "a.png"), phantoms(1, 64)[0].image)
    (path / "b.png").write_bytes(b"no picture")
    return path


@pytest.mark.parametrize("command", ["info", "list"])
def test_what_there_is_as_json(dmic: Any, command: str) -> None:
    code, out, _ = dmic(command, "--json")
    assert code == 0
    found = json.loads(out)
    if command == "info":
        assert found["dmic_gym"] == __version__
    else:
        assert {"anchor", "roi", "dmic"} <= set(found["agents"])
        assert set(found) >= {"weights", "tasks", "data", "clips"}


def test_a_comparison_as_json_is_the_file_that_it_writes(dmic: Any, tmp_path: Path) -> None:
    code, out, err = dmic(*BENCH, "--json", "--quiet")
    assert code == 0
    assert err == ""
    assert json.loads(out) == json.loads((tmp_path / "dmic-bench" / "results.json").read_text())


def test_a_quiet_comparison_prints_its_tables_alone(dmic: Any) -> None:
    loud, quiet = dmic(*BENCH), dmic(*BENCH, "--quiet")
    assert "coding" in loud[2]
    assert quiet[2] == ""
    assert "BD-rate" in quiet[1]
    assert quiet[1].splitlines()[-3:] == loud[1].splitlines()[-3:]


def test_quiet_is_for_one_call(dmic: Any) -> None:
    assert dmic(*BENCH, "-q")[2] == ""
    assert "coding" in dmic(*BENCH)[2]


def test_coded_files_as_json(dmic: Any, folder: Path) -> None:
    code, out, err = dmic(
        "encode", folder, "coded", "--agent", "anchor", "--qp", 32, *QUICK, "--json", "--quiet"
    )
    assert code == 1
    found = json.loads(out)
    (file,) = found["files"]
    assert file["source"] == str(folder / "a.png")
    assert file["coded_bytes"] == Path(file["target"]).stat().st_size
    assert (file["frames"], file["raw_bytes"], file["qp"]) == (1, 64 * 64, 32)
    (failed,) = found["failed"]
    assert failed["source"] == str(folder / "b.png")
    assert err.count("skipped") == 1  # an error is said, however quiet
    code, out, _ = dmic("decode", file["target"], "back.png", "--json")
    assert code == 0
    (back,) = json.loads(out)["files"]
    picture = cv2.imread(back["target"], cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    assert picture.shape == (64, 64)


def test_a_log_gets_a_line_each_half_minute(capsys: pytest.CaptureFixture[str]) -> None:
    times = iter(range(10**9, 10**9 + 10**5, 10))  # every look at the clock is 10 seconds later
    progress = ProgressLines(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    progress.get_time = lambda: float(next(times))
    with progress:
        task = progress.add_task("coding", total=40)
        for _ in range(40):
            progress.advance(task)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 5
    assert all(line.startswith("coding") and line.rstrip().endswith("/40") for line in lines)


def test_a_line_of_a_log_is_not_cut_to_the_width_of_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    times = iter(range(10**9, 10**9 + 10**5, 20))
    progress = ProgressLines(TextColumn("{task.description}"), MofNCompleteColumn())
    progress.get_time = lambda: float(next(times))
    with progress:
        progress.update(progress.add_task("a" * 120, total=40), completed=10)
    line, *_ = capsys.readouterr().err.splitlines()
    assert line.startswith("a" * 120)
    assert "10/40" in line
