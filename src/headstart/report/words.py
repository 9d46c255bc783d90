"""Metrics in a few lines for the terminal."""

from collections.abc import Mapping
from typing import Any

from headstart.metrics.classification import Metrics

TITLES = {"train": "training", "cross_validation": "cross-validation", "all": "all images"}


def summary(metrics: Mapping[str, Any]) -> str:
    """A few lines for the terminal, on the split that tells most about new images."""
    lines = []
    order = ["train", "cross_validation", "validation", "test", "all"]
    for split in sorted(metrics, key=lambda name: order.index(name) if name in order else 9):
        figures = metrics[split]
        if figures.accuracy is None or figures.accuracy_interval is None:
            continue
        low, high = figures.accuracy_interval
        lines.append(
            f"{TITLES.get(split, split):<17}{figures.accuracy:6.1%} of {figures.n:,} images right "
            f"(95% interval {low:.1%} to {high:.1%})"
        )
    telling = next(
        (metrics[s] for s in ("test", "validation", "all", "cross_validation") if s in metrics
         and metrics[s].n), None,
    )  # fmt: skip
    if telling is not None and not isinstance(telling, Metrics):
        return "\n".join(lines + telling.details())
    return "\n".join(lines + (_details(telling) if telling else []))


def _details(metrics: Metrics) -> list[str]:
    lines = []
    supports = [row.support for row in metrics.classes if row.support]
    if metrics.balanced_accuracy is not None and max(supports) > 1.5 * min(supports):
        lines.append(f"balanced accuracy {metrics.balanced_accuracy:.1%} (classes count alike)")
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
    if metrics.log_loss is not None:
        lines.append(f"log loss {metrics.log_loss:.3f}{_calibration(metrics)}")
    return lines


def _calibration(metrics: Metrics) -> str:
    """What the images can tell of the stated probabilities."""
    off = metrics.calibration_error_beyond_chance
    if off is None:
        return ""
    if off == 0:
        return f"; stated probabilities are as right as {metrics.n:,} images can tell"
    return f"; stated probabilities are off by {off:.1%} on average, beyond chance"
