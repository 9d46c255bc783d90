"""headstart export and verify."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart.cli.app import app, command
from headstart.cli.options import AsJson, MaxDrop, Quiet, RunFolder, parse_path
from headstart.cli.output import print_json, reporter, tell, tell_command, tell_text

if TYPE_CHECKING:
    from headstart.classifier import Classifier
    from headstart.export.folder import Exported
    from headstart.export.int8 import Examples

CHECKED = 100  # photos on which an export is compared, evenly over those of the run


@app.command("export", epilog="Example: headstart export runs/photos-1 --to onnx")
@command
def export_run(
    run: RunFolder,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="FORMAT",
            help="onnx, openvino, keras, savedmodel, litert, web or server.",
        ),
    ],
    precision: Annotated[
        str,
        typer.Option(
            "--precision",
            metavar="PRECISION",
            help="f32, f16 (half the size) or int8 (onnx, openvino).",
        ),
    ] = "f32",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            parser=parse_path,
            metavar="FOLDER",
            help="The new folder. Default: one in this folder, named after run and format.",
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            parser=parse_path,
            metavar="PHOTOS",
            help="Check on these photos, of which six travel with it, not on those of the run.",
        ),
    ] = None,
    max_drop: MaxDrop = 0.005,
    single_file: Annotated[
        bool, typer.Option("--single-file", help="With --to web: the page as one HTML file.")
    ] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write the classifier in another format, checked in that format's own runtime: kept only if it
    predicts the same.
    """
    from headstart.classifier import check_finished, load
    from headstart.cli.output import claim_free_folder
    from headstart.errors import HeadstartError
    from headstart.export.folder import check_new, export
    from headstart.export.formats import Subject, find_format
    from headstart.export.web_runtime import read_runtime
    from headstart.system.progress import Progress

    check_finished(run)  # before a package is asked for in vain
    if to == "server":
        for option, given in (("--precision", precision != "f32"), ("--images", images is not None),
                              ("--single-file", single_file)):  # fmt: skip
            if given:
                raise HeadstartError(f"expected no {option} with --to server, which serves the "
                                     "classifier as it is. Type: it without")  # fmt: skip
        export_server(run, out or Path(f"{run.resolve().name}-server"), quiet, as_json)
        return
    if to != "web":
        find_format(to, precision)
        if single_file:
            raise HeadstartError(f"expected --single-file with --to web, found --to {to}. "
                                 "Type: --to web --single-file")  # fmt: skip
    else:
        if precision == "int8":
            raise HeadstartError("expected --precision with one of f32, f16 for web, found 'int8'. "
                                 "Type: --precision f16")  # fmt: skip
        find_format("onnx", precision)
        read_runtime()
    if out is not None:
        check_new(out)
    classifier = load(run)
    photos = find_photos(run, classifier, images)
    examples = find_examples(run) if precision == "int8" else None
    subject = Subject(classifier, keras_maker(run), examples)
    claimed = out is None
    if out is None:
        out = claim_free_folder(Path(f"{run.resolve().name}-{to}"))
    progress = Progress() if quiet else reporter(quiet, as_json)
    try:
        if to == "web":
            from headstart.export.to_web import export_web

            card = export_web(
                subject, out, precision=precision, single=single_file, images=photos,
                origin=describe_origin(run), progress=progress,
            )  # fmt: skip
            tell_page(card, out, quiet=quiet, as_json=as_json)
            return
        exported = export(
            subject, to, out, precision=precision, most_drop=max_drop, images=photos,
            origin=describe_origin(run), progress=progress,
        )  # fmt: skip
    except BaseException:
        if claimed:
            out.rmdir()
        raise
    if as_json:
        print_json({"export": str(out), **exported.record})
    elif quiet:
        tell(out)
    else:
        tell_export(exported, out)


