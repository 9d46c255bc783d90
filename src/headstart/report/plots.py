"""Pictures as files: PNG or SVG by the file's name, of the same charts that the pages hold.

NAME.png is drawn on a light ground and NAME-dark.png on a dark one; NAME.svg follows whoever shows
it. And the curves of a training in block characters, for the terminal.
"""

import io
import logging
import math
import re
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headstart.report import style
from headstart.report.charts import (
    NAMED,
    Chart,
    Line,
    LineChart,
    Picture,
    RowChart,
    Scale,
    ScatterChart,
    last_points,
    ranges,
    row_range,
    shorten,
    spread,
    tell,
)

History = Mapping[str, Sequence[float]]

BARS = "▁▂▃▄▅▆▇█"
WIDTH, PLOT, ROW = 6.4, 3.6, 0.29  # inches: of a chart, its height, of a row
LETTER, TITLE, TEXT = 0.083, 0.32, 0.19  # inches: of a letter; heights of a title and a line
MARKS = "os^D"


def draw_picture(picture: Picture, name: Path) -> bytes:
    """The bytes of a picture of that name: SVG where it ends in .svg, else PNG of 160 dots an inch;
    on a dark ground where it is called NAME-dark.png.
    """
    logger = logging.getLogger("matplotlib")
    if not logger.handlers:  # it tells nobody who has not asked that it makes its cache of fonts
        logger.addHandler(logging.NullHandler())
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    is_svg = name.suffix.lower() == ".svg"
    dark = not is_svg and name.stem.endswith("-dark")
    width = max(WIDTH * (0.85 if len(picture.charts) > 1 else 1) * len(picture.charts), WIDTH)
    lines = textwrap.wrap(picture.about, int((width - 0.3) / LETTER))
    head = TITLE + 0.12 + TEXT * len(lines)
    height = head + max(map(_height, picture.charts))
    with rc_context(_settings(dark)):
        # A figure that belongs to no window: the user's own pyplot state stays as it is.
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        figure.get_layout_engine().set(rect=(0.005, 0, 0.99, 1 - head / height), wspace=0.04)  # type: ignore[call-arg, union-attr]
        figure.text(0.12 / width, 1 - 0.12 / height, picture.title, va="top",
                    fontsize=12, fontweight="bold")  # fmt: skip
        for number, line in enumerate(lines):
            y = 1 - (0.06 + TITLE + TEXT * number) / height
            figure.text(0.12 / width, y, line, va="top", color=_Pen(dark).soft)
        axes = figure.subplots(1, len(picture.charts), squeeze=False)[0]
        for place, (axis, chart) in enumerate(zip(axes, picture.charts, strict=True)):
            _plot(axis, chart, _Pen(dark), place == 0 or not _alike(chart, picture.charts[0]))
            if len(picture.charts) > 1:
                axis.set_title(chart.title, loc="left", fontsize=10)
        return _svg(figure) if is_svg else _png(figure)


class _Pen:
    """The colours of one ground."""

    def __init__(self, dark: bool) -> None:
        self.paper, self.ink, self.soft, self.line, self.band = (
            pair[dark] for pair in (style.PAPER, style.INK, style.SOFT, style.LINE, style.BAND)
        )
        self.colours = [pair[dark] for pair in style.PALETTE]

    def colour(self, number: int) -> str:
        return self.colours[number % len(self.colours)]


def _settings(dark: bool) -> dict[str, Any]:
    pen = _Pen(dark)
    return {
        "figure.facecolor": pen.paper, "savefig.facecolor": pen.paper, "axes.facecolor": pen.paper,
        "text.color": pen.ink, "axes.labelcolor": pen.soft, "axes.edgecolor": pen.soft,
        "xtick.color": pen.ink, "ytick.color": pen.ink, "grid.color": pen.line, "font.size": 9,
        "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
        "savefig.dpi": style.DPI, "text.parse_math": False, "svg.hashsalt": "headstart",
    }  # fmt: skip


def _height(chart: Chart) -> float:
    if isinstance(chart, RowChart):
        legend = len(chart.series) > 1
        return 0.75 + ROW * len(chart.rows) + 0.3 * legend
    return PLOT if isinstance(chart, LineChart) else WIDTH * 0.8


def _alike(chart: Chart, other: Chart) -> bool:
    """Whether their rows are the same, so that their names need not be written twice."""
    return isinstance(chart, RowChart) and isinstance(other, RowChart) and (
        [row.name for row in chart.rows] == [row.name for row in other.rows]
    )  # fmt: skip


