"""The charts of a run's page, from what the run keeps.

Letters: N images, C classes.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headstart.heads.calibration import apply_temperature
from headstart.metrics import curves
from headstart.metrics.intervals import interval
from headstart.report.charts import (
    Line,
    LineChart,
    Row,
    RowChart,
    ScatterChart,
    shorten,
)
from headstart.runs.judged import Judged

POINTS = 120  # of a curve
DRAWN = 8  # classes in a chart of curves
MAPPED = 1500  # images in a map of the features
CLASSES_MAPPED = 20  # beyond which colours tell nothing
GRID = 8  # fields of a side of the map of thumbnails, an image each


def chart_history(
    history: Mapping[str, Sequence[float]], kept: int | None, judged: int | None = None
) -> list[LineChart]:
    """Accuracy and loss over the epochs, the best epoch marked and the one that was kept.

    judged: validation images, from which the interval of their accuracy follows.
    """
    charts = []
    marks = mark_epochs(history, kept)
    for key, title in (("accuracy", "Accuracy"), ("loss", "Loss")):
        lines = []
        for name, column in (("training", key), ("validation", f"val_{key}")):
            values = list(history.get(column, ()))
            if values:
                counted = judged if column == "val_accuracy" else None
                ends = [interval(v * counted, counted) or (0.0, 1.0) for v in values if counted]
                low, high = [low for low, _ in ends], [high for _, high in ends]
                lines.append(Line(name, range(1, len(values) + 1), values, low, high))
        if not lines:
            continue
        told = "; ".join(f"{line.name} from {_tell(line.y[0], key)} to {_tell(line.y[-1], key)}"
                         for line in lines)  # fmt: skip
        epochs = max(len(line.x) for line in lines)
        band = "; band: 95% interval of validation" if any(line.low for line in lines) else ""
        charts.append(LineChart(
            f"{title} by epoch", f"{title} over {epochs} epochs: {told}{band}.", "epoch",
            title.lower(), lines, y_share=key == "accuracy", x_whole=True,
            x_range=(1, max(2, epochs)), marks=marks, direct=True,
        ))  # fmt: skip
    return charts


def mark_epochs(
    history: Mapping[str, Sequence[float]], kept: int | None
) -> list[tuple[float, str]]:
    """The epoch of the lowest validation loss, and the one whose weights were kept."""
    losses = [loss if math.isfinite(loss) else math.inf for loss in history.get("val_loss", ())]
    best = 1 + losses.index(min(losses)) if losses else None
    if best is not None and best == kept:
        return [(best, f"best for validation, and kept: {best}")]
    marks = [] if best is None else [(float(best), f"best for validation: {best}")]
    return marks + ([(float(kept), f"kept: {kept}")] if kept else [])


def _tell(value: float, key: str) -> str:
    return f"{value:.1%}" if key == "accuracy" else f"{value:.3f}"


def chart_path(linear: Mapping[str, Any]) -> LineChart | None:
    """Log loss by cross-validation over how strongly the linear head is held back."""
    trials = sorted(linear.get("trials") or (), key=lambda trial: trial["strength"])
    if len(trials) < 2:
        return None
    strengths = [trial["strength"] for trial in trials]
    losses = [trial["log_loss"] for trial in trials]
    errors = [trial["log_loss_error"] for trial in trials]
    chosen = linear["strength"]
    line = Line(
        "cross-validation", strengths, losses,
        [loss - error for loss, error in zip(losses, errors, strict=True)],
        [loss + error for loss, error in zip(losses, errors, strict=True)], "both",
    )  # fmt: skip
    return LineChart(
        "Log loss over the strength of regularisation",
        f"Strengths from {strengths[0]:.2g} to {strengths[-1]:.2g} were tried; {chosen:.2g} has "
        f"the lowest log loss, {min(losses):.3f}.",
        "strength: weak to strong", "log loss ± standard error", [line], x_log=True,
        marks=[(chosen, f"chosen: {chosen:.2g}")],
    )  # fmt: skip


def chart_layers(selection: Mapping[str, Any], cuts: Sequence[str]) -> RowChart | None:
    """Accuracy by cross-validation of each single cut, from the input on, a series a pooling.

    cuts: those that were chosen.
    """
    scores: dict[tuple[str, str], Mapping[str, Any]] = {}
    layers: dict[str, int] = {}
    singles = [row for row in selection.get("tried") or ()
               if " + " not in row["name"] and ", " not in row["name"]]  # fmt: skip
    if not singles:
        return None
    fewest = min(row["images"] for row in singles)
    for row in singles:
        layer, _, pooling = row["name"].partition(":")
        if row["images"] == fewest:  # a stage in which all were tried, from the last layer down
            layers.setdefault(layer, len(layers))
        known = scores.get((layer, pooling))
        if known is None or known["images"] < row["images"]:
            scores[layer, pooling] = row
    for layer, _ in scores:
        layers.setdefault(layer, len(layers))
    if len(layers) < 2:
        return None
    chosen = str(selection.get("chosen", ""))
    names = [cut.partition(":")[0] for cut in cuts]
    rows = [
        Row(layer, [(pooling, row["accuracy"], tuple(row["interval"]))
                    for (name, pooling), row in scores.items() if name == layer],
            group=_stage(layer), strong=layer in names,
            note="chosen" if layer in names else "")
        for layer in sorted(layers, key=lambda name: -layers[name])
    ]  # fmt: skip
    best = max(scores.values(), key=lambda row: row["accuracy"])
    return RowChart(
        "Accuracy by layer, from the input down to the last layer",
        f"{len(layers)} layers, by cross-validation on up to {selection.get('images', 0):,} "
        f"training images; the best single one is {best['name']} with {best['accuracy']:.1%}. "
        f"Chosen: {chosen}.",
        "accuracy, 95% interval", rows,
    )  # fmt: skip


def _stage(layer: str) -> str:
    """The block that a layer belongs to: block6 of block6a_project_bn."""
    found = re.match(r"[a-z]+_?\d+", layer)
    return found.group() if found else layer


def chart_calibration(judged: Judged, temperature: float | None) -> LineChart:
    """What was stated against what was true, before and after calibration."""
    lines = []
    for name, of in (("before calibration", temperature), ("as stated", None)):
        if name != "as stated" and (of is None or of == 1):
            continue
        stated, right = _state(judged, of)
        bins = curves.reliability(stated, right)
        ends = [interval(count * share, count) or (0.0, 1.0) for count, _, share in bins]
        if name != "as stated":
            ends = []
        lines.append(Line(name, [row[1] for row in bins], [row[2] for row in bins],
                          [low for low, _ in ends], [high for _, high in ends],
                          "dots"))  # fmt: skip
    told = "; ".join(f"{line.name}: {_list_pairs(line)}" for line in lines)
    return LineChart(
        "Stated probability against the share that was right",
        "Each mark is the images whose stated probability is alike, with its 95% interval; on the "
        "diagonal what is stated is true.",
        "probability stated", "share right", lines, x_share=True, y_share=True,
        x_range=(0, 1), y_range=(0, 1), diagonal=True, spoken=f"{told}.",
    )  # fmt: skip


def _list_pairs(line: Line) -> str:
    return ", ".join(f"{x:.0%} stated {y:.0%} right" for x, y in zip(line.x, line.y, strict=True))


def _state(judged: Judged, temperature: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities stated and whether they came true: of the class given; of several classes an
    image, of each class. temperature: by which logits had been divided, to be undone.
    """
    p = judged.probabilities
    if judged.task.multilabel:
        if temperature is not None:
            odds = np.log(np.clip(p, 1e-12, 1)) - np.log(np.clip(1 - p, 1e-12, 1))
            p = 1 / (1 + np.exp(-odds * temperature))
        return p.ravel(), judged.has.ravel()
    if temperature is not None:
        p = apply_temperature(p, 1 / temperature)
    return p.max(axis=1), p.argmax(axis=1) == judged.targets


