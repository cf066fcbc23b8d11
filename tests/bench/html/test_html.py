from __future__ import annotations

import copy
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from dmic_gym.bench.html.document import Document, make_document
from dmic_gym.bench.html.page import html, markdown
from dmic_gym.bench.html.report_data import ReportData
from dmic_gym.bench.html.report_files import save_report
from dmic_gym.bench.tables import bd_entry, signed
from tests.bench.html.browser import CHROMIUM, measure, screenshot
from tests.bench.html.pages import NASTY, Reader

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium (Debian: chromium)")


@pytest.fixture(scope="module")
def page(document: Document) -> str:
    return html(document)


def test_the_page_needs_nothing_from_outside(page: str) -> None:
    found = Reader(page)
    assert "default-src 'none'" in page
    assert not {"script", "iframe", "object", "embed", "video", "form"} & set(found.tags)
    assert found.links
    assert all(link.startswith("data:") for link in found.links)
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    assert found.tags.count("img") == 3 * 6
    assert found.tags.count("svg") == 6


def test_ids_are_unique_and_references_lead_somewhere(page: str) -> None:
    found = Reader(page)
    assert len(found.ids) == len(set(found.ids)) > 10
    assert found.references
    assert set(found.references) <= set(found.ids)


def test_the_page_tells_the_results(page: str, data: ReportData) -> None:
    text = Reader(page).text
    (results,) = data.results
    for name, part in (results["agents"] | results["stills"]).items():
        assert name in text
        for compared in (part, part["consistency"], part.get("low_rate", part)):
            if name != "anchor":
                assert bd_entry(compared).text in text
                assert bd_entry(compared).detail in text
    for words in ("knows the expert mask", "phantoms?count=4&size=96", "QP 32, 37, 42"):
        assert words in text
    for version in data.runs[0].versions.values():
        assert version in text
    assert data.records[0].provenance["segmenter"]["sha256"] in text
    assert "qcomp=1:" in text.replace("\u200b", "")
    assert "84 of 84 cells" in text
    assert "not complete" not in text


def test_names_are_escaped(data: ReportData) -> None:
    results = copy.deepcopy(dict(data.results[0]))
    results["protocol"]["data"] = NASTY
    results["agents"][NASTY] = results["agents"].pop("roi")
    results["failed"] = {NASTY: NASTY}
    runs = [replace(data.runs[0], command=NASTY)]
    nasty = replace(data, results=[results], warnings=[NASTY], runs=runs)
    made = make_document(nasty, pictures=False)
    found = Reader(html(made))
    assert "img" not in found.tags
    assert found.text.count(NASTY) >= 5
    rows = [line for line in markdown(made).splitlines() if line.startswith(r"| \<img")]
    assert len(re.findall(r"(?<!\\)\|", rows[0])) == 8
    assert "<img" not in re.sub(r"`[^`]*`|\\<", "", markdown(made))


@pytest.mark.parametrize(
    ("bounds", "muted", "words"),
    [
        ([-30.0, -10.0], False, "95 % interval \u221230.0 to \u221210.0 %"),
        ([-30.0, 1.0], True, "not told apart from 0"),
        (None, True, "not told apart from 0"),
    ],
)
def test_a_headline_that_may_be_luck_is_muted(
    data: ReportData, bounds: list[float] | None, muted: bool, words: str
) -> None:
    results = copy.deepcopy(dict(data.results[0]))
    results["agents"]["roi"] |= {"ci95": bounds, "bd_rate_note": "overlap is only 9 %"}
    made = make_document(replace(data, results=[results]), pictures=False)
    page = html(made)
    assert ('class="headline muted"' in page) is muted
    assert made.sections[0].headline is not None
    assert words in made.sections[0].headline.detail
    assert "overlap is only 9 %" in made.sections[0].headline.detail
    low, high = results["agents"]["roi"]["quality_range"]
    assert f"over a Dice of {low:.3f} to {high:.3f}" in Reader(page).text


