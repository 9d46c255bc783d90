"""report.html: a run as a page for people who were not there, in one file that asks for nothing.

`write_page` is the whole story: what the run keeps is read, images are found and made small, the
templates of `report` put all in order. What a run of an earlier version lacks is left out.
Letters: N images, C classes.
"""

import json
import shlex
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from headstart.audit.findings import KINDS
from headstart.backbones.catalogue import backbone as find_backbone
from headstart.data.item import Item
from headstart.errors import HeadstartError
from headstart.explain import neighbours
from headstart.metrics import curves
from headstart.report.charts import Chart, Picture
from headstart.report.page import chart_file, render
from headstart.report.plots import draw_picture
from headstart.runs import page_charts as charts
from headstart.runs.compare import describe_before
from headstart.runs.folder import Run, stream_training
from headstart.runs.judged import Judged, read_judged
from headstart.runs.page_pictures import (
    Gallery,
    average_maps,
    explain_images,
    find_images,
    open_explainer,
)
from headstart.runs.pictures import name_run
from headstart.system.atomic import write_atomically

PAGE, CHARTS = "report.html", "charts"
MATRIX = 25  # classes up to which all confusions are shown, beyond it the most frequent
PAIRS = 40  # of these
CELL, RIGHT_CELL = 12, 4  # images of a cell: confused, right
CELLS = 260  # in all
WORST, UNSURE = 16, 8  # images
LARGE = 0.1  # a gap between training and cross-validation that is told
AIMS = (0.9, 0.95, 0.99)
LOOKED_CLASSES = 12
AUDITED, TOLD = 4, 8  # images of a finding, findings of a kind
FINDING = ("kind", "severity", "evidence", "advice", "label", "suggested")
SPLITS = {"test": "test", "validation": "validation", "cross_validation": "training"}


@dataclass(frozen=True)
class Effort:
    """looked: images of which is averaged where the classifier looks. seconds: after which nothing
    more is explained.
    """

    looked: int
    seconds: float


WHOLE = Effort(looked=160, seconds=4.0)
BRIEF = Effort(looked=16, seconds=1.0)  # at the end of a training


def write_page(
    run: Run,
    *,
    places: Mapping[str, Item] | None = None,
    effort: Effort = WHOLE,
    pictures: bool = False,
) -> Path:
    """Write report.html and the charts into the run; returns where the page is.

    places: the images by name, by default looked for where they were. effort: what may be spent on
    explaining. pictures: whether charts are drawn as PNG too. Raises
    ClassifierError for a run that cannot be read, StorageError where nothing can be written.
    """
    content, drawn = gather(run, places, effort)
    folder = run.folder / CHARTS
    folder.mkdir(exist_ok=True)
    of = name_run(run)
    for name, chart in drawn.items():
        write_atomically(folder / f"{name}.svg", chart_file(chart, of).encode())
        if pictures:
            file, picture = folder / f"{name}.png", Picture(chart.title, f"{of}. {chart.about}",
                                                            [chart])  # fmt: skip
            write_atomically(file, draw_picture(picture, file))
    path = run.folder / PAGE
    write_atomically(path, render("run.html", **content).encode())
    return path