def export_server(run: Path, out: Path, quiet: bool, as_json: bool) -> None:
    """A folder that `docker compose up` serves, with what serving needs and no more."""
    from headstart.serve.bundle import bundle

    made = bundle(run, out)
    if as_json:
        print_json({"export": str(made.folder), "bytes": made.size,
                    "installed_bytes": made.installed,
                    "requirements": list(made.requirements)})  # fmt: skip
    elif quiet:
        tell(out)
    else:
        tell(f"{made.size / 1e6:.1f} MB, and {len(made.requirements)} packages of "
             f"{made.installed / 1e6:,.0f} MB that will be installed beside it\n"
             f"Export: {out}\n"
             f"Next: cd {shlex.quote(str(out))} && docker compose up --build")  # fmt: skip


def tell_page(card: dict[str, Any], out: Path, *, quiet: bool, as_json: bool) -> None:
    page = out / "index.html"
    if as_json:
        print_json({"export": str(out), "page": str(page), **card})
    elif quiet:
        tell(page)
    else:
        size = sum(file.stat().st_size for file in out.iterdir())
        parity = card["parity"]
        tell_text(f"{card['precision']}, {size / 1e6:.1f} MB in {len(list(out.iterdir()))} files")
        tell_text(
            f"its model, checked by onnxruntime on {parity['images']} images: largest difference "
            f"of a probability {parity['difference']:.1e}, same class {parity['labels']:.1%}"
        )
        tell_typicality(card["none_of_these"])
        tell_browser(card["browser"])
        tell_text(f"Page: {page}")
        tell_text(
            "Next: open it in any browser, from the disk or from any server; it asks for nothing"
        )


def tell_browser(found: dict[str, Any] | None) -> None:
    if found is None:
        tell_text("not looked at in a browser, for there are not both Playwright and Chromium "
                  "here. Type: pip install 'headstart[web]'")  # fmt: skip
        return
    pixels, files, unread = found["pixels"], found["files"], found["unread"]
    tell_text(
        f"looked at in {found['name']}, ready in {found['ready']:.1f} s: on the same pixels of "
        f"{pixels['images']} images a probability differs by up to {pixels['difference']:.1e}; on "
        f"{files['images']} files as the browser reads them by up to {files['difference']:.1e}, "
        f"same class {files['labels']:.1%}" + (f"; it cannot read {unread}" if unread else "")
    )
    for row in files["beyond"]:
        tell_text(f"read otherwise by the browser: {': '.join(row)}")


def tell_export(exported: "Exported", out: Path) -> None:
    size = sum(file.stat().st_size for file in (out).rglob("*") if file.is_file()
               and "golden" not in file.parts)  # fmt: skip
    tell_text(f"{exported.record['model']}, {exported.record['precision']}, {size / 1e6:.1f} MB")
    tell_text(f"checked by its own runtime on {exported.parity}")
    tell_typicality(exported.record["none_of_these"])
    if exported.cost is not None:
        tell_text(str(exported.cost))
    if exported.own is not None:
        tell_text(
            "compared with the classifier in f32; in "
            f"{exported.record['provenance']['precision']}, "
            f"as it runs here, it differs from that by up to {exported.own.difference:.1e} itself"
        )
    tell(f"Export: {out}")
    tell_command(
        "Next: ", f"headstart verify {shlex.quote(str(out))}", "does it say the same here?"
    )
    tell_command("Next: ", f"python {shlex.quote(str(out / 'run.py'))} PHOTO", "without headstart")


def tell_typicality(told: dict[str, Any] | None) -> None:
    if told is not None:
        difference = told["difference"]
        tell_text(f'tells "none of these": largest difference of a typicality {difference:.1e}')


def find_photos(run: Path, classifier: "Classifier", images: Path | None) -> list[Path]:
    """Up to CHECKED files: of `images`, or the run's own where they still are, those it was not
    trained on first.
    """
    import numpy as np

    from headstart.data.places import images_in

    if images is not None:
        paths = [item.path for item in images_in([images]) if item.path.is_file()]
        where = f"there are none in {images} that can be used"
    else:
        paths, where = own_photos(run), "the run's photos are not where they were"
    places: Any = np.unique(np.linspace(0, len(paths) - 1, CHECKED).astype(int)) if paths else []
    paths = [paths[place] for place in places]
    if all(classifier.prepare((0, path))[1] is None for path in paths):
        paths = []
        tell(f"checked on drawn pictures alone, for {where}. To check on others, type: --images "
             "PHOTOS", to=sys.stderr)  # fmt: skip
    return paths