def calibration_error(judged: Judged, temperature: float | None) -> float:
    """Mean distance between what is stated and what is true, in 15 bins (Guo et al. 2017)."""
    stated, right = _state(judged, temperature)
    bins = curves.reliability(stated, right, 15)
    return sum(count * abs(mean - share) for count, mean, share in bins) / max(1, len(stated))


def chart_coverage(judged: Judged) -> LineChart:
    """Accuracy if only the surest images are answered."""
    shares, accuracies = curves.coverage(judged.probabilities.max(axis=1), judged.right)
    kept = _thin(len(shares))
    told = ", ".join(
        f"{curves.answered_at(judged.probabilities.max(axis=1), judged.right, aim):.0%} of the "
        f"images at {aim:.0%}" for aim in (0.95, 0.99)
    )  # fmt: skip
    low = float(accuracies.min()) if len(accuracies) else 0.0
    return LineChart(
        "Accuracy when only the surest images are answered", f"It can answer {told} accuracy.",
        "share of the images answered", "accuracy of these",
        [Line("accuracy", shares[kept].tolist(), accuracies[kept].tolist())],
        x_share=True, y_share=True, x_range=(0, 1), y_range=(max(0.0, min(low, 0.9) - 0.02), 1),
    )  # fmt: skip


def chart_curves(judged: Judged) -> tuple[list[LineChart], list[str]]:
    """Precision over recall and the ROC curve, of each class; the classes drawn."""
    has = judged.has
    swept = {
        c: curves.sweep(judged.probabilities[:, c], has[:, c])
        for c in range(len(judged.classes)) if has[:, c].any() and not has[:, c].all()
    }  # fmt: skip
    if len(judged.classes) == 2 and not judged.task.multilabel:
        drawn = [1] if 1 in swept else []
    else:  # those that are hardest to tell
        drawn = sorted(sorted(swept, key=lambda c: _area(swept[c]))[:DRAWN])
    if not drawn:
        return [], []
    names = [judged.classes[c] for c in drawn]
    areas = ", ".join(f"{shorten(judged.classes[c], 30)}: {_area(swept[c]):.3f}" for c in drawn)
    precision, roc = [], []
    for c in drawn:
        curve, name = swept[c], judged.classes[c]
        kept = _thin(len(curve.thresholds))
        precision.append(Line(name, curve.recall[kept].tolist(), curve.precision[kept].tolist()))
        roc.append(Line(name, [0.0, *curve.false_alarms[kept].tolist()],
                        [0.0, *curve.recall[kept].tolist()]))  # fmt: skip
    of = f" of {names[0]}" if len(names) == 1 else ""
    return [
        LineChart(f"Precision over recall{of}", f"Average precision: {areas}.",
                  "recall: share of the class found", "precision: share rightly given", precision,
                  x_share=True, y_share=True, x_range=(0, 1),
                  y_range=(0 if min(min(line.y) for line in precision) < 0.5 else 0.5, 1)),
        LineChart(f"ROC curve{of}", "Found against false alarms; the diagonal is guessing. Area: "
                  + ", ".join(f"{shorten(judged.classes[c], 30)}: {_roc_area(swept[c]):.3f}"
                              for c in drawn) + ".",
                  "false alarms: share of the others", "share of the class found", roc,
                  x_share=True, y_share=True, x_range=(0, 1), y_range=(0, 1), diagonal=True),
    ], names  # fmt: skip


