"""Whether there are enough images of every class to learn from and to tell."""

from collections import Counter
from collections.abc import Sequence

from headstart.audit.findings import Finding, Severity
from headstart.data.item import Item
from headstart.metrics.intervals import interval

RATIO = 5  # the largest class to the smallest one that is an imbalance
LEARN, TELL = 20, 20  # images of a class below which little is learned; can be told


def find_imbalance(items: Sequence[Item], classes: Sequence[str]) -> list[Finding]:
    """The rarest class against the most common one, among training images."""
    counts = _count(items, "train", classes)
    rare = min(classes, key=counts.__getitem__)
    common = max(classes, key=counts.__getitem__)
    if counts[common] < RATIO * max(counts[rare], 1):
        return []
    severity: Severity = "warning" if counts[common] >= 4 * RATIO * max(counts[rare], 1) else "note"
    return [
        Finding(
            "imbalance", severity, (), counts[common] / max(counts[rare], 1),
            f"{counts[common]:,} training images of {common}, {counts[rare]:,} of {rare}",
            "headstart train PHOTOS --balanced counts rare classes as much; read the balanced "
            "accuracy",
            {"largest": common, "smallest": rare},
        )
    ]  # fmt: skip


def find_few(items: Sequence[Item], classes: Sequence[str]) -> list[Finding]:
    """Classes with too few images to learn from, or to tell how well they are known."""
    training = _count(items, "train", classes)
    judging = {name: max(_count(items, split, classes)[name] for split in ("validation", "test"))
               for name in classes}  # fmt: skip
    findings = []
    for name in classes:
        if training[name] < LEARN:
            findings.append(
                Finding("few", "warning", (), 1 - training[name] / LEARN,
                        f"{training[name]:,} training images of {name}",
                        f"add images of {name}; headstart learning-curve tells what they bring",
                        {"class": name, "split": "train"})
            )  # fmt: skip
        if judging[name] < TELL:
            seen = judging[name]
            ends = interval(0.9 * seen, seen)
            told = f": 90% found of them may be {ends[0]:.0%} to {ends[1]:.0%}" if ends else ""
            findings.append(
                Finding("few", "note", (), 1 - seen / TELL,
                        f"{seen or 'no'} validation images judge {name}{told}",
                        f"add validation images of {name}, or read cross-validation instead",
                        {"class": name, "split": "validation"})
            )  # fmt: skip
    return findings


def _count(items: Sequence[Item], split: str, classes: Sequence[str]) -> Counter[str]:
    counted = Counter(dict.fromkeys(classes, 0))
    for item in items:
        if item.split == split:
            counted.update(item.labels)
    return counted