def own_photos(run: Path) -> list[Path]:
    """Of the run's images the test ones, else the validation ones, else what it was trained on, as
    far as they are where they were; none for a classifier alone.
    """
    from headstart.errors import HeadstartError
    from headstart.runs.folder import Run
    from headstart.runs.judged import read_judged
    from headstart.runs.page_pictures import find_images

    try:
        judged = read_judged(Run(run))
        places = find_images(Run(run))
    except (HeadstartError, OSError):
        judged = None
    if judged is None:
        return []
    found = [places[name].path for name in judged.names if name in places]
    return [path for path in found if path.is_file()]


def find_examples(run: Path) -> "Examples | None":
    """Training images drawn by a fixed seed, and all that the run is judged by; None where they are
    not there any more, or where there is none that was not trained on.
    """
    import numpy as np

    from headstart.errors import HeadstartError
    from headstart.export.int8 import Examples
    from headstart.runs.folder import Run, read_training
    from headstart.runs.judged import read_judged
    from headstart.runs.page_pictures import find_images

    try:
        judged, places = read_judged(Run(run)), find_images(Run(run))
        rows = read_training(run)
    except (HeadstartError, OSError):
        return None
    if judged is None or judged.split == "cross_validation":
        return None
    training = [places[row[0]].path for row in rows if row[0] in places]
    order = np.random.default_rng(0).permutation(len(training))
    known = [place for place, name in enumerate(judged.names) if name in places]
    paths = [places[judged.names[place]].path for place in known]
    return Examples([training[place] for place in order], paths, judged.has[known])


def keras_maker(run: Path) -> Any:
    """What makes the run's Keras model and tells how its input is normalised."""

    def make() -> tuple[Any, Any]:
        from headstart.runs.folder import Run
        from headstart.tuning.keras_model import normalisation_of

        opened = Run(run)
        return opened.keras_model(), normalisation_of(opened.recipe)

    return make if (run / "recipe.toml").is_file() else None


def describe_origin(run: Path) -> dict[str, Any]:
    """Name of the run and digest of its classifier's description, which seals all of it."""
    from headstart.system.digest import digest_file

    inner = run / "classifier" / "classifier.json"
    file = inner if inner.is_file() else run / "classifier.json"
    return {"run": run.resolve().name, "classifier": digest_file(file)}


@app.command(epilog="Example: headstart verify photos-1-onnx")
@command
def verify(
    folder: Annotated[
        Path,
        typer.Argument(parser=parse_path, metavar="EXPORT", help="The folder that export printed."),
    ],
    as_json: AsJson = False,
) -> None:
    """Check that an export is whole and predicts here what it predicted where it was made. Exit
    code 1 if it does not.
    """
    from headstart.export.folder import RECORD
    from headstart.export.folder import verify as check

    page = folder / "index.html" if folder.is_dir() else folder
    if page.suffix == ".html" and page.is_file() and not (folder / RECORD).exists():
        from headstart.export.browser import verify_page

        told = verify_page(page)
    else:
        told = check(folder)
    good = not told["beyond"]
    if as_json:
        print_json({"export": str(folder), "verified": good, **told})
    else:
        tell(
            f"{told['images']} golden images: largest difference of a probability "
            f"{told['difference']:.1e}, allowed {told['tolerance']:g}"
        )
        if "typicality_difference" in told:
            tell(f"of a typicality {told['typicality_difference']:.1e}, "
                 f"allowed {told['typicality_tolerance']:.2g}")  # fmt: skip
        tell(*(f"beyond: {row}" for row in told["beyond"]), "verified" if good else "not verified")
    if not good:
        raise typer.Exit(1)