def gather(
    run: Run, places: Mapping[str, Item] | None = None, effort: Effort = WHOLE
) -> tuple[dict[str, Any], dict[str, Chart]]:
    """All that the template of a run shows, and the charts by name. Arguments as `write_page`."""
    record, judged = run.record, read_judged(run)
    gallery = Gallery(find_images(run) if places is None else places)
    training = _Training(run)
    linear = record.get("linear") or {}
    measured = run.metrics.get(judged.split) if judged else None
    drawn: dict[str, Chart] = {}
    content: dict[str, Any] = {
        "title": run.folder.resolve().name,
        "typed": shlex.quote(str(run.folder)),
        "record": {"groups": 0, "dataset": "not kept", "headstart": "", **record},
        "classes": record["classes"],
        "multi": record["multi"],
        "split": SPLITS.get(judged.split, judged.split) if judged else None,
        "crossed": judged is not None and judged.split == "cross_validation",
        "metrics": measured,
        "splits": _list_splits(run),
        "guess": _guess(judged) if judged else None,
        "verdict": run.verdict or _judge_linear(run),
        "lacks": [],
    }
    for chart in charts.chart_history(
        run.history, record.get("kept_epoch"), (record.get("images") or {}).get("validation")
    ):
        drawn[f"history_{chart.y_title}"] = chart
    _keep(drawn, "regularisation", charts.chart_path(linear))
    _keep(
        drawn,
        "layers",
        charts.chart_layers(record.get("selection") or {}, list(map(str, run.recipe.cut))),
    )
    curve = charts.read_learning_curve(run.folder)
    _keep(drawn, "learning_curve", charts.chart_learning(curve) if curve else None)
    shown: list[_Shown] = []
    if judged is not None and measured is not None and measured.n:
        temperature = linear.get("temperature")
        drawn["calibration"] = charts.chart_calibration(judged, temperature)
        content |= {
            "temperature": temperature,
            "errors": [charts.calibration_error(judged, temperature),
                       charts.calibration_error(judged, None)],
            "aims": _aim(judged),
            "rows": _describe_classes(judged, measured, training),
            "left_out": _read_left_out(record),
        }  # fmt: skip
        confidence = judged.probabilities.max(axis=1)
        if not judged.task.multilabel:
            drawn["coverage"] = charts.chart_coverage(judged)
            content["answered"] = [(aim, curves.answered_at(confidence, judged.right, aim))
                                   for aim in (*AIMS, 0.995)]  # fmt: skip
        both, content["curves_of"] = charts.chart_curves(judged)
        for name, chart in zip(("precision_recall", "roc"), both, strict=False):
            drawn[name] = chart
        worst, unsure = _find_worst(judged), _find_unsure(judged)
        shown = [_Shown(judged, at, gallery) for at in [*worst, *unsure]]
        content |= {"worst": shown[: len(worst)], "unsure": shown[len(worst) :]}
        content |= _confuse(judged, gallery)
    content["findings"] = _read_audit(run, training, judged, gallery)
    _map_features(run, training, gallery, drawn, content)
    gallery.fetch()
    _explain(run, shown, judged, gallery, effort, content)
    content["lacks"] = _list_lacks(run, content, drawn)
    content["before"] = describe_before(record.get("before") or {})
    content |= {"gallery": gallery, "charts": drawn, "card": _describe(run), "made": _now()}
    return content, drawn


def _keep(drawn: dict[str, Chart], name: str, chart: Chart | None) -> None:
    if chart is not None:
        drawn[name] = chart


def _now() -> str:
    return datetime.now().strftime("%Y-%m-%d %H:%M")


@dataclass(frozen=True)
class _Training:
    """Name, content and label of each training image: of many, so read each time anew."""

    run: Run

    def __iter__(self) -> Iterator[list[str]]:
        with suppress(FileNotFoundError):
            yield from stream_training(self.run.folder)


def _list_splits(run: Run) -> list[tuple[str, Any]]:
    """Metrics of each split that has some, as they are called."""
    names = {"train": "training, its own images", "cross_validation": "cross-validation"}
    order = ("train", "cross_validation", "validation", "test")
    return [(names.get(split, split), run.metrics[split]) for split in order
            if split in run.metrics and run.metrics[split].n]  # fmt: skip


def _guess(judged: Judged) -> tuple[float, str]:
    """What whoever does not look at the images can reach at most, and how: by saying the commonest
    class of these (the no-information rate), as the terminal tells it; of several classes an image,
    mean average precision by chance.
    """
    if judged.task.multilabel:
        present = judged.has.any(axis=0)
        return float(judged.has[:, present].mean()), "a random order"
    common, count = Counter(judged.labels).most_common(1)[0]
    return count / len(judged.labels), common