def _area(curve: curves.Thresholds) -> float:
    """Average precision."""
    gained = np.diff(curve.recall, prepend=0.0)
    return float((curve.precision * gained).sum())


def _roc_area(curve: curves.Thresholds) -> float:
    x, y = np.append(0.0, curve.false_alarms), np.append(0.0, curve.recall)
    return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum())


def _thin(count: int) -> np.ndarray:
    """Places of at most POINTS of so many points, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, POINTS)).astype(int))


def chart_learning(curve: Mapping[str, Any]) -> LineChart:
    """Accuracy over the number of training images, and what twice as many are forecast to bring;
    faint the classes that are hardest.
    """
    sizes, accuracies = curve["sizes"], curve["accuracies"]
    ends, overall = curve["intervals"], curve["overall"]
    now, twice = accuracies[-1], 2 * sizes[-1]
    low, high = overall["gain_interval"]
    classes = sorted((curve.get("classes") or {}).items(), key=lambda pair: pair[1][-1])[:DRAWN]
    faint = f"the {len(classes)} hardest of {len(curve.get('classes') or {}):,} classes"
    return LineChart(
        "Accuracy over the number of training images",
        f"From {accuracies[0]:.1%} with {sizes[0]:,} images to {now:.1%} with {sizes[-1]:,}; with "
        f"{twice:,} forecast {overall['forecast']:.1%} ({max(0.0, now + low):.1%} to "
        f"{min(1.0, now + high):.1%})." + (f" Faint: {faint}." if classes else ""),
        "training images", "accuracy, held out",
        [Line("all", sizes, accuracies, [e[0] for e in ends], [e[1] for e in ends], "both"),
         Line("forecast", [sizes[-1], twice], [now, overall["forecast"]],
              [now, max(0.0, now + low)], [now, min(1.0, now + high)], "both"),
         *(Line(name, sizes, values, faint=True) for name, values in classes)],
        x_log=True, y_share=True, x_range=(sizes[0], twice), direct=True,
    )  # fmt: skip


def read_learning_curve(folder: Path) -> Mapping[str, Any] | None:
    """What headstart learning-curve wrote into the run; None without it or if it does not fit."""
    try:
        content = json.loads((folder / "learning_curve.json").read_text(encoding="utf-8"))
        chart_learning(content)
        return dict(content)
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


def chart_map(
    places: np.ndarray, labels: Sequence[str], names: Sequence[str], classes: Sequence[str]
) -> ScatterChart | None:
    """Training images on the first two principal axes of their features' directions, by class.

    places: (N, k), the first axis last. labels: of N images; of several the first counts.
    """
    if places.shape[1] < 2 or len(places) < 3:
        return None
    xy = places[:, [-1, -2]].astype(np.float64)
    if not np.isfinite(xy).all() or not np.ptp(xy, axis=0).all():
        return None
    few = len(classes) <= CLASSES_MAPPED
    shown = list(classes) if few else ["all classes"]
    number = {name: index for index, name in enumerate(classes)}
    kept = np.unique(np.linspace(0, len(xy) - 1, min(len(xy), MAPPED)).astype(int))
    points = []
    for at in kept.tolist():
        label = labels[at] if labels[at] in number else labels[at].split(";")[0]
        points.append((xy[at, 0], xy[at, 1], number.get(label, 0) if few else 0, names[at]))
    return ScatterChart(
        "Training images by their features",
        f"{len(points):,} of {len(xy):,} training images on the two directions in which their "
        "features vary most: images that are near look alike to the network.",
        shown, points,
    )  # fmt: skip


def choose_mapped(chart: ScatterChart) -> list[tuple[float, float, int, str]]:
    """Of each field of a grid over the map the point nearest to its middle."""
    xs, ys = np.array([p[0] for p in chart.points]), np.array([p[1] for p in chart.points])
    columns = np.clip(((xs - xs.min()) / np.ptp(xs) * GRID).astype(int), 0, GRID - 1)
    rows = np.clip(((ys - ys.min()) / np.ptp(ys) * GRID).astype(int), 0, GRID - 1)
    chosen = []
    for field in np.unique(rows * GRID + columns).tolist():
        inside = np.flatnonzero(rows * GRID + columns == field)
        middle_x = xs.min() + (field % GRID + 0.5) * np.ptp(xs) / GRID
        middle_y = ys.min() + (field // GRID + 0.5) * np.ptp(ys) / GRID
        away = np.hypot((xs[inside] - middle_x) / np.ptp(xs), (ys[inside] - middle_y) / np.ptp(ys))
        chosen.append(chart.points[int(inside[away.argmin()])])
    return chosen
