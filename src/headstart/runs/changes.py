"""What has changed in labelled images since a run was trained on them, known by their content.

An image that was moved or renamed is the same; one that was edited is gone, and another is new.
"""

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from headstart.data.address import read_address
from headstart.data.dataset import Dataset
from headstart.data.given import Source
from headstart.data.item import list_first, natural_key
from headstart.errors import ClassifierError, DatasetError, HeadstartError
from headstart.metrics.task import MultiLabel, SingleLabel
from headstart.recipe import Recipe
from headstart.runs.folder import PREDICTIONS, RECIPE, Run, stream_table, stream_training
from headstart.runs.judged import split_labels

UNREADABLE = ("image", "reason")  # columns of unreadable.csv
LATEST = 200  # runs beside a new one that are looked at for the one before it

Labels = frozenset[str]


@dataclass(frozen=True)
class Changes:
    """Between a run's images and those of today. added, removed: images by class, of all that they
    are in. images: how many were added and removed. renamed: class that was -> what it is called
    now. other_class, other_side: images whose class, or whose side of the split, is another one.
    """

    run: Run
    images: tuple[int, int] = (0, 0)
    added: Mapping[str, int] = field(default_factory=dict)
    removed: Mapping[str, int] = field(default_factory=dict)
    new_classes: tuple[str, ...] = ()
    lost_classes: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    other_class: int = 0
    other_side: int = 0

    def __bool__(self) -> bool:
        return any((*self.images, self.renamed, self.other_class, self.other_side))

    def __str__(self) -> str:
        return "; ".join(self._tell())

    def _tell(self) -> Iterator[str]:
        more, fewer = self.images
        if more:
            yield f"{more:,} new images ({_list_counts(self.added)})"
        if self.new_classes:
            yield f"new class: {list_first(self.new_classes)}"
        if fewer:
            yield f"{fewer:,} gone ({_list_counts(self.removed)})"
        if self.lost_classes:
            yield f"class gone: {list_first(self.lost_classes)}"
        for old, new in self.renamed.items():
            yield f"the class {old} is called {new} now"
        if self.other_class:
            yield f"{self.other_class:,} in another class than before"
        if self.other_side:
            yield f"{self.other_side:,} on another side of the split than before"


def _list_counts(counts: Mapping[str, int]) -> str:
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], natural_key(pair[0])))
    return list_first([f"{name}: {count:,}" for name, count in ranked])


def find_changes(run: Run, dataset: Dataset) -> Changes:
    """What is new, gone or called otherwise, of all that the run could use.

    Raises ClassifierError for a run whose tables are missing or damaged.
    """
    before = {content: labels for content, labels, _ in read_rows(run)}
    with _told_by(run):
        unusable = {name for name, _ in stream_table(run.folder / "unreadable.csv", UNREADABLE)}
    now = {i.content_hash.hex(): frozenset(i.labels) for i in dataset.items
           if i.content_hash.hex() in before or i.name not in unusable}  # fmt: skip
    classes = tuple(run.record["classes"])
    renamed = find_renamed(before, now, classes, dataset.classes)
    known = {renamed.get(name, name) for name in classes}
    more, fewer = now.keys() - before.keys(), before.keys() - now.keys()
    there = before.keys() & now.keys()
    return Changes(
        run,
        images=(len(more), len(fewer)),
        added=Counter(name for content in more for name in now[content]),
        removed=Counter(name for content in fewer for name in before[content]),
        new_classes=tuple(name for name in dataset.classes if name not in known),
        lost_classes=tuple(name for name in classes
                           if renamed.get(name, name) not in dataset.classes),
        renamed=renamed,
        other_class=sum(_rename(before[content], renamed) != now[content] for content in there),
    )  # fmt: skip


def find_renamed(
    before: Mapping[str, Labels],
    now: Mapping[str, Labels],
    old_classes: Iterable[str],
    new_classes: Iterable[str],
) -> dict[str, str]:
    """Classes that are gone, and the one that was not there before which most of their images that
    are still there are in.
    """
    old_names, new_names = set(old_classes), set(new_classes)
    renamed = {}
    for old in old_classes:
        if old in new_names:
            continue
        there = [now[c] for c, labels in before.items() if old in labels and c in now]
        counts = Counter(name for labels in there for name in labels if name not in old_names)
        name, count = counts.most_common(1)[0] if counts else ("", 0)
        if 2 * count > len(there):
            renamed[old] = name
    return renamed