def _judge_linear(run: Run) -> str | None:
    """In words what training, cross-validation and validation say of a linear head."""
    if run.recipe.head != "linear":
        return None
    crossed, train = run.metrics.get("cross_validation"), run.metrics.get("train")
    if not (crossed and crossed.n and train and train.n):
        return None
    gap = train.accuracy - crossed.accuracy
    text = (
        f"A linear head fits the images that it learned from ({train.accuracy:.1%}), as it may: "
        "how closely was chosen by cross-validation, on images that its heads had not seen "
        f"({crossed.accuracy:.1%}, {gap:.1%} less). "
    )
    for split in ("test", "validation"):
        apart = run.metrics.get(split)
        if apart is None or not apart.n or not apart.accuracy_interval:
            continue
        (low, high), (low_crossed, high_crossed) = (
            apart.accuracy_interval,
            crossed.accuracy_interval,
        )
        images = f"the {apart.n:,} {split} images ({apart.accuracy:.1%})"
        if low_crossed > high:
            return text + (
                f"But {images} are told worse than that: they differ from the training images, or "
                "there are too few of them. Look at the mistakes below."
            )
        if high_crossed < low:
            return text + f"And {images} are told even better: they may be the easier ones."
        if gap >= LARGE:
            return text + (
                f"And {images} agree: it knows its own images much better than new ones. More "
                "images or views of them (--set views=3) may help: "
                "headstart learning-curve and headstart remedies tell."
            )
        return text + f"And {images} agree: no sign of overfitting."
    return text.strip()


@dataclass
class _Shown:
    """An image of the page with what was said of it. heat: what spoke for it, if drawn."""

    judged: Judged
    at: int
    gallery: Gallery
    heat: str | None = None

    def __post_init__(self) -> None:
        self.picture = self.gallery.want(self.name, self.judged.contents[self.at])

    @property
    def name(self) -> str:
        return self.judged.names[self.at]

    @property
    def label(self) -> str:
        return self._list(self.judged.has)

    @property
    def said(self) -> str:
        """The classes that it was given."""
        return self._list(self.judged.given)

    def _list(self, of: np.ndarray) -> str:
        """The classes of (N, C) that the image has."""
        names = [self.judged.classes[c] for c in np.flatnonzero(of[self.at])]
        return ", ".join(names) or "none"

    @property
    def asked(self) -> int:
        """The class whose reasons are of interest: what was said; of several classes the one that
        is most wrong.
        """
        p = self.judged.probabilities[self.at]
        if self.judged.task.multilabel:
            return int(np.abs(p - self.judged.has[self.at]).argmax())
        return int(p.argmax())

    @property
    def explained(self) -> str:
        return self.judged.classes[self.asked]

    @property
    def probability(self) -> float:
        """Of the class asked."""
        return float(self.judged.probabilities[self.at, self.asked])


def _read_left_out(record: Mapping[str, Any]) -> list[tuple[str, float, tuple[float, float], int]]:
    """Of each class, when it was left out of the training: name, share that was refused as none of
    these, its interval, images. Of an older run, or one that somebody edited, nothing.
    """
    try:
        return [
            (str(row["class"]), row["refused"] / row["images"],
             (float(row["interval"][0]), float(row["interval"][1])), int(row["images"]))
            for row in (record.get("abstention") or {}).get("left_out", ())
        ]  # fmt: skip
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, ZeroDivisionError):
        return []


def _find_worst(judged: Judged) -> list[int]:
    """Wrong images, those first of which the classifier was surest."""
    wrong = np.flatnonzero(~judged.right)
    if judged.task.multilabel:
        surprise = np.abs(judged.probabilities - judged.has).max(axis=1)
    else:
        surprise = judged.probabilities.max(axis=1)
    order: list[int] = wrong[np.argsort(-surprise[wrong], kind="stable")][:WORST].tolist()
    return order


def _find_unsure(judged: Judged) -> list[int]:
    """Images of which two answers were nearly as probable."""
    if judged.task.multilabel:
        doubt = np.abs(judged.probabilities - 0.5).min(axis=1)
    else:
        ranked = np.sort(judged.probabilities, axis=1)
        doubt = ranked[:, -1] - ranked[:, -2]
    order: list[int] = np.argsort(doubt, kind="stable")[:UNSURE].tolist()
    return order


