"""What an audit finds: one value a finding, and how findings are put in order."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from headstart.data.item import Item

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
# In the order in which they are told, each with what it is called of one and of many.
KINDS = {
    "unreadable": ("unreadable file", "unreadable files"),
    "leak": ("set of copies on both sides of the split", "sets of copies on both sides"),
    "duplicate": ("set of exact copies", "sets of exact copies"),
    "near_duplicate": ("set of near-duplicates", "sets of near-duplicates"),
    "label": ("label that is perhaps wrong", "labels that are perhaps wrong"),
    "shortcut": ("shortcut", "shortcuts"),
    "groups": ("grouping that the file names suggest", "groupings that the file names suggest"),
    "blank": ("blank image", "blank images"),
    "outlier": ("image least like the others", "images least like the others"),
    "dark": ("dark image", "dark images"),
    "bright": ("bright image", "bright images"),
    "blurred": ("blurred image", "blurred images"),
    "odd_size": ("image of an odd size", "images of an odd size"),
    "imbalance": ("imbalance of the classes", "imbalances of the classes"),
    "few": ("class with too few images to tell", "classes with too few images to tell"),
}


@dataclass(frozen=True)
class Finding:
    """One thing that is amiss. items: the images it is about, the first one first. score: how
    plainly, comparable within a kind. evidence, advice: a sentence each. details: further fields
    of some kinds.
    """

    kind: str
    severity: Severity
    items: tuple[Item, ...]
    score: float
    evidence: str
    advice: str
    details: dict[str, Any] = field(default_factory=dict)

    def to_dict(self, paths: dict[Item, str]) -> dict[str, Any]:
        """Plain JSON types. paths: by item, relative to where the images are."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "images": [{"path": paths[item], "split": item.split} for item in self.items],
            "score": round(float(self.score), 4),
            "evidence": self.evidence,
            "advice": self.advice,
            **self.details,
        }


def put_in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """By kind; within one as they were given, which is the plainest first."""
    place = {kind: number for number, kind in enumerate(KINDS)}
    return tuple(sorted(findings, key=lambda finding: place[finding.kind]))


def worst(findings: Sequence[Finding]) -> Severity:
    """The gravest severity among them, of which there is one at least."""
    return min((finding.severity for finding in findings), key=SEVERITIES.index)
