from __future__ import annotations

import re

import numpy as np

from dmic_gym.bench import style
from dmic_gym.bench.charts import bd_chart, curve_charts
from dmic_gym.bench.html.inline_svg import inline_svg
from dmic_gym.bench.html.report_data import ReportData
from dmic_gym.bench.tables import bd_entry, signed


def test_figures_hold_the_curves(data: ReportData) -> None:
    (results,) = data.results
    charts = {chart.name: chart for chart in curve_charts(results)}
    assert set(charts) == {"rd-dice", "rd-second-dice", "rd-consistency-dice", "rd-codecs"}
    lines = {line.get_label(): line for line in charts["rd-dice"].figure.axes[0].get_lines()}
    assert set(lines) == {"anchor", "roi", "oracle"}
    points = results["agents"]["roi"]["points"]
    drawn = np.asarray(lines["roi"].get_xydata())
    np.testing.assert_allclose(drawn, [[p["bits"], p["dice"]] for p in points])
    assert lines["roi"].get_color() == style.ACCENT
    codecs = {line.get_label() for line in charts["rd-codecs"].figure.axes[0].get_lines()}
    assert codecs == {"anchor", "roi", "jpeg"}
    ticks = [label.get_text() for label in bd_chart(results).figure.axes[0].get_yticklabels()]
    assert ticks == ["roi", "oracle", "jpeg"]


def test_stills_alone_stand_in_every_chart(data: ReportData) -> None:
    results = dict(data.results[0])
    results["agents"] = {"anchor": results["agents"]["anchor"]}
    charts = curve_charts(results)
    assert "rd-codecs" not in [chart.name for chart in charts]
    for chart in charts:
        lines = {line.get_label() for line in chart.figure.axes[0].get_lines()}
        assert lines == {"anchor", "jpeg"}


def test_svg_for_a_page(data: ReportData) -> None:
    (results,) = data.results
    drawn = inline_svg(curve_charts(results)[0].svg, "one", 'a "label" & more')
    assert drawn.startswith("<svg ")
    assert 'aria-label="a &quot;label&quot; &amp; more"' in drawn
    assert "var(--accent)" in drawn
    assert not re.search(r"<svg[^>]* (width|height)=", drawn)
    assert "metadata" not in drawn
    assert "font-family" not in drawn
    ids = re.findall(r' id="([^"]+)"', drawn)
    assert ids
    assert all(name.startswith("one-") for name in ids)


def test_long_names_are_shortened_in_figures() -> None:
    assert style.short("search:30") == "search:30"
    name = "my_package.my_module:MyAgent+refine:100"
    assert len(style.short(name)) <= 28
    assert style.short(name).endswith("+refine:100")


def test_cells_of_bd_rates() -> None:
    gain = bd_entry({"bd_rate_percent": -20.04, "ci95": [-30.0, -10.0], "bd_rate_note": "why"})
    assert gain.text == "\u221220.0 %"
    assert gain.detail == "\u221230.0 to \u221210.0"
    assert (gain.tone, gain.note) == ("gain", "why")
    assert bd_entry({"bd_rate_percent": -20.0, "ci95": [-30.0, 1.0], "bd_rate_note": ""}).tone == ""
    assert bd_entry({"bd_rate_percent": -20.0, "ci95": None, "bd_rate_note": ""}).tone == ""
    undefined = bd_entry({"bd_rate_percent": None, "ci95": None, "bd_rate_note": "undefined: why"})
    assert (undefined.text, undefined.note) == ("undefined", "why")
    assert signed(3.26) == "+3.3"
