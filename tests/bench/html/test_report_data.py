from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import pytest

from dmic_gym.bench.html.document import make_document
from dmic_gym.bench.html.page import html
from dmic_gym.bench.html.report_data import ReportData, read_report_data
from dmic_gym.bench.plan import make_plan
from dmic_gym.bench.rows import Record, identity
from dmic_gym.bench.store import Store
from dmic_gym.errors import InvalidInputError
from tests.bench.html.pages import NASTY, Reader
from tests.bench.records import record
from tests.bench.sweeping import small, swept
from tests.support import phantoms


def copied(source: Path, folder: Path, change: Callable[[Record], Record | None]) -> Path:
    """A store with another's cells, changed, or left out where `change` returns None."""
    with Store.open(source) as opened:
        run, records = opened.runs()[0], opened.records()
    with Store.create(folder) as made:
        made.begin_run(run.command, run.definition, run.versions)
        for found in map(change, records):
            if found is not None:
                made.add(replace(found, run=1))
    return folder


def other(found: Record, **made: Any) -> Record:
    """The same result, come to in another way."""
    provenance = {**found.provenance, **made}
    return replace(found, id=identity(provenance), provenance=provenance)


def read(folder: Path) -> ReportData:
    with Store.open(folder) as opened:
        return read_report_data(opened)


def page_text(data: ReportData) -> str:
    return Reader(html(make_document(data))).text


def test_images_that_changed_or_are_gone_are_not_shown(store: Path, tmp_path: Path) -> None:
    def other_image(found: Record) -> Record:
        return other(found, image="00")

    found = read(copied(store, tmp_path, other_image))
    assert found.sources == {}
    assert any("Changed since" in warning for warning in found.warnings)
    (section,) = make_document(found).sections
    assert section.strips == []
    assert "saving-area" not in [chart.name for chart in section.charts]
    assert any("not at hand" in note for note in section.notes)


def test_data_that_cannot_be_loaded_leaves_the_figures(store: Path, tmp_path: Path) -> None:
    def elsewhere(found: Record) -> Record:
        return replace(found, cell=replace(found.cell, data="$NO_SUCH_VARIABLE/images"))

    found = read(copied(store, tmp_path, elsewhere))
    assert any("NO_SUCH_VARIABLE is not set" in warning for warning in found.warnings)
    (results,) = found.results
    assert results["protocol"]["images"] == 4
    assert "NO_SUCH_VARIABLE" in page_text(found)


def test_a_sweep_under_way_says_what_is_missing(store: Path, tmp_path: Path) -> None:
    def early(found: Record) -> Record | None:
        late = found.cell.image.endswith("3") and found.cell.point > 27
        return None if late or found.cell.agent == "oracle" else found

    folder = copied(store, tmp_path, early)
    with Store.create(folder) as opened:
        opened.add(record("phantom-0-0003", row=None, error=NASTY))
    found = read(folder)
    lines = {line.line: line for line in found.incomplete}
    assert set(lines) == {"anchor", "roi", "oracle", "jpeg"}
    assert (lines["oracle"].done, lines["oracle"].planned) == (0, 20)
    assert lines["roi"].planned - lines["roi"].done == 3
    text = page_text(found)
    assert "This run is not complete" in text
    assert f"{found.planned - found.done} of {found.planned} cells have no result" in text
    assert NASTY in text
    assert "3 images, x265 ultrafast" in text


def test_without_a_complete_anchor_there_is_a_page_all_the_same(
    store: Path, tmp_path: Path
) -> None:
    folder = copied(store, tmp_path, lambda found: found if found.cell.agent == "roi" else None)
    found = read(folder)
    assert found.results == []
    assert "nothing to compare" in page_text(found)


def test_an_empty_store_is_an_error(tmp_path: Path) -> None:
    with Store.create(tmp_path) as made, pytest.raises(InvalidInputError, match="no finished cell"):
        read_report_data(made)


def test_mixed_installations_are_told(store: Path, tmp_path: Path) -> None:
    folder = copied(store, tmp_path, lambda found: found)
    with Store.create(folder) as opened:
        found = opened.records()[0]
        opened.add(other(found, package="0.0.1"))
    assert any("installations are mixed (package)" in warning for warning in read(folder).warnings)


def test_a_network_that_was_trained_on_the_images_is_told(tmp_path: Path) -> None:
    told = "The segmenter unet was trained on images phantom-0-0000"
    plan = make_plan(small(segmenter="unet", images=2, agents=["anchor"]))
    assert plan.warnings[0].startswith(told)
    assert make_plan(small(data=["phantoms?count=2&seed=99"], segmenter="unet")).warnings == ()
    swept(tmp_path, segmenter="unet", agents=["anchor"])
    assert any(warning.startswith(told) for warning in read(tmp_path).warnings)


def test_a_report_finds_relative_data_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (sample,) = phantoms(1, 96)
    cv2.imwrite(str(tmp_path / "data" / "one.png"), sample.image)
    monkeypatch.chdir(tmp_path)
    swept(tmp_path / "runs" / "here", data=["data"], agents=["anchor"])
    monkeypatch.chdir(tmp_path / "runs")
    found = read(tmp_path / "runs" / "here")
    assert list(found.sources) == [("data", "one")]
    assert found.warnings == []
