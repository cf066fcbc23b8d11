from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rich.console import Console

from dmic_gym.bench import replay as replay_module
from dmic_gym.bench.replay import replay, sampled
from dmic_gym.bench.store import ROWS, Store
from dmic_gym.cli.common import say
from dmic_gym.errors import DataError, InvalidInputError
from tests.bench.records import record, stored
from tests.bench.sweeping import swept
from tests.support import ROOT, phantoms


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sweep of agents and a still codec over files."""
    data = tmp_path / "data"
    data.mkdir()
    for sample in phantoms(2, 96):
        assert sample.mask is not None
        cv2.imwrite(str(data / f"{sample.name}.png"), sample.image)
        cv2.imwrite(str(data / f"{sample.name}_gt.png"), sample.mask.astype(np.uint8) * 255)
    out = tmp_path / "out"
    swept(
        out,
        data=[str(data)],
        agents=["anchor", "random"],
        codecs=["x265", "jpeg"],
        base_qps=[32],
        qualities={"jpeg": [20]},
        second="tests.support:vesselness",
    )
    return out


def tamper(
    folder: Path, change: Callable[[dict[str, Any]], None], agent: str, image: str = ""
) -> None:
    """Change the stored rows of an agent or still codec, of all images or one."""
    lines = [json.loads(line) for line in (folder / ROWS).read_text().splitlines()]
    origins = [line["cell"] for line in lines if "origin" in line]
    for line in lines:
        cell = origins[line["of"]] if "of" in line else {}
        if agent in (cell.get("agent"), cell.get("codec")) and image in line["image"]:
            change(line)
    (folder / ROWS).write_text("".join(f"{json.dumps(line)}\n" for line in lines))


@pytest.mark.slow
def test_processes_find_what_one_does(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tamper(folder, lambda line: line.update(bits=7), "random", "0001")
    records = stored(folder)
    alone = list(replay(records))
    assert sum(not verdict.equal for verdict in alone) == 1
    monkeypatch.setattr(replay_module, "_CHUNK", 2)
    assert list(replay(records, jobs=2)) == alone


def test_an_untouched_store_replays_with_ticks(dmic: Any, folder: Path) -> None:
    code, out, _ = dmic("replay", folder)
    assert code == 0
    lines = out.splitlines()
    assert len(lines) == 7
    assert all(line.startswith("✓ ") for line in lines[:6])
    assert "✓ phantom-0-0000 random QP 32 CTU 64" in lines
    assert "✓ phantom-0-0001 jpeg quality 20" in lines
    assert lines[-1] == "6 of 6 cells as stored"


def test_the_file_itself_may_be_named_and_a_sample_taken(dmic: Any, folder: Path) -> None:
    code, out, _ = dmic("replay", folder / ROWS, "--sample", 2)
    assert code == 0
    assert out.count("✓") == 2
    assert dmic("replay", folder, "--sample", 99)[1].count("✓") == 6


def bits(row: dict[str, Any]) -> None:
    row["bits"] += 8


def sha256(row: dict[str, Any]) -> None:
    row["sha256"] = "0" * 64


def dice(row: dict[str, Any]) -> None:
    row["dice"] += 0.002


def second_dice(row: dict[str, Any]) -> None:
    row["second_dice"] = None


def qp_map(row: dict[str, Any]) -> None:
    row["qp_map"][0][0] += 1


def wrong_shape(row: dict[str, Any]) -> None:
    row["qp_map"] = [[32]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (bits, "bits "),
        (sha256, "stored 000000000000..."),
        (dice, "dice "),
        (second_dice, "stored None"),
        (qp_map, "sha256 "),
        (wrong_shape, "qp_map has shape (1, 1)"),
    ],
)
def test_a_tampered_cell_is_a_cross_and_the_exit_says_so(
    dmic: Any, folder: Path, change: Callable[[dict[str, Any]], None], words: str
) -> None:
    tamper(folder, change, "random", "0001")
    code, out, _ = dmic("replay", folder)
    assert code == 1
    crosses = [line for line in out.splitlines() if line.startswith("✗")]
    assert crosses == ["✗ phantom-0-0001 random QP 32 CTU 64"]
    assert words in out
    assert out.splitlines()[-1] == "5 of 6 cells as stored"


def test_a_difference_within_the_tolerance_is_none(folder: Path) -> None:
    def nudge(row: dict[str, Any]) -> None:
        row["dice"] += 0.0009
        row["psnr"] -= 0.0009

    for agent in ("anchor", "random", "jpeg"):
        tamper(folder, nudge, agent)
    assert all(verdict.equal for verdict in replay(stored(folder)))


def test_a_tampered_still_is_a_cross(dmic: Any, folder: Path) -> None:
    tamper(folder, lambda row: row.update(bits=row["bits"] + 8), "jpeg")
    code, out, _ = dmic("replay", folder)
    assert code == 1
    assert out.count("✗") == 2


def test_changed_data_is_named_as_the_cause(folder: Path) -> None:
    data = Path(stored(folder)[0].cell.data)
    cv2.imwrite(str(data / "phantom-0-0000.png"), phantoms(1, 96, seed=5)[0].image)
    (data / "phantom-0-0001.png").unlink()
    (data / "phantom-0-0001_gt.png").unlink()
    verdicts = {str(v.record.cell): v.differences for v in replay(stored(folder))}
    changed = verdicts["phantom-0-0000 anchor QP 32 CTU 64"]
    assert changed[0].startswith("bits ")
    assert any(line.startswith("image is another now") for line in changed)
    gone = verdicts["phantom-0-0001 anchor QP 32 CTU 64"]
    assert "has no image 'phantom-0-0001' any more" in gone[0]


def test_a_changed_network_is_named_as_the_cause(tmp_path: Path) -> None:
    (first, *_) = swept(tmp_path, base_qps=[32])
    cell = first.cell.as_dict() | {"segmenter": "tests.bench.test_replay:sees_nothing"}
    other = type(first)(first.id, type(first.cell)(**cell), first.provenance, first.row)
    (verdict,) = replay([other])
    assert not any(line.startswith("bits") for line in verdict.differences)
    assert any(line.startswith("dice") for line in verdict.differences)
    assert any(line.startswith("segmenter is another now") for line in verdict.differences)


def sees_nothing(images: Any, /) -> Any:
    return np.zeros(images.shape, np.float32)


def test_a_sample_is_drawn_without_replacement_and_in_order() -> None:
    records = [record(f"{number:03}") for number in range(50)]
    drawn = sampled(records, 20)
    assert len({r.id for r in drawn}) == 20
    assert drawn == sorted(drawn, key=lambda r: r.cell.image)
    assert drawn == sampled(records, 20)
    assert drawn != sampled(records, 20, seed=1)
    assert sampled(records, None) == records
    with pytest.raises(InvalidInputError, match="--sample 0 is too few"):
        sampled(records, 0)
    with pytest.raises(InvalidInputError, match="no finished cell"):
        sampled([], None)


def test_no_store_no_replay(dmic: Any, tmp_path: Path) -> None:
    code, _, err = dmic("replay", tmp_path / "nowhere")
    assert code == 2
    assert "No run in" in err
    assert issubclass(DataError, OSError)


def test_a_terminal_without_ticks_gets_words(folder: Path) -> None:
    code = "from dmic_gym.cli import main; main()"
    arguments = [sys.executable, "-c", code, "replay", str(folder), "--sample", "1"]
    variables = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(arguments, cwd=ROOT, env=variables, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode("latin-1").startswith("equal phantom-0-000")


def test_names_that_a_terminal_lacks_do_not_end_it() -> None:
    class Latin(io.StringIO):
        encoding = "latin-1"

    screen = Console(file=Latin())
    say("\u2713 \u5f71.png caf\u00e9", screen)
    assert screen.file.getvalue() == "? ?.png caf\u00e9\n"  # type: ignore[attr-defined]


def test_a_relative_data_path_is_found_from_another_folder(
    dmic: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    swept(tmp_path / "runs" / "relative", data=["data"], base_qps=[32])
    monkeypatch.chdir(tmp_path / "out")
    code, out, _ = dmic("replay", tmp_path / "runs" / "relative")
    assert code == 0
    assert out.splitlines()[-1] == "4 of 4 cells as stored"
    with Store.open(tmp_path / "runs" / "relative") as store:
        assert store.runs()[0].folder == "../.."
        assert str(tmp_path) not in str(store.runs())


def test_a_relative_data_path_that_is_lost_says_where_to_stand(
    dmic: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    swept(tmp_path / "relative", data=["data"], base_qps=[32])
    elsewhere = tmp_path / "moved" / "deep"
    elsewhere.mkdir(parents=True)
    (tmp_path / "relative").rename(elsewhere / "relative")
    monkeypatch.chdir(elsewhere)
    code, out, _ = dmic("replay", elsewhere / "relative")
    assert code == 1
    assert "'data' is relative to the folder that the sweep was started in: stand in" in out
