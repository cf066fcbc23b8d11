from __future__ import annotations

import copy
import re

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from dmic_gym.bench import style
from dmic_gym.bench.charts import bd_chart, curve_charts, draw_curves, few_lines
from dmic_gym.bench.datasets import pixels_of
from dmic_gym.bench.html.inline_svg import inline_svg
from dmic_gym.bench.html.report_data import ReportData
from dmic_gym.bench.labels import label_lines
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


def texts_of(axes: Axes) -> dict[str, Bbox]:
    """The names written in a panel, and where."""
    axes.figure.canvas.draw()
    return {text.get_text(): text.get_window_extent() for text in axes.texts}


def test_every_curve_bears_its_name_within_the_panel(data: ReportData) -> None:
    for chart in curve_charts(data.results[0]):
        axes = chart.figure.axes[0]
        places = texts_of(axes)
        assert set(places) == {line.get_label() for line in axes.get_lines()}
        room = axes.get_window_extent()
        boxes = list(places.values())
        assert all(Bbox.union([room, box]).bounds == room.bounds for box in boxes)
        assert not any(a.overlaps(b) for n, a in enumerate(boxes) for b in boxes[:n])


def test_names_keep_clear_of_other_curves() -> None:
    axes = Figure(figsize=(5, 4), layout="constrained").subplots()
    x = np.arange(6)
    lines = [axes.plot(x, x * slope, label=name)[0] for name, slope in (("up", 1), ("down", -1))]
    label_lines(axes, lines)
    points = {line.get_label(): line.get_transform().transform(line.get_xydata()) for line in lines}
    for name, box in texts_of(axes).items():
        other = points["up" if name == "down" else "down"]
        assert not any(box.contains(x, y) for x, y in other)
        own = min(np.hypot(*(point - box.get_points().mean(0))) for point in points[name])
        assert own < min(np.hypot(*(point - box.get_points().mean(0))) for point in other)


def test_many_agents_are_thinned_out_but_for_policies_and_rivals(data: ReportData) -> None:
    results = copy.deepcopy(dict(data.results[0]))
    agents = results["agents"]
    assert few_lines(results) == ["anchor", "roi", "oracle"]
    names = ["random", *(f"search:{n}" for n in range(20, 29)), "dmic-1shot+refine:5", "table"]
    agents |= {name: {**agents["roi"], "bd_rate_percent": 0.0} for name in names}
    results["protocol"]["compare"] = ["table"]
    few = few_lines(results)
    assert len(few) == 8
    assert {"anchor", "roi", "dmic-1shot+refine:5", "table"} < set(few)
    assert "random" not in few
    assert few == [name for name in agents if name in few]
    assert {line.get_label() for line in draw_curves(results).axes[0].get_lines()} == set(few)


def test_a_second_axis_says_bits_per_pixel(data: ReportData) -> None:
    axes = curve_charts(data.results[0])[0].figure.axes[0]
    (top,) = axes.child_axes
    assert top.get_xlabel() == "bits per pixel"
    pixels = data.results[0]["protocol"]["pixels"]
    assert pixels == np.mean([pixels_of(source) for source in data.sources.values()]) == 96 * 96
    axes.figure.canvas.draw()
    np.testing.assert_allclose(np.array(top.get_xlim()) * pixels, axes.get_xlim())
    assert axes.get_xlabel() == "kbit per image (mean, log scale)"


def test_looks_are_told_apart() -> None:
    names = ["anchor", "random", "roi", "a", "b", "c", "jpeg"]
    looks = style.looks_of(names, anchor="anchor", accent="b", leads=["a", "b"], dotted=["jpeg"])
    assert list(looks) == names
    assert len({(look.colour, look.marker) for look in looks.values()}) == len(names)
    assert looks["anchor"].front > looks["b"].front > looks["a"].front > looks["roi"].front
    assert [name for name in names if looks[name].dashes == ":"] == ["jpeg"]


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
