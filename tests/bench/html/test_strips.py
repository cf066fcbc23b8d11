from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np

from dmic_gym.bench import per_image
from dmic_gym.bench.html.document import Document
from dmic_gym.bench.html.report_data import ReportData
from dmic_gym.bench.html.strips import make_strips
from dmic_gym.tasks.data.sample import Sample


def test_strips_show_best_median_and_worst(document: Document, data: ReportData) -> None:
    (section,) = document.sections
    (results,) = data.results
    assert [strip.place for strip in section.strips] == ["best", "median", "worst"]
    rates = [strip.saving for strip in section.strips]
    assert rates == sorted(rates)
    name = per_image.featured(results)
    assert name == "roi"
    defined = [rate for rate in per_image.savings(results, name).values() if rate is not None]
    assert (rates[0], rates[-1]) == (min(defined), max(defined))
    best = section.strips[0]
    panels = {panel.title: panel for panel in best.panels}
    sample = data.sources["phantoms?count=4&size=96", best.image]
    assert isinstance(sample, Sample)
    np.testing.assert_array_equal(panels["Reference"].picture, sample.image)
    assert not np.array_equal(panels["Reconstruction"].picture, sample.image)
    rows = {(row["name"], row["base_qp"]): row for row in results["agents"][name]["images"]}
    row = rows[best.image, 32]
    assert panels["Reconstruction"].note == f"{row['bits'] // 8:,} bytes"
    anchors = [one for one in results["agents"]["anchor"]["images"] if one["name"] == best.image]
    like = min(anchors, key=lambda one: abs(np.log(one["bits"] / row["bits"])))
    beside = panels["Anchor's reconstruction"]
    assert beside.note == f"QP {like['base_qp']}, {like['bits'] // 8:,} bytes"
    equal = np.array_equal(beside.picture, panels["Reconstruction"].picture)
    assert equal == (like["sha256"] == row["sha256"])
    assert panels["Anchor's agreement"].note == f"Dice {like['dice']:.3f}"
    assert panels["Mask agreement"].note == f"Dice {row['dice']:.3f}"


def test_a_sweep_of_stills_alone_shows_the_best_still(data: ReportData) -> None:
    results = copy.deepcopy(dict(data.results[0]))
    results["agents"] = {"anchor": results["agents"]["anchor"]}
    strips, missing = make_strips(results, data.records, data.sources)
    assert missing == []
    assert strips
    assert "quality" in strips[0].point
    assert "QP map" not in [panel.title for panel in strips[0].panels]


def test_a_stream_that_is_another_now_is_not_shown(data: ReportData) -> None:
    changed = [replace(r, row=r.row and replace(r.row, sha256="00")) for r in data.records]
    strips, missing = make_strips(data.results[0], changed, data.sources)
    assert strips == []
    assert len(missing) == 3
    assert all("another bitstream" in note for note in missing)


def test_a_mask_that_is_another_now_is_not_shown(data: ReportData) -> None:
    changed = [replace(r, row=r.row and replace(r.row, dice=0.01)) for r in data.records]
    strips, missing = make_strips(data.results[0], changed, data.sources)
    assert strips == []
    assert all("segmented otherwise" in note for note in missing)
