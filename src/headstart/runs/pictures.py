"""The pictures that commands draw: a function each, of what was measured.

Each says in its title and below it of which photos and run it is, and what was chosen why. Where
two were measured on the same images, their difference is drawn too, with the interval that the
paired test gives it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.data.given import name_place
from headstart.metrics.comparison import Comparison, adjust, compare_right
from headstart.report.charts import Line, LineChart, Picture, Row, RowChart
from headstart.runs import page_charts as charts

if TYPE_CHECKING:
    from headstart.runs.compare import Compared
    from headstart.runs.folder import Run
    from headstart.runs.remedies import Remedies
    from headstart.selection.cuts import Selection
    from headstart.selection.heads import HeadSelection
    from headstart.selection.learning_curve import LearningCurve

Measured = tuple[str, float, tuple[float, float] | None]  # name, accuracy, its interval
AXIS = "accuracy, 95% interval"


def name_run(run: "Run") -> str:
    """Of which photos and run a picture is."""
    record = run.record
    return name_training(run.folder, record["source"], record["images"], record["classes"])


def name_training(
    folder: Path, source: str | Path, images: Mapping[str, int], classes: Sequence[str]
) -> str:
    """The same of a run that is not written yet. images: how many, by split."""
    counts = ", ".join(f"{images[split]:,} {split}" for split in ("train", "validation", "test")
                       if images.get(split))  # fmt: skip
    return (f"{folder.name}, trained on {name_place(source)}: {counts} images of "
            f"{len(classes):,} classes")  # fmt: skip


def picture_curves(of: str, history: Mapping[str, Sequence[float]], kept: int | None,
                   judged: int | None) -> Picture:  # fmt: skip
    """Accuracy and loss over the epochs. of: as `name_run` tells; judged: validation images."""
    drawn = charts.chart_history(history, kept, judged)
    told = " ".join(chart.about for chart in drawn)
    return Picture("Accuracy and loss by epoch", f"{of}. {told}", drawn)


def picture_heads(selection: "HeadSelection", photos: str) -> Picture:
    """Heads, and the simplest against each other one on the same images."""
    first, chosen = selection.tried[0], selection.chosen
    pairs = [compare_right(score.right, first.right) for score in selection.tried[1:]]
    return Picture(
        f"Which head serves {photos} best",
        f"{len(first.right):,} training images, each judged by heads that had not seen it. Chosen: "
        f"{chosen.name}, the simplest within one standard error of the lowest log loss. What the "
        f"choice flatters taken off it is {_percent(selection.worth.accuracy)} right "
        f"({_ends(selection.worth.interval)}). “Cannot tell” allows for how many were tried.",
        chart_tried(
            [(s.name, s.accuracy, s.accuracy_interval) for s in selection.tried], chosen.name,
            pairs,
        ),
    )  # fmt: skip


def picture_remedies(run: "Run", outcome: "Remedies") -> Picture:
    """Remedies, and each against the recipe as it was on the same images."""
    tried, best, worth = outcome.tried, outcome.best, outcome.worth
    return Picture(
        f"{run.folder.name}: what helps",
        f"{tried[0].metrics.n:,} training images of {Path(run.record['source']).name}, by "
        "cross-validation. "
        f"Best for its time: {best.name}; what the choice among so many flatters taken off it is "
        f"{_percent(worth.accuracy)} right ({_ends(worth.interval)}). “Cannot tell” allows for how "
        "many were tried.",
        chart_remedies(outcome),
    )


def chart_remedies(outcome: "Remedies") -> list[RowChart]:
    """Accuracy with each remedy, and against the recipe as it was."""
    rows: list[Measured] = [
        (r.name, r.metrics.accuracy or 0.0, r.metrics.accuracy_interval) for r in outcome.tried
    ]
    pairs = [r.comparison for r in outcome.tried[1:] if r.comparison]
    return chart_tried(rows, outcome.best.name, pairs)


def picture_layers(selection: "Selection", photos: str) -> Picture:
    """Accuracy by layer, from the input down to the last one."""
    assert selection.chosen is not None
    chart = charts.chart_layers(
        selection.to_dict(), [str(cut) for cut in selection.chosen.cuts]
    ) or chart_measured("Accuracy by cut", [(score.name, score.accuracy, score.accuracy_interval)
                                         for score in selection.tried])  # fmt: skip
    return Picture(f"{selection.recipe.backbone}: which layer serves {photos} best",
                   chart.about, [chart])  # fmt: skip


def picture_learning(curve: "LearningCurve", photos: str) -> Picture:
    """Accuracy over the number of training images."""
    chart = charts.chart_learning(curve.to_dict())
    return Picture(f"What more images would bring {photos}", chart.about, [chart])


def picture_rates(
    rates: Sequence[float], losses: Sequence[float], suggestion: float, photos: str
) -> Picture:
    """Loss over the learning rate, the suggested one marked."""
    chart = LineChart(
        "Loss over the learning rate", f"The rate grows step by step (Smith 2017); suggested is "
        f"{suggestion:.1e}, well before the loss is lowest.", "learning rate", "loss, smoothed",
        [Line("loss", rates, losses)], x_log=True, marks=[(suggestion, f"{suggestion:.1e}")],
    )  # fmt: skip
    return Picture(f"A learning rate for {photos}", chart.about, [chart])


def picture_compared(compared: "Compared") -> Picture:
    """Accuracy of each run, and the first against each other one on the images of both; of runs
    trained in epochs the curves.
    """
    of = "; ".join(map(name_run, compared.runs))
    if any(run.history for run in compared.runs):
        drawn: list[Any] = list(chart_histories(compared))
        return Picture("Runs side by side, by epoch", f"{of}.", drawn)
    drawn = [chart_accuracies(compared), *chart_pairs(compared)]
    return Picture("Runs side by side", f"{of}. On the same images the difference is of pairs: "
                   "where its interval holds 0 the data cannot tell.", drawn)  # fmt: skip


def chart_accuracies(compared: "Compared") -> RowChart:
    """Of each run and split, what was not trained on."""
    names = name_short(compared)
    measured = [
        (name, split, run.metrics[split])
        for name, run in zip(names, compared.runs, strict=True)
        for split in ("validation", "test")
        if split in run.metrics and run.metrics[split].accuracy is not None
    ]
    several = len({split for _, split, _ in measured}) > 1
    return chart_measured("Accuracy of each run", [
        (f"{name}, {split}" if several else name, figures.accuracy, figures.accuracy_interval)
        for name, split, figures in measured
    ])  # fmt: skip


def chart_pairs(compared: "Compared") -> list[RowChart]:
    """The first run minus each other one, on the images of both; none where there are none."""
    first, *others = name_short(compared)
    pairs = [(f"minus {name}", pair, _shorten(pair.verdict))
             for name, pair in zip(others, compared.pairs, strict=True) if pair]  # fmt: skip
    return [_chart_differences(f"{first} against the others", pairs)] if pairs else []


def chart_histories(compared: "Compared") -> list[LineChart]:
    """Validation accuracy and loss of the runs that have epochs."""
    drawn = []
    for key, title in (("val_accuracy", "Validation accuracy"), ("val_loss", "Validation loss")):
        lines = [
            Line(name, range(1, len(run.history[key]) + 1), run.history[key])
            for name, run in zip(name_short(compared), compared.runs, strict=True)
            if run.history.get(key)
        ]  # fmt: skip
        if lines:
            share = key == "val_accuracy"
            ends = "; ".join(
                f"{line.name} ends at " + (_percent(line.y[-1]) if share else f"{line.y[-1]:.3f}")
                for line in lines
            )
            drawn.append(LineChart(f"{title} by epoch", f"{ends}.", "epoch", title.lower(), lines,
                                   x_whole=True, y_share=share, direct=True))  # fmt: skip
    return drawn


def name_short(compared: "Compared") -> list[str]:
    """The runs by the names of their folders, in full where these are alike."""
    short = [run.folder.name for run in compared.runs]
    return short if len(set(short)) == len(short) else [str(run.folder) for run in compared.runs]


def chart_measured(title: str, rows: Sequence[Measured], chosen: str = "") -> RowChart:
    """Accuracies with their intervals, told beside them."""
    best = max(rows, key=lambda row: row[1], default=None)
    about = f"{len(rows)} rows; the highest is {best[0]}, {_percent(best[1])}." if best else ""
    return RowChart(title, about, AXIS, [
        Row(name, [("accuracy", value, ends)], strong=name == chosen, note=_percent(value))
        for name, value, ends in rows
    ])  # fmt: skip


def chart_tried(rows: Sequence[Measured], chosen: str,
                pairs: Sequence[Comparison]) -> list[RowChart]:  # fmt: skip
    """Accuracies of what was tried, and each but the first against the first: their verdicts allow
    for how many there are.
    """
    first, *others = rows
    p_values = adjust([pair.p_value for pair in pairs])
    verdicts = ["cannot tell" if p >= 0.05 else "better" if pair.difference > 0 else "worse"
                for pair, p in zip(pairs, p_values, strict=True)]  # fmt: skip
    compared = [(row[0], pair, verdict)
                for row, pair, verdict in zip(others, pairs, verdicts, strict=False)]  # fmt: skip
    accuracies = chart_measured("Accuracy", rows, chosen)
    if not compared:
        return [accuracies]
    differences = _chart_differences(f"Against “{first[0]}”, on the same images", compared)
    none = Row(first[0], [], strong=first[0] == chosen)
    return [accuracies, RowChart(differences.title, differences.about, differences.x_title,
            [none, *(Row(r.name, r.values, strong=r.name == chosen, note=r.note)
                     for r in differences.rows)], signed=True)]  # fmt: skip


def _chart_differences(title: str, pairs: Sequence[tuple[str, Comparison, str]]) -> RowChart:
    told = "; ".join(f"{name} {_percent(pair.difference, '+')}, {verdict}"
                     for name, pair, verdict in pairs)  # fmt: skip
    return RowChart(title, f"{told}.", "difference of accuracy, 95% interval", [
        Row(name, [("difference", pair.difference, pair.difference_interval)],
            note=f"{_percent(pair.difference, '+')} {verdict}")
        for name, pair, verdict in pairs
    ], signed=True)  # fmt: skip


def _shorten(verdict: str) -> str:
    """What a comparison says of its first one."""
    return {"the first is better": "better", "the second is better": "worse"}.get(
        verdict, "cannot tell"
    )


def _percent(share: float, sign: str = "") -> str:
    return f"{share:{sign}.1%}"


def _ends(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.1%} to {ends[1]:.1%}"