def _rename(labels: Labels, renamed: Mapping[str, str]) -> Labels:
    return frozenset(renamed.get(name, name) for name in labels)


def read_rows(run: Run) -> Iterator[tuple[str, Labels, str]]:
    """Content, classes and split of each image that the run has used."""
    classes = tuple(run.record["classes"])
    task = MultiLabel(classes) if run.record["multi"] else SingleLabel(classes)
    with _told_by(run):
        for _, content, label in stream_training(run.folder):
            yield content, frozenset(split_labels(label, task)), "train"
        judged = stream_table(run.folder / "predictions.csv", [*PREDICTIONS, *classes])
        for _, content, split, label, *_ in judged:
            yield content, frozenset(split_labels(label, task)), split


@contextmanager
def _told_by(run: Run) -> Iterator[None]:
    """Raises ClassifierError for a table that is missing within the block, or of other classes."""
    try:
        yield
    except (FileNotFoundError, ValueError) as error:
        name = Path(error.filename).name if isinstance(error, OSError) else error
        raise ClassifierError(
            f"expected a whole run, found no {name} in {run.folder}. Restore the file, or train "
            "again"
        ) from error


def find_sides(run: Run, dataset: Dataset, recipe: Recipe) -> int:
    """How many images are on another side of the split than in the run, divided by the same rule;
    0 where the rule is another one, for which nobody need be told.
    """
    rule = ("validation_fraction", "seed", "groups")
    if any(getattr(run.recipe, name) != getattr(recipe, name) for name in rule):
        return 0
    sides = {content: split for content, _, split in read_rows(run)}
    return sum(sides.get(i.content_hash.hex(), i.split) != i.split for i in dataset.items)


def look_back(
    source: Source, dataset: Dataset, runs: Path, but: Path | None = None
) -> Changes | None:
    """What has changed since the latest finished run in the folder `runs`, `but` one, that was
    trained on what the same place held; None if there is none or nothing has changed.
    """
    with suppress(OSError):
        records = [path / "run.json" for path in runs.iterdir() if path != but]
        times = {path: path.stat().st_mtime for path in records if path.is_file()}
        for path in sorted(times, key=lambda path: -times[path])[:LATEST]:
            with suppress(HeadstartError, ValueError):  # one that is damaged was no run before
                run = Run(path.parent)
                if run.source == source.resolve():
                    if run.record.get("dataset") == dataset.fingerprint():
                        return None
                    return find_changes(run, dataset) or None
    return None


def check_there(run: Run) -> None:
    """Raises DatasetError where there is nothing in the place of the run's images any more."""
    gone = [place for place in (run.source.place, *run.source.sides.values())
            if read_address(place) is None and not place.exists()]  # fmt: skip
    if gone:
        recipe = shlex.quote(str(run.folder / RECIPE))
        raise DatasetError(
            f"expected the images that {run.folder} was trained on, found nothing at {gone[0]}. "
            "Put them back, or train on them where they are now: headstart train PHOTOS "
            f"--recipe {recipe}"
        )


OR_CHANGED = "To go on with those of today, type: --changed-data. For a new run on them"


def check_same(
    run: Run, dataset: Dataset, recipe: Recipe, *, changed: bool, advice: str = OR_CHANGED
) -> Changes | None:
    """What has changed since the run, None if nothing has. changed: whether that may be. advice:
    the words before what trains on the images of today.

    Raises DatasetError where it may not, saying what has changed.
    """
    if run.record.get("dataset") == dataset.fingerprint():
        return None
    found = find_changes(run, dataset)
    found = replace(found, other_side=0 if found else find_sides(run, dataset, recipe))
    if not found:
        return None
    if not changed:
        raise DatasetError(
            f"expected the images that {run.folder} was trained on, found others in "
            f"{run.source}: {found}. {advice}: headstart train {shlex.join(run.source.words)}"
        )
    return found