@dataclass(frozen=True)
class _Cell:
    """count images of class `true` that were given class `said`. shown: some of them. kind: of
    several classes an image "missed" or "wrong".
    """

    identity: str
    true: str
    said: str
    count: int
    share: float
    right: bool
    shown: list[_Shown]
    kind: str = ""

    @property
    def level(self) -> int:
        """How dark it is, 0 to 10."""
        return round(10 * self.share)


def _confuse(judged: Judged, gallery: Gallery) -> dict[str, Any]:
    """The matrix of cells, or the most frequent confusions of many classes; of several classes an
    image what was missed and wrongly given.
    """
    if judged.task.multilabel:
        return {"matrix": None, "pairs": _list_errors(judged, gallery), "of_pairs": 0}
    size = len(judged.classes)
    said = judged.probabilities.argmax(axis=1)
    codes, each = np.unique(judged.targets * size + said, return_counts=True)
    counts = {divmod(code, size): n for code, n in zip(codes.tolist(), each.tolist(), strict=True)}
    support = np.bincount(judged.targets, minlength=size).tolist()
    wrong = [(i, j) for i, j in counts if i != j]
    wrong.sort(key=lambda cell: -counts[cell])
    left = CELLS
    cells: dict[tuple[int, int], _Cell] = {}
    right = [(c, c) for c in range(size) if (c, c) in counts] if size <= MATRIX else []
    listed = wrong if size <= MATRIX else wrong[:PAIRS]
    for i, j in [*listed, *right]:
        inside = np.flatnonzero((judged.targets == i) & (said == j))
        sure = judged.probabilities[inside, j]
        most = min(CELL if i != j else RIGHT_CELL, max(left, 0))
        order = inside[np.argsort(-sure if i != j else sure, kind="stable")][:most]
        left -= len(order)
        cells[i, j] = _Cell(
            f"cell-{i}-{j}", judged.classes[i], judged.classes[j], counts[i, j],
            counts[i, j] / support[i], i == j,
            [_Shown(judged, at, gallery) for at in order.tolist()],
        )  # fmt: skip
    matrix = None
    if size <= MATRIX:
        matrix = [[cells.get((i, j)) for j in range(size)] for i in range(size)]
    pairs = [cells[i, j] for i, j in listed]
    return {"matrix": matrix, "pairs": pairs, "right_cells": [cells[c] for c in right],
            "of_pairs": len(wrong)}  # fmt: skip


def _list_errors(judged: Judged, gallery: Gallery) -> list[_Cell]:
    """By class the images whose class was missed, and those wrongly given it."""
    cells = []
    for c, name in enumerate(judged.classes):
        for kind, at, of in (
            ("missed", judged.has[:, c] & ~judged.given[:, c], judged.has[:, c].sum()),
            ("wrong", ~judged.has[:, c] & judged.given[:, c], (~judged.has[:, c]).sum()),
        ):
            inside = np.flatnonzero(at)
            if not len(inside):
                continue
            p = judged.probabilities[inside, c]
            order = inside[np.argsort(p if kind == "missed" else -p, kind="stable")][:CELL]
            cells.append(_Cell(
                f"{kind}-{c}", name, "", len(inside), len(inside) / max(1, int(of)), False,
                [_Shown(judged, a, gallery) for a in order.tolist()], kind,
            ))  # fmt: skip
    return sorted(cells, key=lambda cell: -cell.count)[:PAIRS]


def _describe_classes(judged: Judged, measured: Any, training: _Training) -> list[dict[str, Any]]:
    """Of each class what the table shows."""
    multi = judged.task.multilabel
    learned = Counter(
        name for row in training for name in (row[2].split(";") if multi else [row[2]])
    )
    rows = []
    for c, row in enumerate(measured.classes):
        taken = None
        if not multi and measured.confusion:
            others = [count if j != c else 0 for j, count in enumerate(measured.confusion[c])]
            if any(others):
                taken = judged.classes[int(np.argmax(others))], max(others)
        rows.append({"row": row, "learned": learned.get(row.name), "taken": taken})
    if len(rows) > MATRIX:  # nobody reads hundreds of rows to the end
        rows.sort(key=lambda one: 2.0 if one["row"].recall is None else one["row"].recall)
    return rows


