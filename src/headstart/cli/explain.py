"""headstart explain, and what predict --explain shares with it."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart.cli.app import app, command
from headstart.cli.options import RunFolder, parse_path
from headstart.cli.output import print_json, tell, tell_text
from headstart.system.text import shorten

if TYPE_CHECKING:
    from headstart.classifier import Classifier
    from headstart.data.item import Item
    from headstart.explain.maps import Explainer, Explanation
    from headstart.explain.neighbours import Neighbour, Neighbours

LONGEST = 200  # bytes of a photo's name in that of its picture
SHOWN = 512  # pixels of a side are enough for a picture


@app.command(
    epilog="Example: headstart explain runs/photos-1 new/ --out reasons/",
)
@command
def explain(
    run: RunFolder,
    images: Annotated[
        list[Path],
        typer.Argument(parser=parse_path, metavar="IMAGES", help="Images, folders or archives."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            parser=parse_path,
            metavar="FOLDER",
            help="Where the pictures go. Default: a new folder here; with --json none.",
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option("--class", metavar="NAME", help="Explain this class, not the likeliest."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object an image.")
    ] = False,
) -> None:
    """Show what in each image spoke for its class and against it. Exit code 1 if an image could
    not be used.
    """
    from headstart.classifier import load
    from headstart.cli.output import claim_free_folder

    items = find_images(images, f"headstart explain {run}")
    classifier = load(run)
    explainer = open_explainer(classifier, label)
    neighbours = read_neighbours(run, classifier)
    if out is None and not as_json:
        out = claim_free_folder(Path("explanations"))
    failed, worst, shown = 0, 0.0, 0
    for item, explanation, near, picture in explain_all(
        explainer, items, [label] * len(items), neighbours, out
    ):
        if as_json:
            print_json(describe(item, explanation, near, picture))
        else:
            _tell_one(item, explanation, near)
        evidence = explanation.evidence
        failed += evidence is None
        if evidence is not None:
            shown += 1
            worst = max(worst, abs(evidence.difference or 0.0))
    if not as_json:
        tell_text("", _sum_up(explainer, shown, worst))
        if out is not None:
            tell(f"Pictures: {out}")
    if failed:
        count = f"{failed:,} of {len(items):,} images could not be used"
        tell(f"{count}: their rows say why", to=sys.stderr)
        raise typer.Exit(1)


def find_images(places: Sequence[Path], command: str) -> "list[Item]":
    """The images in files, folders and archives. Raises DatasetError if there are none."""
    from headstart.data.places import images_in
    from headstart.errors import DatasetError

    items = images_in(places)
    if not items:
        raise DatasetError(
            f"expected images in {' '.join(map(str, places))}, found none. Type: {command} PHOTOS "
            "with images, or folders and archives that hold some"
        )
    return items


def open_explainer(classifier: "Classifier", label: str | None = None) -> "Explainer":
    """Raises HeadstartError for a class that the classifier does not know."""
    from headstart.errors import HeadstartError
    from headstart.explain.maps import Explainer

    if label is not None and label not in classifier.classes:
        known = ", ".join(classifier.classes[:20]) + (", ..." * (len(classifier.classes) > 20))
        raise HeadstartError(
            f"expected --class with one of {known}, found {label!r}. Type: --class "
            f"{classifier.classes[0]!r}"
        )
    return Explainer(classifier)


def read_neighbours(run: Path, classifier: "Classifier") -> "Neighbours | None":
    """What the run knows of its training images; where it knows nothing this is said."""
    from headstart.explain import neighbours

    known = neighbours.read(run, classifier.head.dimensions)
    if known is None:
        tell(
            f"without the nearest training images: no {neighbours.FILE} in {run}, which runs of "
            "earlier versions and classifiers alone do not have. Train again for it",
            to=sys.stderr,
        )
    return known


Row = tuple["Item", "Explanation", "list[Neighbour]", Path | None]


def explain_all(
    explainer: "Explainer",
    items: "Sequence[Item]",
    classes: Sequence[str | None],
    neighbours: "Neighbours | None",
    out: Path | None,
) -> Iterator[Row]:
    """Each image with its explanation, the nearest training images and its picture, if wanted."""
    taken: set[str] = set()
    explained: Iterable[Explanation] = explainer.explain(items, classes)
    for item, explanation in zip(items, explained, strict=True):
        near, picture = [], None
        if explanation.features is not None:
            near = neighbours.nearest(explanation.features) if neighbours else []
            if out is not None:
                picture = out / _name_picture(Path(item.file_name).stem, taken)
                _write_picture(picture, item, explanation, explainer.classifier, near)
        yield item, explanation, near, picture


def _name_picture(stem: str, taken: set[str]) -> str:
    """A name that no photo has, and no other picture of this call."""
    stem = shorten(stem, LONGEST)
    number, name = 1, f"{stem}.explained.png"
    while name.casefold() in taken:
        number += 1
        name = f"{stem}-{number}.explained.png"
    taken.add(name.casefold())
    return name


def _write_picture(
    path: Path,
    item: "Item",
    explanation: "Explanation",
    classifier: "Classifier",
    near: "list[Neighbour]",
) -> None:
    import io

    from PIL import Image

    from headstart.explain.picture import draw
    from headstart.images.decode import decode
    from headstart.system.atomic import write_atomically

    # No larger than it was decoded for the network: what could be predicted can be drawn.
    height, width = (min(SHOWN, side) for side in classifier.geometry.at_least)
    pixels = decode(item.read(), (height, width))
    sheet = draw(pixels, item.name, explanation, classifier.geometry, near)
    png = io.BytesIO()
    Image.fromarray(sheet).save(png, "PNG")
    write_atomically(path, png.getvalue())


def describe(
    item: "Item", explanation: "Explanation", near: "list[Neighbour]", picture: Path | None
) -> dict[str, Any]:
    """An image's row as plain JSON types."""
    prediction, evidence = explanation.prediction, explanation.evidence
    if evidence is None:
        return {"image": item.name, "label": None, "error": prediction.error}
    return {
        "image": item.name,
        "label": prediction.label,
        "class": evidence.label,
        "probability": evidence.probability,
        "logit": evidence.logit,
        "sum": evidence.total,
        "difference": evidence.difference,
        "exact": evidence.exact,
        "constant": evidence.constant,
        "nearest": [
            {"image": one.name, "label": one.label, "distance": round(one.distance, 4)}
            for one in near
        ],
        "picture": None if picture is None else str(picture),
    }


def _tell_one(item: "Item", explanation: "Explanation", near: "list[Neighbour]") -> None:
    evidence = explanation.evidence
    if evidence is None:
        tell_text(f"{item.name}  left out: {explanation.prediction.error}", indent="    ")
        return
    alike = ", ".join(f"{Path(one.name).name} ({one.label}, {one.distance:.2f})"
                      for one in near[:3])  # fmt: skip
    tell_text(f"{item.name}  {evidence.label} {evidence.probability:.1%}"
              + (f"  looks like {alike}" if alike else ""), indent="    ")  # fmt: skip


def _sum_up(explainer: "Explainer", count: int, worst: float) -> str:
    maps = f"{count:,} map{'s' * (count != 1)}"
    if explainer.exact:
        return f"{maps}: their places add up to the log odds; largest difference {worst:.1e}"
    return (f"{maps}, by hiding places of the feature maps one by one: this head is not linear, "
            "so shares do not add up by themselves")  # fmt: skip
