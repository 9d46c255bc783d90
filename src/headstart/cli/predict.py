"""headstart predict, evaluate, check."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart.cli.app import WORK, app, command
from headstart.cli.options import (
    Accuracy,
    AsJson,
    Photos,
    Quiet,
    Reject,
    RunFolder,
    Strict,
    Tta,
    parse_path,
    parse_share,
)
from headstart.cli.output import format_interval, format_share, print_json, reporter, tell
from headstart.cli.usage import whole
from headstart.system.text import escape

if TYPE_CHECKING:
    from headstart.classifier import Classifier, Prediction


@app.command(
    rich_help_panel=WORK,
    epilog="Example: headstart predict runs/photos-1 new/ --format csv > labels.csv",
)
@command
def predict(
    run: RunFolder,
    photos: Annotated[
        list[Path],
        typer.Argument(parser=parse_path, metavar="PHOTOS", help="Images, folders or archives."),
    ],
    form: Annotated[
        str, typer.Option("--format", metavar="table|csv|jsonl", help="How to print.")
    ] = "table",
    top_k: Annotated[
        int, typer.Option(parser=whole(1, 1_000_000), metavar="N", help="How many classes to name.")
    ] = 1,
    tta: Tta = 1,
    accuracy: Accuracy = None,
    reject: Reject = None,
    explain: Annotated[
        Path | None,
        typer.Option(
            "--explain",
            parser=parse_path,
            metavar="FOLDER",
            help="Pictures of what spoke for each class go there (see headstart explain).",
        ),
    ] = None,
) -> None:
    """Say which class each image belongs to. Exit code 1 if an image could not be used."""
    from headstart.classifier import NONE_OF_THESE, NOT_SURE, load
    from headstart.cli.explain import explain_all, find_images, open_explainer, read_neighbours
    from headstart.errors import HeadstartError

    printers: dict[str, type[Any]] = {"table": _Table, "csv": _Csv, "jsonl": _JsonLines}
    if form not in printers:
        raise HeadstartError(
            f"expected --format table, csv or jsonl, found {form!r}. Type: --format csv"
        )
    items = find_images(photos, f"headstart predict {run}")
    classifier = load(run)
    explainer = open_explainer(classifier) if explain else None
    top_k = min(top_k, len(classifier.classes))
    classifier.silence(accuracy, reject)  # refused before anything is printed
    asked = accuracy is not None or reject is not None
    printer = printers[form](top_k, [item.name for item in items], asked)
    failed, said, silent = 0, [], dict.fromkeys((None, NOT_SURE, NONE_OF_THESE), 0)
    for prediction in classifier.stream(items, tta, accuracy=accuracy, reject=reject):
        printer.show(prediction)
        failed += prediction.error is not None
        silent[prediction.silence] += prediction.error is None
        said.append(next(iter(prediction.probabilities), None))
    if explainer is not None:
        near = read_neighbours(run, classifier)
        rows = explain_all(explainer, items, said, near, explain)
        count = sum(picture is not None for *_, picture in rows)
        tell(f"{count:,} explained: pictures in {explain}", to=sys.stderr)
    if asked:
        _tell_silence(classifier, accuracy, reject, silent)
    if failed:
        unusable = f"{failed:,} of {len(items):,} images could not be used"
        tell(f"{unusable}: their rows say why", to=sys.stderr)
        raise typer.Exit(1)


def _tell_silence(
    classifier: "Classifier",
    accuracy: float | None,
    reject: float | None,
    silent: dict[str | None, int],
) -> None:
    """What was answered of these images, and what was to be expected of images like those trained
    on.
    """
    total = sum(silent.values())
    answered, *others = (f"{count:,} {name or 'answered'}" for name, count in silent.items())
    tell(f"{answered} of {total:,}, {', '.join(others)}", to=sys.stderr)
    if accuracy is not None:
        out_of_fold = classifier.abstention.answers()
        answers = out_of_fold.answer(accuracy)
        low, high = answers.share_interval
        tell(f"answers {answers.share:.1%} ({low:.1%} to {high:.1%}) of images like those "
             f"trained on, where {accuracy:.4g} of them are right "
             f"{format_interval(answers.accuracy_interval)}".rstrip(), to=sys.stderr)  # fmt: skip
        if not answers.answered:
            tell(f"{answers.images:,} training images cannot vouch for more than "
                 f"--accuracy {out_of_fold.best:.3f}", to=sys.stderr)  # fmt: skip
    if reject is not None:
        low, high = classifier.abstention.unlike().false_alarms(reject)
        tell(f"takes {reject:.1%} ({low:.1%} to {high:.1%}) of images like those trained on for "
             "none of these", to=sys.stderr)  # fmt: skip


def _classes(prediction: "Prediction", top_k: int) -> list[tuple[str, float]]:
    """Classes with probabilities: the top ones, or those above their thresholds."""
    if prediction.labels is None:
        return prediction.top(top_k)
    pairs = [(name, prediction.probabilities[name]) for name in prediction.labels]
    return pairs or [("none", 0.0)]


class _Table:
    def __init__(self, top_k: int, names: list[str], asked: bool) -> None:
        self.top_k = top_k
        self.width = min(60, max((len(name) for name in names), default=0))

    def show(self, prediction: "Prediction") -> None:
        words = [f"{name} {share:.1%}" for name, share in _classes(prediction, self.top_k)]
        if prediction.silence is not None:
            words = [f"{prediction.silence} ({', '.join(words)})"]
        if prediction.error is not None:
            words = [f"left out: {prediction.error}"]
        tell(f"{prediction.name:<{self.width}}  {'  '.join(words)}")


class _Csv:
    def __init__(self, top_k: int, _: list[str], asked: bool) -> None:
        import csv

        self.top_k, self.writer = top_k, csv.writer(sys.stdout, lineterminator="\n")
        self.asked = asked
        more = [f"{part}_{k}" for k in range(2, top_k + 1) for part in ("label", "probability")]
        answer = ["answer"] if asked else []
        self.writer.writerow(["image", *answer, "label", "probability", *more, "error"])

    def show(self, prediction: "Prediction") -> None:
        cells: list[Any] = []
        if prediction.labels is not None:
            cells = [prediction.label or "", ""]
        else:
            for name, probability in prediction.top(self.top_k):
                cells += [name, f"{probability:.6f}"]
        if prediction.silence is not None:
            cells[0] = ""  # the class that was not said
        cells += [""] * (2 * self.top_k - len(cells))
        said = "" if prediction.error else prediction.silence or "answered"
        row = [prediction.name, *[said] * self.asked, *cells, prediction.error or ""]
        self.writer.writerow(map(escape, row))


class _JsonLines:
    def __init__(self, top_k: int, _: list[str], asked: bool) -> None:
        self.top_k, self.asked = top_k, asked

    def show(self, prediction: "Prediction") -> None:
        row: dict[str, Any] = {"image": prediction.name, "label": prediction.label}
        if prediction.error is None:
            if self.asked:
                row["answer"] = prediction.silence or "answered"
            if prediction.typicality is not None:
                row["typicality"] = prediction.typicality
            row["probability"] = prediction.probability
            if prediction.labels is not None:
                row["labels"] = list(prediction.labels)
            row["probabilities"] = dict(prediction.top(max(self.top_k, 1)))
        else:
            row["error"] = prediction.error
        print_json(row)


@app.command(rich_help_panel=WORK, epilog="Example: headstart evaluate runs/photos-1 photos/")
@command
def evaluate(
    run: RunFolder,
    photos: Photos,
    strict: Strict = False,
    tta: Tta = 1,
    accuracy: Accuracy = None,
    reject: Reject = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Measure a classifier on labelled images; with --tta N whether views at test time pay, with
    --accuracy or --reject how much it answers and how much of that is right.
    """
    from headstart.report.words import summary
    from headstart.runs.evaluate import evaluate_views

    evaluated = evaluate_views(
        run, photos, tta, accuracy=accuracy, reject=reject, strict=strict,
        progress=reporter(quiet, as_json),
    )  # fmt: skip
    metrics, views = evaluated.metrics, evaluated.views
    if as_json:
        figures = {split: part.to_dict() for split, part in metrics.items()}
        answered = {split: part.to_dict() for split, part in evaluated.answered.items()}
        more = {"answered": answered} if answered else {}
        print_json({**figures, **more, "warnings": list(evaluated.warnings)})
        return
    tell(summary(metrics))
    for split, part in evaluated.answered.items():
        said = part.to_dict()
        tell(f"{split}: {part.answered:,} of {part.images:,} answered "
             f"{format_interval(said['share_interval'])}, of these "
             f"{format_share(said['accuracy']) or 'none'} "
             f"{format_interval(said['accuracy_interval'])} right; {part.not_sure:,} not sure, "
             f"{part.none_of_these:,} none of these "
             f"{format_interval(said['none_of_these_interval'])}")  # fmt: skip
    if tta > 1:
        for split, pair in evaluated.paired.items():
            verdict = pair.verdict.replace("the first is", "with views it is").replace(
                "the second is", "without views it is"
            )
            averaged = format_share(metrics[split].accuracy)
            alone = format_share(evaluated.alone[split].accuracy)
            tell(f"\n{split}: with {views} views {averaged}, without {alone}, "
                  f"difference {pair.difference:+.1%} "
                  f"{format_interval(pair.difference_interval, '+')}: {verdict}")  # fmt: skip
        tell(f"{evaluated.images_per_second or 0:,.0f} images a second with {views} views: each "
              "view is another run of the network")  # fmt: skip