def _plot(axis: Any, chart: Chart, pen: _Pen, named: bool) -> None:
    if isinstance(chart, LineChart):
        _plot_lines(axis, chart, pen)
    elif isinstance(chart, RowChart):
        _plot_rows(axis, chart, pen, named)
    else:
        _plot_scatter(axis, chart, pen)


def _plot_lines(axis: Any, chart: LineChart, pen: _Pen) -> None:
    (low_x, high_x), (low_y, high_y) = ranges(chart)
    across, up = Scale(low_x, high_x, 0, 1, chart.x_log), Scale(low_y, high_y, 0, 1)
    if chart.x_log:
        axis.set_xscale("log")
    for number, line in enumerate(chart.lines):
        _plot_line(axis, line, number, pen)
    if chart.diagonal:
        axis.plot([low_x, high_x], [low_x, high_x], ":", color=pen.soft)
    for number, (x, words) in enumerate(chart.marks):
        axis.axvline(x, linestyle=":", color=pen.soft)
        left, at_top = across(x) > 0.5, _is_clear_above(chart, x, across, up)
        shift = (-2 - 12 * number) * (1 if at_top else -1)
        axis.annotate(words, (x, at_top), (-4 if left else 4, shift), color=pen.soft,
                      xycoords=("data", "axes fraction"), textcoords="offset points", zorder=5,
                      bbox={"facecolor": pen.paper, "linewidth": 0, "pad": 1, "alpha": 0.8},
                      ha="right" if left else "left", va="top" if at_top else "bottom")  # fmt: skip
    ends = last_points(chart)
    if chart.direct:
        least = 0.15 / (PLOT - 0.8) * (high_y - low_y)
        beside = spread([y for _, y in ends], least, [x for x, _ in ends])
        for number, (line, (x, _), y) in enumerate(zip(chart.lines, ends, beside, strict=True)):
            axis.annotate(shorten(line.name, NAMED), (x, y), (7, 0),
                          textcoords="offset points", va="center", annotation_clip=False,
                          color=pen.soft if line.faint else pen.colour(number))  # fmt: skip
    room = 0.02 * (high_y - low_y)
    axis.set_xlim(low_x, high_x)
    axis.set_ylim(low_y - room, high_y + room)
    ticks = [x for x in across.ticks(6) if not chart.x_whole or x == round(x)]
    axis.set_xticks(ticks, [tell(x, chart.x_share) for x in ticks])
    axis.set_yticks(up.ticks(), [tell(y, chart.y_share) for y in up.ticks()])
    axis.minorticks_off()
    axis.set_xlabel(chart.x_title)
    axis.set_ylabel(chart.y_title)
    axis.grid(axis="y")
    if len(chart.lines) > 1 and not chart.direct:
        axis.legend(frameon=False, fontsize=8, ncols=2)


def _is_clear_above(chart: LineChart, x: float, across: Scale, up: Scale) -> bool:
    """Whether words about `x` hide fewer points at the top than at the bottom."""
    near = [up(y) for line in chart.lines for at, y in zip(line.x, line.y, strict=True)
            if math.isfinite(y) and abs(across(at) - across(x)) < 0.4]  # fmt: skip
    return sum(y > 0.85 for y in near) <= sum(y < 0.15 for y in near)


def _plot_line(axis: Any, line: Line, number: int, pen: _Pen) -> None:
    if line.faint:
        axis.plot(line.x, line.y, color=pen.soft, alpha=0.4, linewidth=1, zorder=1)
        return
    colour = pen.colour(number)
    dash = style.DASHES[number % len(style.DASHES)]
    axis.plot(
        line.x, line.y, color=colour, linewidth=0 if line.kind == "dots" else 1.8, markersize=5,
        linestyle=(0, tuple(map(float, dash.split()))) if dash else "-",
        marker="" if line.kind == "line" else MARKS[number % len(MARKS)], clip_on=False,
        label=_named(line.name),
    )  # fmt: skip
    if line.low and line.kind == "line":
        axis.fill_between(line.x, line.low, line.high, color=colour, alpha=0.14, linewidth=0)
    elif line.low:
        axis.vlines(line.x, line.low, line.high, color=colour, linewidth=1.2)


