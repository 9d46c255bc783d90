"""Charts as SVG: whole, described, escaped, on numbers written by hand."""

import math
from xml.etree import ElementTree

import pytest

from headstart.report.charts import (
    Chart,
    Line,
    LineChart,
    Row,
    RowChart,
    Scale,
    ScatterChart,
    draw,
    mark_at,
    shorten,
)

LINES = LineChart(
    "Rise & <fall>", "From 1 to 3.", "x", "share",
    [Line("a<b", [1, 2, 3], [0.1, math.nan, 0.9], kind="both"),
     Line("second", [1, 2], [0.5, 0.5], [0.4, 0.4], [0.6, 0.6], "dots")],
    y_share=True, diagonal=True, marks=[(2, "here")], spoken="No more.",
)  # fmt: skip
ROWS = RowChart(
    "Rows", "Two.", "share",
    [Row("x" * 80, [("avg", 0.5, (0.4, 0.6))], "one", strong=True), Row("y", [("max", 1.0, None)])],
)  # fmt: skip
SCATTER = ScatterChart(
    "Map", "Three.", ["a", "b"], [(0, 0, 0, "1"), (1, 2, 1, "2"), (3, 1, 0, "3")]
)


@pytest.mark.parametrize("chart", [LINES, ROWS, SCATTER])
def test_a_chart_is_whole_and_described(chart: Chart) -> None:
    root = ElementTree.fromstring(draw(chart, "c"))
    name = "{http://www.w3.org/2000/svg}"
    assert root.findtext(f"{name}title") == chart.title
    assert (root.findtext(f"{name}desc") or "").startswith(chart.about)
    assert root.get("aria-labelledby") == "c-t c-d"
    assert root.get("role") == "img"
    _, _, width, height = map(float, (root.get("viewBox") or "").split())
    for text in root.iter(f"{name}text"):
        assert 0 <= float(text.get("x", 0)) <= width
        assert 0 <= float(text.get("y", 0)) <= height


def test_points_that_are_not_known_are_left_out() -> None:
    root = ElementTree.fromstring(draw(LINES, "c"))
    (line,) = root.iter("{http://www.w3.org/2000/svg}polyline")
    assert len((line.get("points") or "").split()) == 2


def test_ticks_are_round_and_within() -> None:
    assert Scale(0, 1, 0, 100).ticks() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert Scale(0.93, 0.985, 0, 100).ticks() == pytest.approx([0.94, 0.96, 0.98])
    assert Scale(1e-4, 10, 0, 100, log=True).ticks() == pytest.approx(
        [1e-4, 1e-3, 1e-2, 0.1, 1, 10]
    )
    assert Scale(0.01, 0.3, 0, 100, log=True).ticks() == pytest.approx([0.01, 0.02, 0.05, 0.1, 0.2])
    assert Scale(5, 5, 0, 100)(5) == 0  # one value only


def test_scales_reach_from_end_to_end() -> None:
    scale = Scale(1, 100, 10, 30, log=True)
    assert [scale(1), scale(10), scale(100)] == [10, 20, 30]


def test_colour_and_shape_tell_32_series_apart() -> None:
    kinds = set()
    for number in range(32):
        mark = mark_at(50, 50, number)
        kinds.add((mark.partition(" ")[0], mark.partition('class="')[2][:2], mark.count("l")))
    assert len(kinds) == 32


def test_a_name_keeps_its_ends() -> None:
    assert shorten("short", 10) == "short"
    assert shorten("a very long name", 9) == "a ve…name"
