from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import cv2
import pytest

from dmic_gym.bench.html.document import Document
from dmic_gym.bench.html.report_data import ReportData
from dmic_gym.bench.html.report_files import save_report
from dmic_gym.errors import DataError


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_the_command_writes_all_files(
    store: Path, data: ReportData, tmp_path: Path, dmic: Any
) -> None:
    code, out, _ = dmic("report", store, "--out", tmp_path / "r")
    assert code == 0
    assert "84 of 84 cells" in out
    names = {path.name for path in (tmp_path / "r").iterdir()}
    assert {"report.html", "report.md", "bd-rates.csv", "points.csv", "images.csv"} <= names
    assert {"rd-dice-1.png", "bd-rate-1.png", "saving-area-1.png", "strip-best-1.png"} <= names
    for file in (tmp_path / "r").glob("*.png"):
        picture = cv2.imread(str(file))
        assert picture is not None
        assert picture.std() > 5
    linked = re.findall(r"\]\(([^)]+\.png)\)", (tmp_path / "r" / "report.md").read_text())
    assert linked
    assert set(linked) <= names


def test_csv_holds_the_figures(document: Document, data: ReportData, tmp_path: Path) -> None:
    save_report(document, tmp_path)
    (results,) = data.results
    roi = results["agents"]["roi"]
    rates = {(r["line"], r["points"], r["measure"]): r for r in rows_of(tmp_path / "bd-rates.csv")}
    found = rates["roi", "standard", "dice"]
    assert float(found["bd_rate_percent"]) == roi["bd_rate_percent"]
    assert [float(found["low"]), float(found["high"])] == roi["ci95"]
    assert found["images"] == "4"
    low_rate = rates["roi", "low_rate", "consistency"]["bd_rate_percent"]
    assert float(low_rate) == roi["low_rate"]["consistency"]["bd_rate_percent"]
    assert ("jpeg", "all", "slices") in rates
    points = [row for row in rows_of(tmp_path / "points.csv") if row["line"] == "roi"]
    assert [float(row["dice"]) for row in points] == [point["dice"] for point in roi["points"]]
    assert all(float(r["dice_low"]) <= float(r["dice"]) <= float(r["dice_high"]) for r in points)
    assert len(rows_of(tmp_path / "images.csv")) == len(data.records)


def test_a_folder_that_cannot_be_written(document: Document, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"Cannot write into .*file"):
        save_report(document, tmp_path / "file")
