"""The curves of training and validation accuracy and loss, as a picture and in the terminal."""

import io
import logging
import math
import warnings
from collections.abc import Mapping, Sequence

from headstart.report.charts import PALETTE, Chart, LineChart, RowChart, shorten

History = Mapping[str, Sequence[float]]

BARS = "▁▂▃▄▅▆▇█"
TRAINING, VALIDATION = "#4878a8", "#d1722e"


def curves_picture(histories: Mapping[str, History]) -> bytes:
    """PNG bytes: accuracy and loss over the epochs, training dashed and validation solid.

    histories: by name, each with Keras' keys loss, accuracy, val_loss, val_accuracy by epoch.
    """
    figure = _figure(9, 3.8)
    left, right = figure.subplots(1, 2)
    for number, (name, history) in enumerate(histories.items()):
        one = len(histories) == 1
        for axis, key in ((left, "accuracy"), (right, "loss")):
            epochs = range(1, len(history.get(key, ())) + 1)
            axis.plot(
                epochs,
                history.get(key, ()),
                "--",
                color=TRAINING if one else f"C{number}",
                label="training" if one else None,
                alpha=1 if one else 0.5,
            )
            axis.plot(
                range(1, len(history.get(f"val_{key}", ())) + 1),
                history.get(f"val_{key}", ()),
                color=VALIDATION if one else f"C{number}",
                label="validation" if one else _plain(name),
            )
    for axis, title in ((left, "Accuracy"), (right, "Loss")):
        axis.set_title(title, loc="left")
        axis.set_xlabel("epoch")
        axis.spines[["top", "right"]].set_visible(False)
        axis.xaxis.get_major_locator().set_params(integer=True)
    left.legend(frameon=False)
    return _png(figure)


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


def dots_picture(
    title: str, rows: Sequence[tuple[str, float, tuple[float, float]]], axis_title: str
) -> bytes:
    """PNG bytes: for each row a name, a value and its interval, one under the other."""
    figure = _figure(8, 1.2 + 0.42 * len(rows))
    axis = figure.subplots()
    for place, (_, value, (low, high)) in enumerate(rows):
        axis.plot([low, high], [-place, -place], color=TRAINING, linewidth=2)
        axis.plot([value], [-place], "o", color=VALIDATION)
    axis.set_ylim(0.5 - len(rows), 0.5)
    axis.set_yticks([-place for place in range(len(rows))], [_plain(name) for name, _, _ in rows])
    axis.set_xlabel(axis_title)
    axis.set_title(_plain(title), loc="left")
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="x", alpha=0.3)
    return _png(figure)


def learning_picture(
    sizes: Sequence[int],
    accuracies: Sequence[float],
    intervals: Sequence[tuple[float, float]],
    forecast: tuple[float, tuple[float, float]],
    classes: Mapping[str, Sequence[float]],
) -> bytes:
    """PNG bytes: accuracy over the number of images, classes faint, and twice as many forecast."""
    figure = _figure(8, 4.4)
    axis = figure.subplots()
    if len(classes) <= 12:
        for name, values in classes.items():
            axis.plot(sizes, values, alpha=0.35, linewidth=1, label=_plain(name))
    low = [value - ends[0] for value, ends in zip(accuracies, intervals, strict=True)]
    high = [ends[1] - value for value, ends in zip(accuracies, intervals, strict=True)]
    axis.errorbar(sizes, accuracies, [low, high], fmt="o-", color=TRAINING, label="all classes")
    value, (least, greatest) = forecast
    twice = 2 * sizes[-1]
    axis.plot([sizes[-1], twice], [accuracies[-1], value], "--", color=VALIDATION)
    axis.errorbar([twice], [value], [[max(0, value - least)], [max(0, greatest - value)]],
                  fmt="o", color=VALIDATION, label="forecast")  # fmt: skip
    axis.set_xscale("log", base=2)
    axis.set_xticks([*sizes, twice], [f"{size:,}" for size in [*sizes, twice]])
    axis.minorticks_off()
    axis.set_xlabel("training images")
    axis.set_ylabel("accuracy, held out, 95% interval")
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", alpha=0.3)
    axis.legend(frameon=False, fontsize=8, ncols=2)
    return _png(figure)


def depths_picture(
    title: str,
    names: Sequence[str],
    series: Mapping[str, Sequence[tuple[str, float, tuple[float, float]]]],
    chosen: Sequence[str] = (),
) -> bytes:
    """PNG bytes: accuracy with its interval over the layers of a backbone, one colour a pooling.

    names: the layers, from the input on. series: by pooling, rows of layer, accuracy and interval.
    chosen: layers to be marked.
    """
    figure = _figure(max(7, 0.24 * len(names) + 2), 4.6)
    axis = figure.subplots()
    for number, (pooling, rows) in enumerate(series.items()):
        places = [names.index(name) + 0.12 * number for name, _, _ in rows]
        values = [value for _, value, _ in rows]
        lengths = [[v - low for _, v, (low, _) in rows], [high - v for _, v, (_, high) in rows]]
        axis.errorbar(places, values, lengths, fmt="o", markersize=4, elinewidth=1, label=pooling,
                      color=f"C{number}")  # fmt: skip
    for name in set(chosen) & set(names):
        axis.axvline(names.index(name), color=VALIDATION, alpha=0.25, linewidth=9, zorder=0)
    axis.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axis.set_ylabel("accuracy by cross-validation, 95% interval")
    axis.set_title(_plain(title), loc="left")
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", alpha=0.3)
    axis.legend(frameon=False)
    return _png(figure)


