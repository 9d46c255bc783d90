"""What a training tells at its end: how good and how sure, which images are worst, what to type."""

import shlex
from typing import TYPE_CHECKING

from headstart.cli.output import (
    line_width,
    print_curves,
    print_json,
    print_metrics,
    run_to_dict,
    shorten_path,
    tell,
    tell_command,
    tell_text,
)

if TYPE_CHECKING:
    from headstart.runs.folder import Run

WORST = 5  # images that are named
FEW = 2000  # training images up to which it is worth asking whether more would help


def show_run(run: "Run", quiet: bool, as_json: bool, verbose: bool = False) -> None:
    """The result of a training: what a person wants to know, the folder alone, or JSON."""
    from headstart.report.words import describe_accuracy, suggest_doubts

    if as_json:
        print_json(run_to_dict(run))
        return
    if quiet:
        tell(run.folder)
        return
    tell()
    if verbose:
        print_metrics(run)
    else:
        print_curves(run)
        tell_text(*describe_accuracy(run.metrics))
        if run.verdict:
            tell_text(run.verdict)
    _print_worst(run)
    doubts = suggest_doubts(run.record.get("abstention") or {})
    if doubts:
        tell()
        tell_text(*doubts, indent="  ")
    _print_next(run, verbose)


def _print_worst(run: "Run") -> None:
    """The images that are wrong, the most surely wrong first."""
    from headstart.report.words import OF_SPLIT
    from headstart.runs.judged import read_judged

    judged = read_judged(run)
    if judged is None:
        return
    what, wrong = OF_SPLIT[judged.split], int((~judged.right).sum())
    tell()
    if not wrong:
        tell_text(f"None of the {len(judged.names):,} {what} is wrong.")
        tell_command("Page: ", f"headstart open {shlex.quote(str(run.folder))}")
        return
    mistakes = [
        (f"  {one.name}", f"{one.label or 'no class'} taken for {one.given or 'no class'}, "
         f"{one.sure:.0%} sure") for one in judged.find_worst(WORST)
    ]  # fmt: skip
    which = f"the {WORST} most surely wrong" if wrong > WORST else "the most surely wrong first"
    tell_text(f"Wrong on {wrong:,} of the {len(judged.names):,} {what}; {which}:")
    width, names = line_width(), max(len(name) for name, _ in mistakes)
    for name, said in mistakes:
        if width is not None and names + 2 + max(len(said) for _, said in mistakes) > width:
            tell(name, f"    {said}")
        else:
            tell(f"{name:<{names}}  {said}")
    tell_command("All of them: ", f"headstart open {shlex.quote(str(run.folder))}", "with pictures")


def _print_next(run: "Run", verbose: bool) -> None:
    """Where it is, and what fits the verdict."""
    cache, seconds = run.record["cache"], run.record["seconds"]
    tell()
    if verbose:
        stages = ", ".join(f"{name} {spent:.1f} s" for name, spent in seconds.items())
        tell_text(f"Features: {cache['hits']:,} from the cache, {cache['misses']:,} computed",
                  f"Time: {stages}", indent="  ")  # fmt: skip
    tell(f"Run: {run.folder} ({seconds['total']:.1f} s)")
    for command, why in list_next(run):
        tell_command("Next: ", command, why)


def list_next(run: "Run") -> list[tuple[str, str]]:
    """One or two commands that fit the verdict, each with what it is for."""
    record, place = run.record, shlex.quote(str(run.folder))
    source, verdict = shlex.quote(shorten_path(str(run.source))), run.verdict or ""
    use = (f"headstart predict {place} NEW_PHOTOS", "what new photos show")
    groups = f" --groups {shlex.quote(run.recipe.groups)}" if run.recipe.groups else ""
    if record.get("stored"):  # the images, at which all else looks, are elsewhere
        return [use]
    tuned = (record["tuning"] or {}).get("kept")
    if "learning rate" in verdict:
        again = shlex.quote(str(run.folder / "recipe.toml"))
        return [(f"headstart lr {source} --recipe {again}", "find a better learning rate")]
    if verdict.startswith("Overfitting") and "Try more photos." not in verdict and not tuned:
        return [(f"headstart remedies {place}", "try them"), use]
    if not record["multi"] and record["images"]["train"] < FEW:
        return [use, (f"headstart learning-curve {source}{groups}", "would more photos help?")]
    return [use]
