"""headstart predict."""

import contextlib
import functools
import shlex
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart.cli.app import app, command
from headstart.cli.explain import explain_all, open_explainer, read_neighbours
from headstart.cli.options import (
    Accuracy,
    OnRay,
    Reject,
    RunFolder,
    ShardOf,
    Tta,
    hide_keys,
    parse_path,
)
from headstart.cli.output import (
    format_interval,
    print_json,
    reporter,
    tell,
    tell_command,
    tell_text,
)
from headstart.cli.predicted import Listed, Listing, find_common, tell_summary
from headstart.cli.usage import whole

if TYPE_CHECKING:
    from headstart.classifier import Classifier, Prediction
    from headstart.data.item import Item
    from headstart.errors import StorageError
    from headstart.predictions.output import Output
    from headstart.predictions.rows import Asked, Form, Tally


MOST_HELD = 2**26  # bytes of them, where they come with their images
AHEAD = 1000  # images whose names tell how wide the printed table is
SORTED = 100  # images up to which the rows are sorted, the least sure first; more come as they go
FEW = 20  # images up to which no bar is worth showing


@app.command(
    epilog="Example: headstart predict runs/photos-1 new/ --out labels.csv --resume",
)
@command
def predict(
    run: RunFolder,
    photos: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PHOTOS",
            help="Images, folders, patterns, archives, tables, lists, addresses; - for a list.",
        ),
    ] = None,
    form: Annotated[
        str, typer.Option("--format", metavar="table|csv|jsonl", help="How to print.")
    ] = "table",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object an image.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            parser=parse_path,
            metavar="FILE|DEST",
            help="Write there as it goes: .csv, .jsonl or .parquet; with --on or --shard a folder "
            "or address of Parquet files.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with --out FILE: what has a row is done.")
    ] = False,
    sort_into: Annotated[
        Path | None,
        typer.Option(
            "--sort-into",
            parser=parse_path,
            metavar="FOLDER",
            help="Links to the images go into a folder there for each class.",
        ),
    ] = None,
    copy: Annotated[
        bool, typer.Option("--copy", help="With --sort-into: copies instead of links.")
    ] = False,
    watch: Annotated[
        Path | None,
        typer.Option(
            "--watch",
            parser=parse_path,
            metavar="FOLDER",
            help="Images of this folder as they come, until Ctrl-C.",
        ),
    ] = None,
    camera: Annotated[
        str | None,
        typer.Option("--camera", metavar="N|VIDEO", help="A camera's pictures, or a video's."),
    ] = None,
    top_k: Annotated[
        int, typer.Option(parser=whole(1, 1_000_000), metavar="N", help="How many classes to name.")
    ] = 1,
    tta: Tta = 1,
    accuracy: Accuracy = None,
    reject: Reject = None,
    on: OnRay = None,
    shard: ShardOf = None,
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
    from headstart.classifier import load
    from headstart.errors import HeadstartError, StorageError
    from headstart.predictions.flow import predict_into
    from headstart.predictions.folders import Sorter
    from headstart.predictions.once import Done
    from headstart.predictions.output import open_output
    from headstart.predictions.rows import Asked, Form, Tally
    from headstart.predictions.summary import Summary
    from headstart.system.progress import Progress

    sources = [hide_keys(source) for source in photos or []]
    if on is not None or shard is not None:
        passed_over = {"--format": form != "table", "--resume": resume, "--sort-into": sort_into,
                       "--copy": copy, "--watch": watch, "--camera": camera is not None,
                       "--explain": explain}  # fmt: skip
        to = _check_pieces("--on" if on else "--shard", sources, out, passed_over)
        question = Asked(top_k, tta, accuracy, reject)
        _predict_pieces(run, sources, to, question, shard, on, as_json)
        return
    if as_json:
        if form not in ("table", "jsonl"):
            raise HeadstartError(f"expected --json or --format {form}, found both. Type: one")
        form = "jsonl"
    _check_options(run, sources, form, out, resume, sort_into, copy, watch, camera, explain)
    first, whole, batches = _list_images(run, sources, watch, camera)
    classifier = load(run)
    classifier.silence(accuracy, reject)  # refused before anything is printed
    explained = _Explained(classifier) if explain else None
    asked = accuracy is not None or reject is not None
    rows = Form(min(top_k, len(classifier.classes)), asked, classifier.task.multilabel)
    tally, done, summary = Tally(), Done(), Summary()
    sorts = form == "table" and out is None and whole is not None and whole <= SORTED
    shown = out is not None or (sorts and len(first) > FEW)
    progress = reporter(quiet=False, as_json=False) if shown else Progress()
    sorter = Sorter(sort_into, classifier.classes, copies=copy) if sort_into else None

    ask = functools.partial(classifier.stream, views=tta, accuracy=accuracy, reject=reject)
    also = [lambda item, prediction: summary.add(prediction)]
    also += [sorter.place] if sorter else []
    also += [explained.note] if explained else []
    began = time.perf_counter()
    listed = Listed([item.name for item in first], find_common(sources), sorts)
    about = {"classifier": classifier.fingerprint(), "tta": tta, "accuracy": accuracy,
             "reject": reject}  # fmt: skip
    if sorter is not None:
        sorter.claim(about)
    with contextlib.ExitStack() as stack:
        output: Output
        if out is None:
            output = _PRINTERS[form](rows, listed)
        else:
            about |= {"top_k": rows.top_k, "copy": copy or None,
                      "sort_into": str(sort_into.resolve()) if sort_into else None}  # fmt: skip
            output, before = stack.enter_context(open_output(out, rows, about, resume=resume))
            done = Done(tally.note(before))
        kept = tally.images
        stack.enter_context(progress.stage("predict", whole, "images"))
        try:
            predict_into(output, ask, batches, done=done, tally=tally, also=also,
                         progress=progress)  # fmt: skip
        except (KeyboardInterrupt, StorageError) as error:
            endless = watch is not None or camera is not None
            if out is not None and not endless:
                tell(f"\n{tally.images:,} images are in {out}: to go on, type the same with "
                     "--resume", to=sys.stderr)  # fmt: skip
            if isinstance(error, StorageError) or not endless:  # else it is the one end there is
                raise
    if explained is not None and explain is not None:
        count = explained.draw(run, explain)
        tell(f"{count:,} explained: pictures in {explain}", to=sys.stderr)
    if out is not None:
        tell(f"{_describe_pace(tally.images - kept, kept, began)}: {out}")
    if form == "table" and summary.images > 1:
        tell_summary(summary, listed)
        if sources and out is None and sorter is None:
            again = shlex.join(["headstart", "predict", str(run), *sources])
            tell_command("Next: ", f"{again} --out labels.csv", "or --sort-into FOLDER",
                         to=sys.stderr)  # fmt: skip
    if asked:
        _tell_silence(classifier, accuracy, reject, tally.usable)
    _tell_failed(tally)