def rates_picture(rates: Sequence[float], losses: Sequence[float], suggestion: float) -> bytes:
    """PNG bytes: loss over learning rate, the suggested one marked."""
    figure = _figure(6, 3.6)
    axis = figure.subplots()
    axis.plot(rates, losses, color=TRAINING)
    axis.axvline(suggestion, color=VALIDATION, linestyle="--", label=f"suggested {suggestion:.1e}")
    axis.set_xscale("log")
    axis.set_xlabel("learning rate")
    axis.set_ylabel("loss")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    return _png(figure)


def chart_picture(chart: Chart) -> bytes:
    """PNG bytes of a chart that a page holds as SVG."""
    height = 1.2 + 0.3 * len(chart.rows) if isinstance(chart, RowChart) else 4.4
    figure = _figure(6.4, height)
    axis = figure.subplots()
    colours = [light for light, _ in PALETTE]
    if isinstance(chart, LineChart):
        _plot_lines(axis, chart, colours)
    elif isinstance(chart, RowChart):
        _plot_rows(axis, chart, colours)
    else:
        for number in sorted({point[2] for point in chart.points}):
            inside = [point for point in chart.points if point[2] == number]
            axis.plot([p[0] for p in inside], [p[1] for p in inside], "os^D"[number % 4],
                      color=colours[number % len(colours)], markersize=3, linestyle="",
                      label=_plain(chart.classes[number]))  # fmt: skip
        axis.set_xticks([])
        axis.set_yticks([])
    axis.set_title(_plain(chart.title), loc="left", fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)
    if len(axis.get_legend_handles_labels()[1]) > 1:
        axis.legend(frameon=False, fontsize=7, ncols=2)
    return _png(figure)


def _plot_lines(axis, chart: LineChart, colours: Sequence[str]) -> None:  # type: ignore[no-untyped-def]
    for number, line in enumerate(chart.lines):
        colour = colours[number % len(colours)]
        style = {"line": "-", "dots": "o", "both": "o-"}[line.kind]
        axis.plot(line.x, line.y, style, color=colour, label=_plain(line.name), markersize=4)
        if line.low:
            axis.vlines(line.x, line.low, line.high, color=colour, linewidth=1)
    if chart.x_log:
        axis.set_xscale("log")
    if chart.diagonal:
        axis.plot([0, 1], [0, 1], ":", color="grey")
    if chart.mark:
        axis.axvline(chart.mark[0], linestyle=":", color="grey")
    axis.set_xlabel(chart.x_title)
    axis.set_ylabel(chart.y_title)
    axis.grid(axis="y", alpha=0.3)


def _plot_rows(axis, chart: RowChart, colours: Sequence[str]) -> None:  # type: ignore[no-untyped-def]
    for number, series in enumerate(chart.series):
        for place, row in enumerate(chart.rows):
            for name, value, ends in row.values:
                if name != series:
                    continue
                y, colour = -place - 0.15 * number, colours[number % len(colours)]
                axis.plot(list(ends or ()), [y] * len(ends or ()), color=colour, linewidth=1)
                axis.plot([value], [y], "os^D"[number % 4], color=colour, markersize=4)
        axis.plot([], [], "os^D"[number % 4], color=colours[number % len(colours)],
                  label=_plain(series))  # fmt: skip
    axis.set_yticks([-place for place in range(len(chart.rows))],
                    [_plain(shorten(row.name, 32)) for row in chart.rows], fontsize=7)  # fmt: skip
    axis.set_xlabel(chart.x_title)
    axis.grid(axis="x", alpha=0.3)


def _plain(name: str) -> str:
    """A name as text: "$" would begin a formula, "_" at the beginning keep it out of the legend."""
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")


def _figure(width: float, height: float):  # type: ignore[no-untyped-def]
    """A figure that belongs to no window: the user's own pyplot state stays as it is."""
    logger = logging.getLogger("matplotlib")
    if not logger.handlers:  # it tells nobody who has not asked that it makes its cache of fonts
        logger.addHandler(logging.NullHandler())
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _png(figure) -> bytes:  # type: ignore[no-untyped-def]
    buffer = io.BytesIO()
    with warnings.catch_warnings():  # letters that the font lacks are drawn as boxes
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure.savefig(buffer, format="png")
    return buffer.getvalue()
