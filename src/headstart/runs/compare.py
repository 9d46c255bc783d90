"""Runs side by side: what differs in their recipes, and what that made of the same images."""

import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from headstart.errors import ClassifierError
from headstart.metrics import comparison
from headstart.metrics.comparison import Comparison
from headstart.metrics.resampling import Resampled
from headstart.runs.folder import PREDICTIONS, Run, as_run, bad_table, read_table
from headstart.system.progress import Progress, Silent


@dataclass(frozen=True)
class Compared:
    """recipes: choice -> its value in each run, only those that differ. pairs: the first run
    against each other one, on the images both predicted (None where there are none): two
    classifiers, of which each is one draw of what its recipe gives. repeats: the recipe of the
    first run against that of each other one over redrawn training images, where that was asked for.
    """

    runs: tuple[Run, ...]
    recipes: dict[str, tuple[Any, ...]]
    pairs: tuple[Comparison | None, ...]
    repeats: tuple[Resampled, ...] = ()

    def curves(self) -> bytes:
        """Accuracy and loss over the epochs of those with a history, in one picture (PNG)."""
        from headstart.report.plots import curves_picture

        return curves_picture({str(run.folder): run.history for run in self.runs if run.history})


def compare(
    *runs: "Run | str | os.PathLike[str]", repeats: int = 0, progress: Progress | None = None
) -> Compared:
    """Runs or their folders, side by side: what differs in their recipes, and the first against
    each other one, image by image.

    repeats: how often the first run's training and validation images are divided anew and heads of
    all recipes trained, which tells a better recipe from a luckier draw; the images must still be
    where they were. A cut that was measured stays the one that its run chose.
    Raises ClassifierError for fewer than two runs or runs of other classes.
    """
    compared = _compared([as_run(run) for run in runs])
    if not repeats:
        return compared
    from headstart.runs.repeats import repeat_recipes

    resampled = repeat_recipes(compared.runs, repeats, progress or Silent())
    return replace(compared, repeats=tuple(resampled))


def _compared(runs: list[Run]) -> Compared:
    if len(runs) < 2:
        raise ClassifierError("expected two runs or more. Type: headstart compare RUN RUN")
    first = runs[0].record["classes"]
    for run in runs[1:]:
        if run.record["classes"] != first:
            raise ClassifierError(
                f"expected runs with the classes {', '.join(first)}, found "
                f"{', '.join(run.record['classes'])} in {run.folder}"
            )
    if any(run.record.get("multi") for run in runs):
        raise ClassifierError("expected runs of one class an image, found several classes an image")
    tables = [run.recipe.model_dump(mode="json") for run in runs]
    recipes = {
        key: tuple(table[key] for table in tables)
        for key in tables[0]
        if any(table[key] != tables[0][key] for table in tables)
    }
    predictions = [_predictions(run) for run in runs]
    pairs = tuple(_compare_pair(predictions[0], other) for other in predictions[1:])
    return Compared(tuple(runs), recipes, pairs)


_Rows = dict[tuple[str, str], tuple[int, np.ndarray]]


def _predictions(run: Run) -> _Rows:
    """By content and label: class number and (C,) probabilities; the test split where there is."""
    classes, file = run.record["classes"], run.folder / "predictions.csv"
    rows = []
    try:
        # By position: a class may be called as one of the first five columns is.
        for _, content, split, label, _, *shares in read_table(file, [*PREDICTIONS, *classes]):
            probabilities = np.array(shares, float)
            if not np.isfinite(probabilities).all():
                raise ValueError(f"{shares} as probabilities")
            rows.append((split, (content, label), (classes.index(label), probabilities)))
    except (OSError, ValueError) as error:
        raise bad_table(file, error) from error
    judged = "test" if any(split == "test" for split, _, _ in rows) else "validation"
    return {key: prediction for split, key, prediction in rows if split == judged}


def _compare_pair(first: _Rows, second: _Rows) -> Comparison | None:
    keys = sorted(first.keys() & second.keys())
    if not keys:
        return None
    labels = np.array([first[key][0] for key in keys])
    return comparison.compare(
        np.stack([first[key][1] for key in keys]),
        np.stack([second[key][1] for key in keys]),
        labels,
    )