def _aim(judged: Judged) -> list[tuple[str, list[curves.Aim]]]:
    """For two classes what happens at each precision aimed at."""
    if judged.task.multilabel or len(judged.classes) != 2:
        return []
    return [
        (name, [curves.aim_at(curves.sweep(judged.probabilities[:, c], judged.has[:, c]), aim)
                for aim in AIMS])
        for c, name in enumerate(judged.classes)
    ]  # fmt: skip


def _read_audit(
    run: Run, training: _Training, judged: Judged | None, gallery: Gallery
) -> list[dict[str, Any]] | None:
    """The findings of an audit that lies in the run, with the pictures of the first images; not of
    files with another content than any that the run has seen.
    """
    source = run.record["source"]
    try:
        found = json.loads((run.folder / "audit.json").read_text(encoding="utf-8"))["findings"]
        known = {row[1] for row in training} | set(judged.contents if judged else ())
        # An audit names images by where they lie below the source, a table perhaps otherwise.
        root = Path(source).parent if Path(source).is_file() else Path(source)
        below = {item.path.relative_to(root).as_posix(): item
                 for item in gallery.places.values() if item.path.is_relative_to(root)}  # fmt: skip
        findings: list[dict[str, Any]] = []
        for finding in found:
            images = [_name_image(image) for image in finding.get("images") or ()]
            shown = []
            for name in images[:AUDITED]:
                item = gallery.places.get(name) or below.get(name)
                content = item.content_hash.hex() if item else ""
                shown.append((name, gallery.want(name, content) if content in known else None))
            said = {key: str(finding.get(key) or "") for key in FINDING}
            findings.append({**said, "shown": shown, "count": len(images)})
        kinds = Counter(finding["kind"] for finding in findings)
        return [
            {"kind": KINDS.get(kind, (kind, kind))[count > 1], "count": count, "findings": [
                finding for finding in findings if finding["kind"] == kind][:TOLD]}
            for kind, count in kinds.items()
        ]  # fmt: skip
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _name_image(image: Any) -> str:
    """An image of a finding: its name, perhaps beside its split."""
    if isinstance(image, Mapping):
        return str(image.get("image") or image.get("path") or image.get("name"))
    return str(image[0] if isinstance(image, list | tuple) else image)


def _map_features(
    run: Run, training: _Training, gallery: Gallery, drawn: dict[str, Chart],
    content: dict[str, Any],
) -> None:  # fmt: skip
    """The map of the training images' features, as points and as pictures."""
    known = neighbours.read(run.folder)
    if known is None:
        return
    chart = charts.chart_map(
        known.places, [row[1] for row in known.images], [row[0] for row in known.images],
        run.record["classes"],
    )  # fmt: skip
    if chart is None:
        return
    drawn["map"] = chart
    chosen = list(charts.choose_mapped(chart))
    names = {name for *_, name in chosen}
    contents = {row[0]: row[1] for row in training if row[0] in names}
    pictures = []
    for x, y, number, name in chosen:
        identity = gallery.want(name, contents[name]) if name in contents else None
        if identity:
            pictures.append((x, y, number, identity))
    content["mapped"] = pictures


def _explain(
    run: Run, shown: Sequence[_Shown], judged: Judged | None, gallery: Gallery, effort: Effort,
    content: dict[str, Any],
) -> None:  # fmt: skip
    """What spoke for what was said of the images shown, and where the classifier looks."""
    chart_of_map = content.get("mapped")
    if chart_of_map:
        content["mapped"] = [row for row in chart_of_map if row[3] in gallery.pictures]
    content["looks"] = []
    # Of two copies one may be gone: pictures go by content, places by name.
    there = [one for one in shown
             if one.picture in gallery.pictures and one.name in gallery.places]  # fmt: skip
    if not (there and judged is not None):
        return
    explainer = open_explainer(run)
    if explainer is None:
        return
    items = [gallery.places[one.name] for one in there]
    until = time.perf_counter() + effort.seconds
    drawn = explain_images(explainer, items, [one.explained for one in there], until)
    for at, picture in drawn.items():
        there[at].heat = picture
    content["exact"] = explainer.exact
    content["looks"] = average_maps(
        explainer, _choose_looked(judged, gallery, effort.looked), until
    )


