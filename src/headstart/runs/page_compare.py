"""Pages of runs side by side and of remedies, of the same make as a run's."""

from typing import Any

from headstart.report.page import render
from headstart.runs import pictures
from headstart.runs.compare import Compared
from headstart.runs.remedies import Remedies

SPLITS = ("validation", "test")


def draw_compared(compared: Compared) -> str:
    """The page of runs side by side: accuracies, differences, recipes, curves."""
    names = [str(run.folder) for run in compared.runs]
    measured = [
        (name, split, run.metrics[split])
        for name, run in zip(names, compared.runs, strict=True)
        for split in SPLITS
        if split in run.metrics and run.metrics[split].accuracy is not None
    ]
    pairs, notes = [], [f"{note}." for note in compared.notes]
    for name, pair in zip(names[1:], compared.pairs, strict=True):
        if pair is None:
            notes.append(f"{names[0]} and {name} have no images in common.")
            continue
        pairs.append({"name": f"{names[0]} minus {name}", "difference": pair.difference,
                      "ends": pair.difference_interval, "n": pair.n, "p": pair.p_value,
                      "verdict": pair.verdict})  # fmt: skip
    for name, repeated in zip(names[1:], compared.repeats, strict=False):
        pairs.append({
            "name": f"recipe of {names[0]} minus that of {name}, over {len(repeated.differences)} "
            "redrawn trainings", "difference": repeated.difference,
            "ends": repeated.difference_interval, "n": repeated.test, "p": repeated.p_value,
            "verdict": repeated.verdict,
        })  # fmt: skip
    if not compared.repeats:
        notes.append(
            "This is about these classifiers. Whether a recipe is better, or was luckier with its "
            "training images, tells headstart compare with --repeats 5."
        )
    return render(
        "compare.html", title="Runs side by side", verdict=None,
        shown=[pictures.chart_accuracies(compared), *pictures.chart_pairs(compared)],
        about=f"{len(names)} runs for {len(compared.runs[0].record['classes'])} classes: "
        + ", ".join(names) + ".",
        columns=["Run", "Split", "Accuracy", "95% interval", "Images"],
        rows=[(name, split, f"{figures.accuracy:.1%}", _list_ends(figures.accuracy_interval),
               f"{figures.n:,}") for name, split, figures in measured],
        pairs=pairs, pairs_of="Runs", notes=notes, runs=names,
        recipes=[(key, list(map(_tell, values))) for key, values in compared.recipes.items()],
        curves=pictures.chart_histories(compared), next=None, untried=[],
    )  # fmt: skip


def draw_remedies(folder: str, outcome: Remedies, next_step: str) -> str:
    """The page of remedies: each with its interval, against the recipe as it was."""
    verdicts, worth = outcome.verdicts, outcome.worth
    low, high = worth.interval
    pairs = [
        {"name": remedy.name, "difference": remedy.comparison.difference,
         "ends": remedy.comparison.difference_interval, "n": remedy.comparison.n,
         "p": remedy.comparison.p_value, "verdict": verdicts[remedy.name]}
        for remedy in outcome.tried if remedy.comparison
    ]  # fmt: skip
    untried = (
        [f"Not tried within the time: {', '.join(outcome.untried)}."] if outcome.untried else []
    )
    return render(
        "compare.html", title="What helps against overfitting",
        about=f"Changes of the recipe of {folder}, each by cross-validation on its "
        f"{outcome.tried[0].metrics.n:,} training images.",
        verdict=f"Best for its time: {outcome.best.name}. What the choice among so many flatters "
        f"taken off it is worth {worth.accuracy:.1%} ({low:.1%} to {high:.1%}).",
        shown=pictures.chart_remedies(outcome),
        columns=["Remedy", "Accuracy", "95% interval", "Seconds"],
        rows=[(remedy.name, f"{remedy.metrics.accuracy or 0:.1%}",
               _list_ends(remedy.metrics.accuracy_interval), f"{remedy.seconds:.0f}")
              for remedy in outcome.tried],
        pairs=pairs, pairs_of="Against the recipe as it was",
        notes=["Verdicts allow for how many were tried, p-values do not."],
        runs=[], recipes=[], curves=[], next=next_step, untried=untried,
    )  # fmt: skip


def _list_ends(ends: tuple[float, float] | None) -> str:
    return f"{ends[0]:.1%} to {ends[1]:.1%}" if ends else ""


def _tell(value: Any) -> str:
    """A choice of a recipe as a person reads it."""
    if isinstance(value, list | tuple):
        return " + ".join(map(_tell, value))
    return str(value)
