"""Metrics in a few lines for the terminal: plain sentences, and all figures for who asks for them.

A run's record is read as run.json holds it, whichever version wrote it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from headstart.metrics.classification import Metrics

TITLES = {"train": "training", "cross_validation": "cross-validation", "all": "all images"}
TELLING = ("test", "validation", "all", "cross_validation")  # of new images, what tells most first
OF_SPLIT = {
    "test": "test images",
    "validation": "validation images",
    "cross_validation": "training images, each judged by heads that had not seen it",
}
RATE = 0.05  # false alarms at which a training says what "none of these" is worth
SURE = 0.99  # the accuracy of answers that is told of


def summary(metrics: Mapping[str, Any], *, figures: bool = True) -> str:
    """A few lines for the terminal: the accuracy of each split, and more of the one that tells most
    of new images. figures: those too that say something to few.
    """
    lines = []
    order = ["train", "cross_validation", "validation", "test", "all"]
    for split in sorted(metrics, key=lambda name: order.index(name) if name in order else 9):
        part = metrics[split]
        if part.accuracy is None or part.accuracy_interval is None:
            continue
        low, high = part.accuracy_interval
        lines.append(
            f"{TITLES.get(split, split):<17}{part.accuracy:6.1%} of {part.n:,} images right "
            f"(95% interval {low:.1%} to {high:.1%})"
        )
    telling = metrics.get(find_telling(metrics) or "")
    if not isinstance(telling, Metrics):
        return "\n".join(lines + (telling.details() if telling else []))
    if _are_uneven(telling):
        lines.append(f"balanced accuracy {telling.balanced_accuracy:.1%} (classes count alike)")
    more = []
    if figures and telling.log_loss is not None:
        more = [f"log loss {telling.log_loss:.3f}{_calibration(telling)}"]
    return "\n".join([*lines, *_weaknesses(telling), *more])


def find_telling(metrics: Mapping[str, Any]) -> str | None:
    """The split that tells most of new images."""
    return next((s for s in TELLING if s in metrics and metrics[s].n), None)


def describe_accuracy(metrics: Mapping[str, Any]) -> list[str]:
    """How good and how sure, in plain sentences: of the split that tells most of new images."""
    split = find_telling(metrics)
    if split is None or metrics[split].accuracy is None:
        return []
    telling = metrics[split]
    what = OF_SPLIT.get(split, "images")
    low, high = telling.accuracy_interval
    if not isinstance(telling, Metrics):
        return [
            f"All classes of an image right on {telling.accuracy:.1%} of {telling.n:,} {what}; on "
            f"new ones like them between {low:.1%} and {high:.1%} (95% interval).",
            *(_sentence(line) for line in telling.details()[-1:] if "F1 1.00" not in line),
        ]
    common = max(telling.classes, key=lambda row: row.support)
    return [
        f"Right on {telling.accuracy:.1%} of {telling.n:,} {what}; on new ones like them between "
        f"{low:.1%} and {high:.1%} (95% interval).",
        f"Guessing the commonest class, {common.name}, would be right on "
        f"{common.support / telling.n:.1%}.",
        *[f"Each class counted alike, right on {telling.balanced_accuracy:.1%}."]
        * _are_uneven(telling),
        *map(_sentence, _weaknesses(telling)),
    ]


def describe_epochs(history: Mapping[str, Sequence[float]], kept_epoch: int | None) -> str:
    """Which epoch was the best, by what was looked at beside the training, and which is used."""
    epochs = max((len(values) for values in history.values()), default=0)
    losses = [loss if math.isfinite(loss) else math.inf for loss in history.get("val_loss", ())]
    used = f"the classifier has the weights of epoch {kept_epoch or epochs} of {epochs}"
    if not losses:
        return f"{used[:1].upper()}{used[1:]}."
    best = losses.index(min(losses)) + 1
    accuracies = history.get("val_accuracy", ())
    right = f", {accuracies[best - 1]:.1%} right" if len(accuracies) >= best else ""
    return f"Lowest validation loss: epoch {best}{right}; {used}."


def _sentence(line: str) -> str:
    return f"{line[:1].upper()}{line[1:]}."


def describe_doubts(told: Mapping[str, Any]) -> list[str]:
    """What a training found of calibration, of "not sure" and of "none of these", with figures.

    told: `abstention` of run.json.
    """
    lines = []
    temperature = told.get("temperature")
    if temperature is not None:
        lines.append(
            "stated probabilities stay as they are: a temperature does not help"
            if temperature == 1
            else f"stated probabilities are calibrated: logits divided by {temperature:.2f}"
        )
    answers = [
        f"{row['share']:.0%} of images ({row['interval'][0]:.0%} to {row['interval'][1]:.0%}) at "
        f"{row['accuracy']:.4g} right" + (
            "" if row.get("accuracy_interval") is None else
            " ({:.1%} to {:.1%})".format(*row["accuracy_interval"]))
        for row in told.get("answers") or ()
    ]  # fmt: skip
    if answers:
        lines.append(f"answers {', '.join(answers)}, else \"not sure\" (predict --accuracy; by "
                     "cross-validation)")  # fmt: skip
    left_out = sorted(told.get("left_out") or (), key=lambda row: -row["refused"] / row["images"])
    if left_out:
        extremes = left_out if len(left_out) == 1 else (left_out[0], left_out[-1])
        rows = [
            f"trained without {row['class']}, {row['refused'] / row['images']:.0%} of "
            "{} were refused ({:.0%} to {:.0%})".format(row["class"], *row["interval"])
            for row in extremes
        ]
        lines.append(f"\"none of these\" at {RATE:.0%} false alarms (predict --reject {RATE}): "
                     f"{'; '.join(rows)}")  # fmt: skip
    return lines


def suggest_doubts(told: Mapping[str, Any]) -> list[str]:
    """The same in a line each, for those who have not heard of it."""
    lines = []
    sure = next((r for r in told.get("answers") or () if r["accuracy"] == SURE), None)
    if sure is not None and 0 < sure["share"] < 1:
        lines.append(f"Not sure: predict --accuracy {SURE} answers {sure['share']:.0%} of images "
                     "like these, of the others it says so.")  # fmt: skip
    if told.get("left_out"):
        lines.append(f"None of these: predict --reject {RATE} says so of images unlike them all.")
    return lines


def describe_selection(known: Mapping[str, Any], *, before: bool = False) -> str | None:
    """What was chosen among the cuts and what it is worth; None where nothing was measured.

    known: `selection` of run.json. before: whether an earlier training has measured it.
    """
    if known.get("accuracy") is None:
        return None
    low, high = known["interval"]
    last = "" if known["last"] is None else f"; the last layer {known['last']:.1%}"
    took = f", {len(known['tried'])} candidates in {known['seconds']:.1f} s"
    return (
        f"measured{' before' if before else ''} on {known['images']:,} training images"
        f"{'' if before else took}: {known['chosen']} "
        f"({known['accuracy']:.1%}, {low:.1%} to {high:.1%}{last})"
    )


def _are_uneven(metrics: Metrics) -> bool:
    supports = [row.support for row in metrics.classes if row.support]
    return metrics.balanced_accuracy is not None and max(supports) > 1.5 * min(supports)


def _weaknesses(metrics: Metrics) -> list[str]:
    lines = []
    if len(metrics.classes) > 2:
        weakest = min(
            (row for row in metrics.classes if row.recall is not None),
            key=lambda row: row.recall or 0,
        )
        if weakest.recall is not None and weakest.recall < 1:
            lines.append(
                f"weakest class: {weakest.name}, {weakest.recall:.0%} of {weakest.support} found"
            )
    confused = sorted(
        (
            (count, metrics.classes[i].name, metrics.classes[j].name)
            for i, row in enumerate(metrics.confusion)
            for j, count in enumerate(row)
            if i != j and count
        ),
        key=lambda entry: -entry[0],
    )[:3]
    if confused:
        pairs = ", ".join(f"{a} taken for {b} {count}x" for count, a, b in confused)
        lines.append(f"most confused: {pairs}")
    return lines


def _calibration(metrics: Metrics) -> str:
    """What the images can tell of the stated probabilities."""
    off = metrics.calibration_error_beyond_chance
    if off is None:
        return ""
    if off == 0:
        return f"; stated probabilities are as right as {metrics.n:,} images can tell"
    return f"; stated probabilities are off by {off:.1%} on average, beyond chance"
