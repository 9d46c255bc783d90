"""headstart evaluate, check."""

from pathlib import Path
from typing import Annotated

import typer

from headstart.cli.app import app, command
from headstart.cli.options import (
    Accuracy,
    AsJson,
    MaxDrop,
    OnRay,
    Photos,
    Quiet,
    Reject,
    RunFolder,
    Strict,
    Tta,
    Verbose,
    parse_path,
    parse_share,
)
from headstart.cli.output import (
    format_interval,
    format_share,
    print_json,
    reporter,
    tell,
    tell_text,
)


@app.command(epilog="Example: headstart evaluate runs/photos-1 photos/")
@command
def evaluate(
    run: RunFolder,
    photos: Photos,
    strict: Strict = False,
    tta: Tta = 1,
    accuracy: Accuracy = None,
    reject: Reject = None,
    on: OnRay = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Measure a classifier on labelled images; with --tta N whether views at test time pay, with
    --accuracy or --reject how much it answers and how much of that is right.
    """
    from headstart.report.words import describe_accuracy, summary
    from headstart.runs.evaluate import evaluate_views

    evaluated = evaluate_views(
        run, photos, tta, accuracy=accuracy, reject=reject, strict=strict, on=on,
        progress=reporter(quiet, as_json, verbose),
    )  # fmt: skip
    metrics, views = evaluated.metrics, evaluated.views
    if as_json:
        figures = {split: part.to_dict() for split, part in metrics.items()}
        answered = {split: part.to_dict() for split, part in evaluated.answered.items()}
        more = {"answered": answered} if answered else {}
        print_json({**figures, **more, "warnings": list(evaluated.warnings)})
        return
    if verbose or len(metrics) > 1:
        tell_text(summary(metrics, figures=verbose), indent="  ")
    else:
        tell_text(*describe_accuracy(metrics))
    for split, part in evaluated.answered.items():
        said = part.to_dict()
        tell_text(f"{split}: {part.answered:,} of {part.images:,} answered "
             f"{format_interval(said['share_interval'])}, of these "
             f"{format_share(said['accuracy']) or 'none'} "
             f"{format_interval(said['accuracy_interval'])} right; {part.not_sure:,} not sure, "
             f"{part.none_of_these:,} none of these "
             f"{format_interval(said['none_of_these_interval'])}", indent="  ")  # fmt: skip
    if tta > 1:
        for split, pair in evaluated.paired.items():
            verdict = pair.verdict.replace("the first is", "with views it is").replace(
                "the second is", "without views it is"
            )
            averaged = format_share(metrics[split].accuracy)
            alone = format_share(evaluated.alone[split].accuracy)
            tell_text(f"\n{split}: with {views} views {averaged}, without {alone}, "
                  f"difference {pair.difference:+.1%} "
                  f"{format_interval(pair.difference_interval, '+')}: {verdict}")  # fmt: skip
        tell(f"{evaluated.images_per_second or 0:,.0f} images a second with {views} views: each "
              "view is another run of the network")  # fmt: skip


@app.command(
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
    max_drop: MaxDrop = 0.0,
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
    checked = check_run(
        run, photos, least=min_accuracy, against=against, most_drop=max_drop,
        progress=reporter(False, as_json),
    )  # fmt: skip
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
