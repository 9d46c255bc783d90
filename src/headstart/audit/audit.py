"""audit(): what is wrong with labelled images, the whole story on one page.

All is made of what is in the cache, or is put there: features of the frozen network, what the
images look like, and what heads say of images that they have not seen.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from headstart.audit.balance import find_few, find_imbalance
from headstart.audit.duplicates import find_copies, find_leaks, find_near_copies
from headstart.audit.evidence import Evidence, Opinions, ask_heads, examine
from headstart.audit.findings import Finding, put_in_order
from headstart.audit.groups import find_groups
from headstart.audit.labels import Ranking, find_wrong_labels, rank_labels
from headstart.audit.pixels import look
from headstart.audit.quality import find_flaws, find_outliers
from headstart.audit.shortcuts import find_shortcuts
from headstart.data.dataset import Dataset, load
from headstart.data.decisions import locate
from headstart.data.given import settle
from headstart.data.item import Item
from headstart.errors import DatasetError
from headstart.features.extract import extract_features
from headstart.features.extractor import open_extractor
from headstart.images.augment import NONE
from headstart.recipe import Choices, Recipe, load_recipe
from headstart.system.progress import Progress, Silent


@dataclass(frozen=True)
class Audit:
    """What was found in `images` images. paths: of the items, relative to where the images are.
    labels: how the list of labels was measured; None where they cannot be judged.
    """

    images: int
    findings: tuple[Finding, ...]
    paths: dict[Item, str]
    labels: Ranking | None = None

    def of(self, kind: str) -> list[Finding]:
        """The findings of a kind, the plainest first."""
        return [finding for finding in self.findings if finding.kind == kind]

    def suggest(self) -> list[tuple[str, str, str]]:
        """Rows of a table of decisions, for a person to go through: what the findings come to."""
        rows: dict[str, tuple[str, str, str]] = {}
        for finding in self.findings:
            if finding.kind == "label":
                path, suggested = self.paths[finding.items[0]], finding.details["suggested"]
                decision = "relabel" if suggested else "drop"  # its one label is the doubted one
                rows.setdefault(path, (path, decision, suggested))
            elif finding.kind in ("blank", "duplicate"):
                same = len({item.label for item in finding.items}) == 1
                for item in finding.items[finding.kind == "duplicate" :] if same else ():
                    path = self.paths[item]
                    rows.setdefault(path, (path, "drop", ""))
        return list(rows.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "images": self.images,
            "findings": [finding.to_dict(self.paths) for finding in self.findings],
            "labels": self.labels.to_dict() if self.labels else None,
        }


def audit(
    source: Any,
    recipe: str | Path | Recipe = "quick",
    *,
    progress: Progress | None = None,
    **choices: Unpack[Choices],
) -> Audit:
    """What is wrong with the labelled images in a folder, table or archive.

    recipe, choices: as `train` takes them; the features are those of the last layer. Nothing is
    moved or changed. Raises a HeadstartError as `train` does, and DatasetError if no image can be
    used.
    """
    progress = progress or Silent()
    chosen = load_recipe(recipe, **choices).changed(cut="last", views=1, augmentation=NONE)
    source = settle(source)
    with progress.stage("dataset"):
        dataset = load(source, validation_fraction=chosen.validation_fraction, seed=chosen.seed,
                       groups=chosen.groups, progress=progress)  # fmt: skip
    for warning in dataset.warnings:
        progress.warn(warning)
    with progress.stage("features", len(dataset.items), "images"):
        features = extract_features(dataset.items, open_extractor(chosen), chosen, progress)
    if len(features.items) < 2:
        first = f". The first that is not: {features.bad[0][1]}" if features.bad else ""
        raise DatasetError(
            f"expected two usable images or more in {source}, found {len(features.items)}{first}"
        )
    with progress.stage("audit"):
        looks, values = look(features.items, progress), features.values[:, 0]
        evidence = examine(features.items, dataset.task, values, looks)
        opinions = ask_heads(evidence, values, chosen.folds, chosen.seed)
        findings, ranking = judge(dataset, evidence, opinions, features.bad)
    return Audit(len(dataset.items), findings, relative_paths(dataset, source), ranking)


def judge(
    dataset: Dataset,
    evidence: Evidence,
    opinions: Opinions,
    bad: Sequence[tuple[Item, str]],
) -> tuple[tuple[Finding, ...], Ranking]:
    """All that is found, and the ranking of the labels. bad: unusable images with their reasons."""
    items, task, targets = evidence.items, evidence.task, evidence.targets
    settled = np.array([item.path in dataset.kept for item in items], bool)
    ranking = rank_labels(
        evidence.vectors, targets, opinions.probabilities, task, settled=settled
    )  # fmt: skip
    findings = [
        *(_unreadable(item, reason) for item, reason in bad),
        *find_leaks(items, evidence.pairs, opinions.right),
        *find_copies(items),
        *find_near_copies(items, evidence.pairs),
        *find_wrong_labels(items, targets, opinions.probabilities, task, ranking),
        *find_outliers(items, evidence.neighbours.remote),
        *find_flaws(items, evidence.looks),
        *find_shortcuts(items, evidence.looks, task, targets, evidence.groups),
        *find_groups(items, evidence.neighbours.near),
        *find_imbalance(dataset.items, dataset.classes),
        *find_few(dataset.items, dataset.classes),
    ]
    return put_in_order(f for f in findings if not _is_settled(f, dataset.kept)), ranking


def _is_settled(finding: Finding, kept: frozenset[Path]) -> bool:
    """Whether a person has found all its images right as they are. A leak remains a leak."""
    asked = bool(finding.items) and finding.kind not in ("leak", "unreadable")
    return asked and all(item.path in kept for item in finding.items)


def _unreadable(item: Item, reason: str) -> Finding:
    advice = "restore or remove the file; train leaves it out"
    return Finding("unreadable", "error", (item,), 1.0, reason, advice)


def relative_paths(dataset: Dataset, source: str | os.PathLike[str]) -> dict[Item, str]:
    """Where each image lies below the folder that was given; else as table or archive have it."""
    root = Path(os.path.expanduser(source))  # which leaves an unknown "~name" as it is
    return {item: locate(item, root) for item in dataset.items}