def _plot_rows(axis: Any, chart: RowChart, pen: _Pen, named: bool) -> None:
    series, groups = chart.series, 0
    for place, row in enumerate(chart.rows):
        groups += place == 0 or row.group != chart.rows[place - 1].group
        if groups % 2 == 0:
            axis.axhspan(-place - 0.5, -place + 0.5, color=pen.band, linewidth=0, zorder=0)
        for at, (name, value, ends) in enumerate(row.values):
            number = series.index(name)
            y, colour = -place - 0.2 * (at - (len(row.values) - 1) / 2), pen.colour(number)
            if ends:
                axis.plot(list(ends), [y, y], color=colour, linewidth=1.6)
            axis.plot([value], [y], MARKS[number % len(MARKS)], color=colour,
                      markersize=8 if row.strong else 5)  # fmt: skip
        axis.text(1.01, -place, row.note, transform=axis.get_yaxis_transform(),
                  va="center", color=pen.ink if row.strong else pen.soft,
                  fontweight="bold" if row.strong else "normal")  # fmt: skip
    low, high = row_range(chart)
    axis.set_xlim(low, high)
    axis.set_ylim(0.6 - len(chart.rows), 0.6)
    ticks = Scale(low, high, 0, 1).ticks()
    axis.set_xticks(ticks, [tell(x, True, chart.signed) for x in ticks])
    names = [shorten(row.name, 36) if named else "" for row in chart.rows]
    axis.set_yticks([-place for place in range(len(names))], names)
    for label, row in zip(axis.get_yticklabels(), chart.rows, strict=True):
        label.set_fontweight("bold" if row.strong else "normal")
    axis.tick_params(axis="y", length=0)
    if chart.signed:
        axis.axvline(0, linestyle=":", color=pen.soft)
    axis.set_xlabel(chart.x_title)
    axis.grid(axis="x")
    axis.spines["left"].set_visible(False)
    if len(series) > 1:
        for number, name in enumerate(series):
            axis.plot([], [], MARKS[number % len(MARKS)], color=pen.colour(number),
                      markersize=5, label=_named(name))  # fmt: skip
        axis.legend(frameon=False, ncols=len(series), loc="lower left", bbox_to_anchor=(0, 1),
                    borderaxespad=0, handletextpad=0.1)  # fmt: skip


def _plot_scatter(axis: Any, chart: ScatterChart, pen: _Pen) -> None:
    for number in sorted({point[2] for point in chart.points}):
        inside = [point for point in chart.points if point[2] == number]
        axis.plot([p[0] for p in inside], [p[1] for p in inside], MARKS[number % len(MARKS)],
                  color=pen.colour(number), markersize=3, linestyle="",
                  label=_named(chart.classes[number]))  # fmt: skip
    axis.set_xticks([])
    axis.set_yticks([])
    axis.legend(frameon=False, fontsize=8, ncols=5, loc="upper center", bbox_to_anchor=(0.5, 0))


def _named(name: str) -> str:
    """A name for a legend, which leaves out those that begin with "_"."""
    return " " + name if name.startswith("_") else name


def _png(figure: Any) -> bytes:
    return _save(figure, format="png")


def _svg(figure: Any) -> bytes:
    """Its colours are light or dark as whoever shows it is; where that is not understood, light."""
    text = _save(figure, format="svg", metadata={"Date": None}).decode()
    pairs = [style.PAPER, style.INK, style.SOFT, style.LINE, style.BAND, *style.PALETTE]
    for light, dark in pairs:
        text = re.sub(rf"(fill|stroke): {light}\b",
                      rf"\1: {light}; \1: light-dark({light}, {dark})", text)  # fmt: skip
    head, _, body = text.partition("<defs>")
    return f"{head}<style>:root {{ color-scheme: light dark }}</style><defs>{body}".encode()


def _save(figure: Any, **form: Any) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():  # letters that the font lacks are drawn as boxes
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure.savefig(buffer, **form)
    return buffer.getvalue()


def curves_text(history: History) -> str:
    """The curves in block characters, first and last value beside them."""
    lines = []
    for key in ("accuracy", "val_accuracy", "loss", "val_loss"):
        values = list(history.get(key, ()))
        if values:
            title = {"val_accuracy": "validation accuracy", "val_loss": "validation loss"}
            lines.append(
                f"{title.get(key, f'training {key}'):<20}{spark(values)}  "
                f"{values[0]:.3f} to {values[-1]:.3f}"
            )
    return "\n".join(lines)


def spark(values: Sequence[float]) -> str:
    """One block character a value, the lowest and the highest of them at the ends; x for nan."""
    known = [value for value in values if math.isfinite(value)]
    low, high = min(known, default=0.0), max(known, default=0.0)
    span = high - low or 1.0
    return "".join(
        BARS[round((value - low) / span * (len(BARS) - 1))] if math.isfinite(value) else "x"
        for value in values
    )