def _choose_looked(judged: Judged, gallery: Gallery, looked: int) -> list[tuple[str, list[Item]]]:
    """Of the classes with most images some that were told right, from all over."""
    right = judged.has & judged.given & judged.right[:, None]
    common = np.argsort(-right.sum(axis=0), kind="stable")[:LOOKED_CLASSES]
    each = max(2, looked // len(common))
    chosen = []
    for c in sorted(common.tolist()):
        inside = [at for at in np.flatnonzero(right[:, c]).tolist()
                  if _is_as_judged(gallery.places.get(judged.names[at]), judged.contents[at])
                  ]  # fmt: skip
        if inside:
            kept = np.unique(np.linspace(0, len(inside) - 1, each).astype(int))
            items = [gallery.places[judged.names[inside[place]]] for place in kept.tolist()]
            chosen.append((judged.classes[c], items))
    return chosen


def _is_as_judged(item: Item | None, content: str) -> bool:
    """Whether the image is there, and has not changed since."""
    return item is not None and item.content_hash.hex() == content


def _list_lacks(run: Run, content: Mapping[str, Any], drawn: Mapping[str, Chart]) -> list[str]:
    """What is not in the page, and why."""
    lacks = []
    gallery_missing = content.get("metrics") is not None
    held_out = any(run.record["images"].get(split) for split in ("validation", "test"))
    if content["split"] is None and held_out:
        lacks.append("No image has probabilities that are numbers: the training diverged.")
    elif content["split"] is None:
        lacks.append(
            "No image was held out and the run kept no cross-validation of each image: what is "
            "told of single images is left out. Train again with this version for it."
        )
    elif content["crossed"]:
        lacks.append(
            "There are no validation images: figures are by cross-validation, each training image "
            "told by heads that had not seen it."
        )
    if (
        gallery_missing
        and "calibration" in drawn
        and not (run.record.get("linear") or {}).get("temperature")
    ):
        lacks.append("The run kept no temperature, so probabilities are shown as stated only.")
    if "map" not in drawn:
        lacks.append("The run kept too little of its training images' features for a map of them.")
    if content["findings"] is None:
        lacks.append("No audit of the images lies in the run.")
    if "learning_curve" not in drawn:
        lacks.append(
            "No learning curve was measured. Type: headstart learning-curve PHOTOS --out RUN"
        )
    return lacks


def _describe(run: Run) -> dict[str, Any]:
    """The model card: what it is made of."""
    record, recipe, about = run.record, run.recipe, run.classifier.description
    try:
        backbone = find_backbone(recipe.backbone)
        licence, source = backbone.licence, backbone.source
    except HeadstartError:
        licence, source = "not known", "not known"
    if recipe.weights not in ("default", "imagenet"):
        source = (
            "none, begun at random" if recipe.weights == "none" else f"your file {recipe.weights}"
        )
        licence = "that of this file" if recipe.weights != "none" else "none needed"
    return {
        "recipe": recipe.to_toml(comments=False),
        "backbone": about.get("backbone", recipe.backbone),
        "cuts": " + ".join(map(str, about.get("cuts") or recipe.cut)),
        "geometry": run.classifier.geometry,
        "precision": run.classifier.precision,
        "digest": _read_digest(run.folder / "classifier" / "classifier.json"),
        "licence": licence,
        "source": source,
        "trained": datetime.fromtimestamp((run.folder / "run.json").stat().st_mtime).strftime(
            "%Y-%m-%d %H:%M"
        ),
        "seconds": record["seconds"],
        "versions": record.get("versions") or {"headstart": record.get("headstart", "")},
    }


def _read_digest(file: Path) -> str:
    """By which a classifier is known, in its description, which has been read and found whole."""
    return str(json.loads(file.read_text(encoding="utf-8")).get("digest", "not kept"))
