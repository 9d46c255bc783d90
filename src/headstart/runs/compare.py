"""Runs side by side: what differs in their recipes, and what that made of the same images."""

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from headstart.data.item import Item, list_first
from headstart.errors import ClassifierError
from headstart.metrics import comparison
from headstart.metrics.comparison import Comparison
from headstart.metrics.resampling import Resampled
from headstart.runs.changes import Changes, find_renamed, read_rows
from headstart.runs.folder import (
    PREDICTIONS,
    Run,
    as_run,
    bad_table,
    read_table,
    training_images,
)
from headstart.system.progress import Progress, choose_progress

MOST_PREDICTED = 1000  # new images that the classifier of a run before is asked about


@dataclass(frozen=True)
class Compared:
    """recipes: choice -> its value in each run, only those that differ. pairs: the first run
    against each other one, on the images both predicted (None where there are none): two
    classifiers, of which each is one draw of what its recipe gives. Where their classes differ, on
    images of the classes that both know, each asked which one of these it is. repeats: the recipe
    of the first run against that of each other one over redrawn training images, where that was
    asked for. notes: of which classes a pair is, where they differ, and which one run alone knows.
    """

    runs: tuple[Run, ...]
    recipes: dict[str, tuple[Any, ...]]
    pairs: tuple[Comparison | None, ...]
    repeats: tuple[Resampled, ...] = ()
    notes: tuple[str, ...] = ()

    def curves(self) -> bytes:
        """Validation accuracy and loss over the epochs of those with a history, in one picture
        (PNG); without any the accuracies.
        """
        from headstart.report.plots import draw_picture
        from headstart.runs.pictures import picture_compared

        return draw_picture(picture_compared(self), Path("curves.png"))


def compare(
    *runs: "Run | str | os.PathLike[str]", repeats: int = 0, progress: Progress | bool | None = None
) -> Compared:
    """Runs or their folders, side by side: what differs in their recipes, and the first against
    each other one, image by image.

    repeats: how often the first run's training and validation images are divided anew and heads of
    all recipes trained, which tells a better recipe from a luckier draw; the images must still be
    where they were. A cut that was measured stays the one that its run chose.
    Raises ClassifierError for fewer than two runs, for runs that have fewer than two classes in
    common and for runs of several classes an image.

    >>> other = headstart.train("photos/", out="runs/max", pooling="max")
    >>> compared = headstart.compare("runs/photos-1", other)
    >>> compared.recipes
    {'pooling': ('avg', 'max')}
    >>> compared.pairs[0].verdict
    'the data cannot tell'
    """
    compared = _compared([as_run(run) for run in runs])
    if not repeats:
        return compared
    from headstart.runs.repeats import repeat_recipes

    resampled = repeat_recipes(compared.runs, repeats, choose_progress(progress))
    return replace(compared, repeats=tuple(resampled))


def _compared(runs: list[Run]) -> Compared:
    if len(runs) < 2:
        raise ClassifierError("expected two runs or more. Type: headstart compare RUN RUN")
    several = [str(run.folder) for run in runs if run.record.get("multi")]
    if several:
        raise ClassifierError(
            "expected runs of one class an image, found several classes an image in "
            f"{', '.join(several)}. Their own figures: headstart info {several[0]}"
        )
    first, *others = runs
    names = [_find_names(first, run) for run in others]
    for run, known in zip(others, names, strict=True):
        if len(_common(_classes(first), known.values())) < 2:
            raise ClassifierError(
                f"expected runs with two classes or more in common, found "
                f"{', '.join(_classes(first))} in {first.folder} and "
                f"{', '.join(_classes(run))} in {run.folder}. Give runs of the same classes"
            )
    tables = [run.recipe.model_dump(mode="json") for run in runs]
    recipes = {
        key: tuple(table[key] for table in tables)
        for key in tables[0]
        if any(table[key] != tables[0][key] for table in tables)
    }
    said = _read_said(first)
    pairs = tuple(_compare_pair(said, _read_said(run).rename(known))
                  for run, known in zip(others, names, strict=True))  # fmt: skip
    notes = tuple(_tell_classes(first, run, known)
                  for run, known in zip(others, names, strict=True)
                  if set(_classes(run)) != set(_classes(first)))  # fmt: skip
    return Compared(tuple(runs), recipes, pairs, notes=notes)


def _find_names(first: Run, second: Run) -> dict[str, str]:
    """What each class of the second run is called in the first: otherwise where most of its images
    that both have are in a class there that the second does not know.
    """
    names = {name: name for name in _classes(second)}
    if set(names) == set(_classes(first)):
        return names
    with suppress(ClassifierError):  # without these tables classes are known by their names alone
        before, now = ({content: labels for content, labels, _ in read_rows(run)}
                       for run in (first, second))  # fmt: skip
        renamed = find_renamed(before, now, _classes(first), _classes(second))
        names.update({new: old for old, new in renamed.items()
                      if list(renamed.values()).count(new) == 1})  # fmt: skip
    return names


