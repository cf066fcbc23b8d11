from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dmic_gym import __version__
from dmic_gym.bench.results_files import read_results
from dmic_gym.codecs import X265Codec, uniform_map
from dmic_gym.codecs.hevc import selftest
from dmic_gym.errors import MissingDependencyError
from dmic_gym.tasks.segmenters.weights import shipped_names
from tests.support import error_line, phantoms, python

SEGMENTER = ("--segmenter", "tests.support:vesselness")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two small images with expert masks."""
    path = tmp_path / "data"
    path.mkdir()
    for sample in phantoms(2, 100):
        assert sample.mask is not None
        cv2.imwrite(str(path / f"{sample.name}.png"), sample.image)
        cv2.imwrite(str(path / f"{sample.name}_gt.png"), sample.mask.astype(np.uint8) * 255)
    return path


def test_info(dmic: Any) -> None:
    code, out, _ = dmic("info")
    assert code == 0
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert lines["dmic_gym"] == __version__
    assert lines["python"].startswith("3.")
    assert "passed: QP offsets reach the encoder" in out
    assert "GPU" in lines


def test_info_fails_where_the_self_test_does(dmic: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "_passed", set())
    monkeypatch.setattr(selftest, "_stream_sizes", lambda *_: {20: 9, 30: 9, 40: 9})
    assert "ignores QP offsets" in error_line(dmic("info"))


def test_bench_on_a_folder(dmic: Any, folder: Path, tmp_path: Path) -> None:
    arguments = ["--data", folder, "--preset", "ultrafast", "--out", tmp_path / "out", *SEGMENTER]
    code, out, _ = dmic("bench", *arguments, "--qps", "27,32,37", "--agents", "anchor,roi")
    assert code == 0
    assert "BD-rate" in out
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert list(results["agents"]) == ["anchor", "roi"]
    assert results["agents"]["anchor"]["bd_rate_percent"] == 0.0
    assert results["protocol"]["base_qps"] == [27, 32, 37]
    assert results["protocol"]["images"] == 2
    assert results["protocol"]["command"].startswith("dmic bench --data ")
    assert cv2.imread(str(tmp_path / "out" / "rd-curves.png")) is not None
    codec = X265Codec(64, "ultrafast")
    for row in read_results(tmp_path / "out")[0]["agents"]["anchor"]["images"]:
        image = cv2.imread(str(folder / f"{row['name']}.png"), cv2.IMREAD_GRAYSCALE)
        assert image is not None
        qps = uniform_map((100, 100), 64, row["base_qp"])
        assert row["bits"] == codec.encode([image.astype(np.uint8)], [qps])[0].bits
    assert f"wrote {tmp_path / 'out' / 'results.json'}" in out.replace("\n", " ")


def test_quick_takes_few_images_of_the_phantoms(dmic: Any, tmp_path: Path) -> None:
    code, _, _ = dmic(
        "bench", "--task", "phantoms", "--quick", "--preset", "ultrafast", *SEGMENTER,
        "--agents", "anchor",
    )  # fmt: skip
    assert code == 0
    results = json.loads((tmp_path / "dmic-bench" / "results.json").read_text())
    assert 3 <= results["protocol"]["images"] <= 10
    assert results["protocol"]["base_qps"] == [22, 27, 32, 37]
    assert results["protocol"]["data"] == "phantoms?count=100&seed=1"


def test_images_and_ctu_and_an_agent_of_ones_own(dmic: Any, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine_for_cli.py").write_text(
        "class Agent:\n    def predict(self, seen, state=None, **_):\n        return 4, state\n"
    )
    code, out, _ = dmic(
        "bench", "--data", folder, "--images", 1, "--ctu", 32, "--preset", "ultrafast",
        "--agents", "mine_for_cli:Agent", "--qps", "low", *SEGMENTER,
    )  # fmt: skip
    assert code == 0
    assert "mine_for_cli" in out
    results = json.loads((tmp_path / "dmic-bench" / "results.json").read_text())
    assert list(results["agents"]) == ["anchor", "mine_for_cli:Agent"]
    assert results["protocol"]["base_qps"] == [32, 37, 42, 47]
    rows = read_results(tmp_path / "dmic-bench")[0]["agents"]["mine_for_cli:Agent"]["images"]
    assert [row["qp_map"] for row in rows] == [[[qp + 3] * 4] * 4 for qp in (32, 37, 42, 47)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--agents", "ancor"], "Did you mean 'anchor'"),
        (["--agents", "nowhere:Agent"], "Cannot import 'nowhere'"),
        (["--data", "phantom"], "Did you mean 'phantoms'"),
        (["--data", "no/such/folder"], "No folder"),
        (["--qps", "22,x"], "must be integers with commas"),
        (["--qps", "22.5"], "must be integers"),
        (["--qps", "22,27,60"], "Nearest: 51"),
        (["--qps", ","], "at least one base QP"),
        (["--ctu", "48"], "Nearest: "),
        (["--preset", "quick"], "Unknown x265 preset 'quick'"),
        (["--images", "0"], "a number of 1 or more"),
        (["--out", "IN_THE_WAY"], "Cannot write into"),
        (["--segmenter", "vesselness"], "module:object"),
        (["--segmenter", "tests.support:vesselnes"], "Did you mean 'vesselness'"),
        (["--segmenter", "tests.support:ROOT"], "segmenter must be a name"),
    ],
)
def test_a_bad_argument_is_one_clear_line(
    dmic: Any, tmp_path: Path, arguments: list[str], words: str
) -> None:
    (tmp_path / "IN_THE_WAY").write_text("a file")
    segmenter = () if "--segmenter" in arguments else SEGMENTER
    line = error_line(dmic("bench", "--preset", "ultrafast", *segmenter, *arguments))
    assert words in line
    assert not (tmp_path / "dmic-bench" / "results.json").exists()


@pytest.mark.parametrize(
    "arguments", [["bench", "--ctu", "many"], ["bench", "--nosuch"], ["benhc"], ["info", "more"]]
)
def test_what_is_no_command_is_refused_with_its_usage(dmic: Any, arguments: list[str]) -> None:
    code, out, err = dmic(*arguments)
    assert code == 2
    assert "Usage: " in err
    assert "Traceback" not in out + err


def test_without_a_command_there_is_help(dmic: Any) -> None:
    _, out, err = dmic()
    assert "bench" in out + err
    assert dmic("--help")[0] == 0
    assert dmic("bench", "--help")[0] == 0


def test_errors_are_printed_as_they_are(dmic: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    message = "type: pip install 'dmic_gym[ffmpeg]' [/] " + "and read this long line " * 10

    def fail(*_: Any) -> None:
        raise MissingDependencyError(message.strip())

    monkeypatch.setattr(selftest, "require_working_offsets", fail)
    assert error_line(dmic("info")).strip() == f"Error: {message.strip()}"


def test_the_module_runs_as_installed() -> None:
    code = "from dmic_gym.cli import main; main()"
    done = python("-c", code, "bench", "--agents", "ancor", *SEGMENTER)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Did you mean 'anchor'" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif("second" not in shipped_names(), reason="no second network yet")
def test_the_readmes_first_command(dmic: Any, tmp_path: Path) -> None:
    code, out, _ = dmic("bench", "--quick")
    assert code == 0
    results = json.loads((tmp_path / "dmic-bench" / "results.json").read_text())
    assert list(results["agents"]) == ["anchor", "random", "roi"]
    for agent in results["agents"].values():
        assert all(0.3 < point["dice"] <= 1 for point in agent["points"])
    assert "anchor" in out


def test_version(dmic: Any) -> None:
    code, out, _ = dmic("--version")
    assert code == 0
    assert out == f"dmic_gym {__version__}\n"
