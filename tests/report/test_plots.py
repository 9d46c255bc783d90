"""Pictures as files: light, dark, SVG, with any name in them."""

import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from headstart.report import style
from headstart.report.charts import Line, LineChart, Picture, Row, RowChart, ScatterChart, spread
from headstart.report.plots import draw_picture

LINES = LineChart(
    "Accuracy", "Up.", "epoch", "accuracy",
    [Line("training", [1, 2, 3], [0.5, 0.8, 0.9]),
     Line("validation", [1, 2, 3], [0.4, 0.6, 0.7], [0.3, 0.5, 0.6], [0.5, 0.7, 0.8]),
     Line("cats", [1, 2, 3], [0.2, 0.3, 0.4], faint=True)],
    y_share=True, x_whole=True, marks=[(2, "best: 2"), (3, "kept: 3")], direct=True,
)  # fmt: skip
ROWS = RowChart(
    "Difference", "", "difference",
    [Row("as it was", []), Row("views", [("difference", 0.05, (0.01, 0.09))], note="+5.0% better",
                               strong=True)], signed=True,
)  # fmt: skip
MAP = ScatterChart("Map", "", ["a", "b"], [(0, 0, 0, "1"), (1, 2, 1, "2")])


@pytest.mark.parametrize("chart", [LINES, ROWS, MAP])
def test_a_picture_is_light_or_dark_by_its_name(chart: LineChart) -> None:
    for name, ground in (("a.png", style.PAPER[0]), ("a-dark.png", style.PAPER[1])):
        drawn = draw_picture(Picture("Title", "Of these photos.", [chart]), Path(name))
        image = Image.open(io.BytesIO(drawn))
        assert round(image.info["dpi"][0]) == style.DPI
        corner = np.asarray(image.convert("RGB"))[0, 0]
        assert "#" + bytes(corner.tolist()).hex() == ground


def test_an_svg_follows_whoever_shows_it() -> None:
    drawn = draw_picture(Picture("Title", "Of these.", [LINES, LINES]), Path("a.SVG")).decode()
    ElementTree.fromstring(drawn)
    light, dark = style.PALETTE[0]
    assert f"stroke: {light}; stroke: light-dark({light}, {dark})" in drawn
    assert "color-scheme: light dark" in drawn
    assert (
        drawn == draw_picture(Picture("Title", "Of these.", [LINES, LINES]), Path("b.svg")).decode()
    )


def test_names_at_the_ends_of_lines_do_not_touch() -> None:
    assert spread([1, 5, 9], 2) == [1, 5, 9]
    assert spread([5, 5, 5], 2) == [3, 5, 7]
    assert spread([4, 1, 1.5], 1) == [4, 0.75, 1.75]
    assert spread([5, 5], 2, [1, 2]) == [5, 5]  # one beside the other
    assert spread([], 1) == []


@pytest.mark.parametrize("name", ["$x_$", "_hidden", "\u732b", "\U0001f600", "100%", "a\\b"])
def test_any_name_can_be_drawn(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """No formula is read in a "$", no font is missed aloud, and no name is left out."""

    def draw(name: str, chart: LineChart | RowChart) -> bytes:
        return draw_picture(Picture(name, name, [chart]), Path("a.png"))

    empty = draw("", replace(LINES, lines=[Line("", [1, 2], [0.5, 0.6])], direct=False))
    lines = [Line(name, [1, 2], [0.5, 0.6]), Line("other", [1, 2], [0.5, 0.6])]
    for chart in (
        replace(LINES, lines=lines),
        replace(LINES, lines=lines, direct=False, marks=[(1, name)]),
        RowChart(name, "", name, [Row(name, [(name, 0.5, None), ("b", 0.4, None)], note=name)]),
    ):
        assert draw(name, chart).startswith(b"\x89PNG")
        assert draw(name, chart) != empty
    assert caplog.text == ""


def test_matplotlib_says_nothing_by_itself(tmp_path: Path) -> None:
    """Where its cache of fonts lies, and that this takes a moment."""
    program = (
        "from pathlib import Path\n"
        "from headstart.report.charts import Picture, Row, RowChart\n"
        "from headstart.report.plots import draw_picture\n"
        "chart = RowChart('', '', '', [Row('$x', [('a', 0.5, (0.4, 0.6))])])\n"
        "draw_picture(Picture('\u732b', '', [chart]), Path('a.png'))"
    )
    (tmp_path / "file").write_text("")
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True,
        env={**os.environ, "MPLCONFIGDIR": str(tmp_path / "file" / "inside")},
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stderr == ""