@dataclass(frozen=True)
class _Said:
    """What a classifier says of images that it has not seen: by content and label, its (C,)
    probabilities.
    """

    classes: Sequence[str]
    rows: dict[tuple[str, str], np.ndarray]

    def rename(self, names: Mapping[str, str]) -> "_Said":
        """The same with its classes called otherwise."""
        rows = {(content, names[label]): row for (content, label), row in self.rows.items()}
        return _Said([names[name] for name in self.classes], rows)


def _read_said(run: Run) -> _Said:
    """Of the test split, where there is one; else of the validation split."""
    classes, file = run.record["classes"], run.folder / "predictions.csv"
    rows = []
    try:
        # By position: a class may be called as one of the first five columns is.
        for _, content, split, label, _, *shares in read_table(file, [*PREDICTIONS, *classes]):
            probabilities = np.array(shares, float)
            if not np.isfinite(probabilities).all():
                raise ValueError(f"{shares} as probabilities")
            if label not in classes:
                raise ValueError(f"the class {label!r}")
            rows.append((split, (content, label), probabilities))
    except (OSError, ValueError) as error:
        raise bad_table(file, error) from error
    judged = "test" if any(split == "test" for split, _, _ in rows) else "validation"
    return _Said(classes, {key: row for split, key, row in rows if split == judged})


def _compare_pair(first: _Said, second: _Said) -> Comparison | None:
    common = _common(first.classes, second.classes)
    number = {name: place for place, name in enumerate(common)}
    keys = sorted(key for key in first.rows.keys() & second.rows.keys() if key[1] in number)
    if not keys:
        return None
    return comparison.compare(
        _restrict(first, keys, common), _restrict(second, keys, common),
        np.array([number[label] for _, label in keys]),
    )  # fmt: skip


def _restrict(said: _Said, keys: Sequence[tuple[str, str]], common: Sequence[str]) -> np.ndarray:
    """(N, C) probabilities of the common classes; those that have become one class count as it."""
    every = np.stack([said.rows[key] for key in keys])
    columns = [[place for place, own in enumerate(said.classes) if own == name] for name in common]
    return np.stack([every[:, places].sum(axis=1) for places in columns], axis=1)


def compare_with_before(
    changes: Changes, items: Sequence[Item], probabilities: np.ndarray, classes: Sequence[str]
) -> Comparison | None:
    """A new classifier against that of the run before, on images that neither has trained on; of
    the classes that both know, each asked which one of these it is. None where there are none.

    items: N images that the new one has not trained on. probabilities: (N, C) what it says of them.
    What the run before has not predicted then, it predicts now, of at most MOST_PREDICTED images.
    """
    run = changes.run
    if run.record["multi"] or len(items) == 0 or any(len(item.labels) != 1 for item in items):
        return None
    contents = [item.content_hash.hex() for item in items]
    seen = training_images(run.folder)
    before = _Said([changes.renamed.get(name, name) for name in run.record["classes"]], {})
    if len(_common(classes, before.classes)) < 2:
        return None
    said = {content: row for (content, _), row in _read_said(run).rows.items()}
    keys = {c: (c, i.label) for c, i in zip(contents, items, strict=True) if c not in seen}
    asked = {c: i for c, i in zip(contents, items, strict=True) if c in keys and c not in said}
    asked = dict(sorted(asked.items())[:MOST_PREDICTED])  # by content: a fair sample
    for content, (_, _, rows, _) in zip(asked, run.classifier.look(asked.values()), strict=True):
        if rows is not None:
            said[content] = rows[0]
    before.rows.update({key: said[content] for content, key in keys.items() if content in said})
    keyed = zip(contents, items, probabilities, strict=True)
    now = _Said(classes, {(content, item.label): row for content, item, row in keyed})
    return _compare_pair(now, before)


def describe_before(told: Mapping[str, Any]) -> str:
    """The new run against the one before, by what run.json keeps of it under `before`; "" where
    there were no images to compare them by.
    """
    paired = told.get("comparison")
    if paired is None:
        return ""
    low, high = paired["difference_interval"]
    verdict = paired["verdict"].replace("the first", "this run").replace("the second", "that run")
    return (
        f"this run minus {told['run']}, on {paired['n']:,} images that neither has learned from: "
        f"{paired['difference']:+.1%} ({low:+.1%} to {high:+.1%}): {verdict}"
    )


def _classes(run: Run) -> tuple[str, ...]:
    return tuple(run.record["classes"])


def _common(first: Iterable[str], second: Iterable[str]) -> list[str]:
    known = set(second)
    return [name for name in first if name in known]


def _tell_classes(first: Run, second: Run, names: Mapping[str, str]) -> str:
    common = _common(_classes(first), names.values())
    others = {first: [name for name in _classes(first) if name not in common],
              second: [name for name in _classes(second) if names[name] not in common]}  # fmt: skip
    alone = [f"{list_first(names)} in {run.folder} alone" for run, names in others.items() if names]
    return (
        f"{first.folder} and {second.folder} are compared on images of the {len(common)} classes "
        f"that both know ({list_first(common)}), each asked which of these it is"
        + "".join(f"; {old} is called {new} in {second.folder}"
                  for new, old in names.items() if new != old)
        + "".join(f"; {told}" for told in alone)
    )  # fmt: skip