def test_notes_stand_below_their_figure(data: ReportData) -> None:
    results = copy.deepcopy(dict(data.results[0]))
    results["agents"]["roi"]["bd_rate_note"] = "3 of 1000 resamples have no BD-rate"
    made = make_document(replace(data, results=[results]), pictures=False)
    page = html(made)
    assert '<small class="why">3 of 1000 resamples have no BD-rate</small></div></td>' in page
    roi = next(line for line in markdown(made).splitlines() if line.startswith("| roi"))
    assert "; 3 of 1000 resamples have no BD-rate" in roi


def test_differences_and_bits_at_a_quality_are_told(data: ReportData) -> None:
    text = Reader(html(make_document(data, pictures=False))).text
    (results,) = data.results
    found = results["agents"]["oracle"]["against"]["roi"]
    assert "minus roi" in text
    assert signed(found["points"]) in text
    level = results["agents"]["anchor"]["bits_at"]["dice"]["97"]
    assert f"{level['bits']:,.0f} bits" in text


def test_without_pictures_no_pixel_is_shown(data: ReportData) -> None:
    made = make_document(data, pictures=False)
    assert "data:image" not in html(made)
    assert not any(section.strips for section in made.sections)


def test_without_expert_masks_consistency_is_shown(data: ReportData) -> None:
    results = copy.deepcopy(dict(data.results[0]))
    for part in (results["agents"] | results["stills"]).values():
        for row in (*part["points"], *part["images"]):
            row["dice"] = row["second_dice"] = None
        for compared in (part, part.get("low_rate", {}), part["slices"], part["second"]):
            compared |= {"bd_rate_percent": None, "ci95": None, "bd_rate_note": "undefined"}
    made = make_document(replace(data, results=[results]))
    (section,) = made.sections
    names = [chart.name for chart in section.charts]
    assert names == ["rd-consistency-dice", "rd-codecs", "bd-rate"]
    assert section.headline is None
    assert section.strips == []
    assert "undefined" in Reader(html(made)).text


def test_the_same_store_gives_the_same_bytes(data: ReportData, page: str) -> None:
    assert html(make_document(data)) == page


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("width", [1280, 420])
def test_in_a_browser(document: Document, tmp_path: Path, width: int) -> None:
    save_report(document, tmp_path)
    page = tmp_path / "report.html"
    found = measure(page, tmp_path, width)
    assert [name for name in found["asked"] if not name.startswith("data:")] == []
    assert found["wide"] == found["scroll"] == width
    assert found["outside"] == []
    assert found["overlaps"] == []
    assert found["texts"] > 200
    assert found["smallest"] > 7
    assert (found["images"], found["broken"]) == (18, 0)
    assert len(found["charts"]) == 6
    assert min(found["charts"]) > 0.8 * min(width, 500)
    picture = cv2.imread(str(screenshot(page, tmp_path, width, 3000)))
    assert picture is not None
    assert picture.shape[1] == width
    accent = np.array([0x75, 0x7A, 0x0B])  # BGR of --accent
    assert (np.abs(picture.astype(int) - accent).max(axis=2) < 8).sum() > 300


@pytest.mark.slow
@needs_browser
def test_at_night_it_is_dark(document: Document, tmp_path: Path) -> None:
    save_report(document, tmp_path)
    page = tmp_path / "report.html"
    day = measure(page, tmp_path, 1280)
    night = measure(page, tmp_path, 1280, "--blink-settings=preferredColorScheme=0")
    brightness = [
        sum(int(part) for part in re.findall(r"\d+", found["paper"])) for found in (day, night)
    ]
    assert brightness[0] > 700 > 100 > brightness[1]
    assert night["overlaps"] == []


@pytest.mark.slow
@needs_browser
def test_the_browser_test_sees_what_is_wrong(tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text(
        '<!doctype html><body><main><img src="http://example.invalid/x.png">'
        '<p style="position:absolute;top:0">one</p><p style="position:absolute;top:0">two</p>'
        '<div style="width:3000px">wide</div></main></body>'
    )
    found = measure(page, tmp_path, 420)
    assert found["asked"] == ["http://example.invalid/x.png"]
    assert found["broken"] == 1
    assert "one / two" in found["overlaps"]
    assert any("wide" in element for element in found["outside"])
    assert found["scroll"] > 420