@app.command(
    rich_help_panel=WORK,
    epilog="Example: headstart check runs/photos-2 new/ --min-accuracy 0.95",
)
@command
def check(
    run: RunFolder,
    photos: Photos,
    min_accuracy: Annotated[
        float | None,
        typer.Option(parser=parse_share, metavar="SHARE", help="Accuracy to keep, such as 0.95."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(parser=parse_path, metavar="RUN", help="An older run, on the same images."),
    ] = None,
    max_drop: Annotated[
        float,
        typer.Option(parser=parse_share, metavar="SHARE", help="How much worse it may be."),
    ] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Say in one line whether an accuracy is kept: exit code 0 if it is, 1 if not."""
    from headstart.errors import RecipeError
    from headstart.runs.check import check as check_run

    if min_accuracy is None and against is None:
        raise RecipeError(
            f"expected what to check, found none. Type: headstart check {run} {photos} "
            "--min-accuracy 0.95"
        )
    if max_drop and against is None:
        raise RecipeError(
            f"expected an older run with --max-drop, found none. Type: --against RUN --max-drop "
            f"{max_drop:g}"
        )
    checked = check_run(run, photos, least=min_accuracy, against=against, most_drop=max_drop)
    if as_json:
        print_json(checked.to_dict())
    else:
        parts = []
        if checked.accuracy is not None:
            found = checked.accuracy
            parts.append(f"{format_share(found.figure)} {format_interval(found.interval)} right, "
                         f"at least {found.least:.1%}: {found}")  # fmt: skip
        if checked.drop is not None:
            found = checked.drop
            parts.append(f"{found.figure:+.1%} {format_interval(found.interval, '+')} against "
                         f"{against}, at most {max_drop:.1%} less: {found}")  # fmt: skip
        others = {"trained on left out": checked.left_out, "unusable": checked.unusable}
        more = "".join(f", {count:,} {why}" for why, count in others.items() if count)
        tell(f"{'; '.join(parts)} ({checked.n:,} images{more})")
    raise typer.Exit(0 if checked.kept else 1)