def _check_pieces(
    option: str, sources: list[str], out: Path | None, passed_over: dict[str, Any]
) -> Path:
    """Where the files go. Raises HeadstartError for what many processes cannot do together."""
    from headstart.data.remote import read_address
    from headstart.errors import HeadstartError
    from headstart.predictions.output import SUFFIXES

    if not sources:
        raise HeadstartError("expected PHOTOS, found none. Type: headstart predict RUN PHOTOS")
    if wrong := [name for name, given in passed_over.items() if given]:
        raise HeadstartError(
            f"expected Parquet files in a folder alone with {option}, which a second command goes "
            f"on with, found {' and '.join(wrong)}. Type: it without"
        )
    if out is None or (read_address(out) is None and out.suffix.lower() in SUFFIXES):
        raise HeadstartError(
            f"expected a folder or address for the files with {option}, found "
            f"{out or 'none'}. Type: --out labels"
        )
    return out


def _predict_pieces(
    run: Path, sources: list[str], to: Path, asked: "Asked", shard: str | None, on: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    from headstart.classifier import load
    from headstart.predictions.pieces import predict_pieces

    progress, began = reporter(False, as_json), time.perf_counter()
    done = predict_pieces(run, sources, to, asked, shard=shard or "1/1", on=on, progress=progress)
    if as_json:
        print_json({**done.to_dict(), "warnings": progress.warnings})
    else:
        kept = done.tally.images - done.new
        files = "1 file" if done.files == 1 else f"{done.files:,} files"
        tell(f"{_describe_pace(done.new, kept, began)}: {files} of {done.folder}")
        if done.summary.images > 1:
            tell_summary(done.summary, Listed([], find_common(sources)))
        if asked.silent:
            _tell_silence(load(run), asked.accuracy, asked.reject, done.tally.usable)
    _tell_failed(done.tally)


def _tell_failed(tally: "Tally") -> None:
    """Exit code 1 where an image could not be used."""
    if tally.failed:
        unusable = f"{tally.failed:,} of {tally.images:,} images could not be used"
        tell(f"{unusable}: their rows say why", to=sys.stderr)
        raise typer.Exit(1)


def _check_options(
    run: Path, sources: list[str], form: str, out: Path | None, resume: bool,
    sort_into: Path | None, copy: bool, watch: Path | None, camera: str | None,
    explain: Path | None,
) -> None:  # fmt: skip
    """Raises HeadstartError for options that do not go together."""
    from headstart.data.source import holds, lies_in, outside
    from headstart.errors import HeadstartError

    ways = [*(["PHOTOS"] if sources else []), *(["--watch"] if watch else []),
            *(["--camera"] if camera is not None else [])]  # fmt: skip
    if not ways:
        raise HeadstartError("expected PHOTOS, found none. Type: headstart predict RUN PHOTOS")
    if len(ways) > 1:
        raise HeadstartError(
            f"expected one of PHOTOS, --watch and --camera, found {' and '.join(ways)}. Type: "
            f"headstart predict {run} {ways[0]}"
        )
    for source in sources:
        parse_path(source)
    if form not in _PRINTERS:
        raise HeadstartError(
            f"expected --format table, csv or jsonl, found {form!r}. Type: --format csv"
        )
    if out is not None and form != "table":
        raise HeadstartError(
            f"expected a format by the name of --out {out}, found --format {form} beside it. "
            "Type: --out labels.csv, labels.jsonl or labels.parquet"
        )
    if resume and out is None:
        raise HeadstartError("expected the file to go on with, found none. Type: --out labels.csv")
    if copy and sort_into is None:
        raise HeadstartError("expected a folder for the copies, found none. Type: --sort-into DIR")
    if camera is not None and sort_into is not None:
        raise HeadstartError(
            "expected files to sort, found pictures of a camera. Type: it without --sort-into"
        )
    for option, folder in (("--sort-into", sort_into), ("--explain", explain)):
        for source in [*sources, *([str(watch)] if watch else [])]:
            if folder is not None and (holds(source, folder) or lies_in(source, folder)):
                raise HeadstartError(
                    f"expected {option} with a folder apart from what is predicted, found {folder} "
                    f"and {source}, one in the other: what is put there would be predicted too. "
                    f"Type: {option} {outside(source, folder.name)}"
                )
    if explain is not None and (watch or camera is not None or resume):
        raise HeadstartError(
            "expected images to explain that come in one call, found --watch, --camera or "
            f"--resume. Type: headstart explain {run} PHOTOS"
        )


def _list_images(
    run: Path, sources: list[str], watched: Path | None, camera: str | None
) -> "tuple[list[Item], int | None, Iterable[Iterable[Item]]]":
    """The first images, how many there are if these are all, and all of them: as many at a time as
    there are.

    Raises DatasetError if there are none.
    """
    from headstart.data.source import STANDARD_INPUT, stream_items
    from headstart.errors import DatasetError, StorageError

    if watched is not None:
        from headstart.predictions.watch import watch

        return [], None, watch(watched)
    if camera is not None:
        from headstart.predictions.frames import is_device, read_frames

        frames = read_frames(camera)
        return [], None, ([frame] for frame in frames) if is_device(camera) else [frames]
    items, piped = stream_items(sources), STANDARD_INPUT in sources
    first, ended = _peek(items, 1 if piped else AHEAD)  # who pipes may be slow
    if isinstance(ended, StorageError):
        items = _fail(ended)
    if not first:
        next(items, None)
        raise DatasetError(
            f"expected images in {' '.join(sources)}, found none. Type: headstart predict {run} "
            "PHOTOS with images, or folders and archives that hold some"
        )
    whole = len(first) if ended is True and not piped else None
    return first, whole, [_hand_on(first, items)]


def _peek(items: "Iterator[Item]", most: int) -> "tuple[list[Item], bool | StorageError]":
    """The first items, fewer where they come with their images, and whether these are all, or what
    kept others from being had.
    """
    from headstart.data.item import Held
    from headstart.errors import StorageError

    first: list[Item] = []
    held = 0
    try:
        for item in items:
            first.append(item)
            held += len(item.data or b"") if isinstance(item, Held) else 0
            if len(first) == most or held > MOST_HELD:
                return first, False
    except StorageError as error:  # told once these are predicted
        return first, error
    return first, True


def _fail(error: "StorageError") -> "Iterator[Item]":
    yield from ()
    raise error


def _hand_on(first: "list[Item]", items: "Iterator[Item]") -> "Iterator[Item]":
    """All of them, none kept once it is given."""
    while first:
        yield first.pop(0)
    yield from items


class _Explained:
    """The images that are to be explained, and what was said of each."""

    def __init__(self, classifier: "Classifier") -> None:
        self.explainer = open_explainer(classifier)
        self.items: list[Item] = []
        self.said: list[str | None] = []

    def note(self, item: "Item", prediction: "Prediction") -> None:
        """One more image."""
        self.items.append(item)
        self.said.append(next(iter(prediction.probabilities), None))

    def draw(self, run: Path, folder: Path) -> int:
        """A picture of each in the folder; how many there are."""
        near = read_neighbours(run, self.explainer.classifier)
        rows = explain_all(self.explainer, self.items, self.said, near, folder)
        return sum(picture is not None for *_, picture in rows)


def _describe_pace(new: int, kept: int, began: float) -> str:
    """How many images were looked at since then, beside those that had been before."""
    if kept and not new:
        return f"{kept:,} images, all there before"
    before = f" and {kept:,} before" if kept else ""
    return f"{new:,} images{before}, {new / (time.perf_counter() - began):,.0f} a second"


def _tell_silence(
    classifier: "Classifier",
    accuracy: float | None,
    reject: float | None,
    silent: dict[str, int],
) -> None:
    """What was answered of these images, and what was to be expected of images like those trained
    on.
    """
    total = sum(silent.values())
    answered, *others = (f"{count:,} {name}" for name, count in silent.items())
    lines = [f"{answered} of {total:,}, {', '.join(others)}"]
    if accuracy is not None:
        out_of_fold = classifier.abstention.answers()
        answers = out_of_fold.answer(accuracy)
        low, high = answers.share_interval
        lines.append(
            f"answers {answers.share:.1%} ({low:.1%} to {high:.1%}) of images like those trained "
            f"on, where {accuracy:.4g} of them are right "
            f"{format_interval(answers.accuracy_interval)}".rstrip()
        )
        if not answers.answered:
            lines.append(
                f"{answers.images:,} training images cannot vouch for more than --accuracy "
                f"{out_of_fold.best:.3f}"
            )
    if reject is not None:
        low, high = classifier.abstention.unlike().false_alarms(reject)
        lines.append(
            f"takes {reject:.1%} ({low:.1%} to {high:.1%}) of images like those trained on for "
            "none of these"
        )
    tell_text(*lines, indent="  ", to=sys.stderr)


class _Csv:
    def __init__(self, form: "Form", _: Listed) -> None:
        from headstart.predictions.output import write_csv

        self.form, self.format = form, write_csv
        sys.stdout.write(write_csv(form.columns))

    def write(self, prediction: "Prediction") -> None:
        sys.stdout.write(self.format(self.form.cells(prediction)))

    def flush(self) -> None:
        sys.stdout.flush()


class _JsonLines:
    def __init__(self, form: "Form", _: Listed) -> None:
        self.form = form

    def write(self, prediction: "Prediction") -> None:
        print_json(self.form.describe(prediction))

    def flush(self) -> None:
        sys.stdout.flush()


_PRINTERS: dict[str, Any] = {"table": Listing, "csv": _Csv, "jsonl": _JsonLines}
