"""The page of a run: one file that asks for nothing, for every kind of run."""

import csv
import json
import shutil
import zipfile
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import headstart
from headstart.errors import ClassifierError
from headstart.runs import page
from headstart.runs.folder import Run, write_table
from headstart.runs.judged import read_judged
from headstart.runs.page import Effort, write_page
from headstart.runs.page_compare import draw_compared

CUT = {"cut": "block1a_project_bn", "size": 64}
OLD = Path(__file__).parents[1] / "data_of_old_runs"
VERSIONS = sorted(path.name for path in OLD.iterdir() if (path / "photos.zip").is_file())
VOID = {"meta", "link", "br", "img", "rect", "line", "use", "image", "path", "circle", "polyline"}


class Page(HTMLParser):
    """What a page holds: its text, its headings, links, ids, and what it refers to."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.text, self.open, self.ids, self.links, self.sources = "", [], [], [], []
        self.tags: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attributes:
            assert not name.startswith("on"), f"{tag} {name}"
            assert name != "style", f"{tag} style={value}: the policy forbids it"
            if name == "id":
                self.ids.append(value)
            if name in ("href", "src"):
                (self.links if (value or "").startswith("#") else self.sources).append(value)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open[-1:]):
            self.text += data


def check(file: Path) -> Page:
    """What holds of every page: whole, self-contained, each link leads somewhere."""
    page = Page(file)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert all(source.startswith("data:") for source in page.sources)
    content = file.read_text(encoding="utf-8")
    outside = content.replace("http://www.w3.org/2000/svg", "")
    assert "http:" not in outside
    assert "https:" not in outside
    assert "default-src 'none'; img-src data:; style-src 'sha256-" in unescape(content)
    assert page.tags.count("script") == 1
    return page


def draw_classes(folder: Path, names: list[str], each: int = 12, seed: int = 0) -> Path:
    """A folder of noise, each class in its own colour."""
    rng = np.random.default_rng(seed)
    for number, name in enumerate(names):
        target = folder / name
        target.mkdir(parents=True)
        colour = rng.integers(40, 216, 3)
        for index in range(each):
            pixels = np.clip(colour + rng.normal(0, 45, (32, 40, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(target / f"{number}-{index}.png")
    return folder


@pytest.fixture(scope="module")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return headstart.train(tiny, out=tmp_path_factory.mktemp("page") / "run", **CUT)


def test_a_training_ends_with_a_page(run: Run) -> None:
    page = check(run.folder / "report.html")
    measured = run.metrics["validation"]
    assert f"{measured.accuracy:.1%}" in page.text
    assert "Always saying" in page.text
    for heading in ("Result", "Does it overfit?", "What is taken for what", "Class by class",
                    "Can its probabilities be believed?", "How sure must it be?",
                    "A map of the images", "Where it looks", "Model card"):  # fmt: skip
        assert heading in page.text
    assert "Apache-2.0" in page.text
    assert str(run.recipe.seed) in page.text
    assert "image/webp" in (run.folder / "report.html").read_text(encoding="utf-8")


def test_charts_lie_beside_it_as_files_of_their_own(run: Run) -> None:
    names = {path.stem for path in (run.folder / "charts").glob("*.svg")}
    assert {"calibration", "coverage", "precision_recall", "roc", "regularisation"} <= names
    for path in (run.folder / "charts").glob("*.svg"):
        content = path.read_text(encoding="utf-8")
        assert content.startswith("<svg ")
        assert "<title" in content
        assert "--c0:" in content


def test_every_cell_of_the_matrix_leads_to_its_images(run: Run) -> None:
    content = (run.folder / "report.html").read_text(encoding="utf-8")
    for i, row in enumerate(run.metrics["validation"].confusion):
        for j, count in enumerate(row):
            assert (f'href="#cell-{i}-{j}"' in content) == bool(count)


def test_it_is_made_again_and_says_so_where_images_are_gone(tiny: Path, tmp_path: Path) -> None:
    photos = shutil.copytree(tiny, tmp_path / "photos")
    run = headstart.train(photos, out=tmp_path / "run", **CUT)
    whole = (run.folder / "report.html").stat().st_size
    judged = read_judged(run)
    assert judged is not None
    copy = photos / judged.names[0]
    copy.write_bytes(b"another file")
    assert "1 of" in check(write_page(run)).text
    shutil.rmtree(photos)
    page = check(write_page(Run(run.folder)))
    assert "The images are not where they were" in page.text
    assert (run.folder / "report.html").stat().st_size < whole


def test_odd_names_are_shown_as_they_are(tmp_path: Path) -> None:
    names = ["a;b", "<script>alert(1)</script>".replace("/", "∕"), "😀 \"&' $x_1$", "é" * 90]
    run = headstart.train(draw_classes(tmp_path / "photos", names), out=tmp_path / "run", **CUT)
    page = check(run.folder / "report.html")
    for name in run.record["classes"]:
        assert name in page.text
    assert "<script>alert" not in (run.folder / "report.html").read_text(encoding="utf-8")


def test_of_many_classes_the_most_frequent_confusions_are_shown(tmp_path: Path) -> None:
    names = [f"kind {number}" for number in range(30)]
    photos = draw_classes(tmp_path / "photos", names, each=8)
    run = headstart.train(photos, out=tmp_path / "run", **CUT)
    page = check(run.folder / "report.html")
    assert "confusions that occur" in page.text or "Nothing: all" in page.text
    assert 'class="matrix"' not in (run.folder / "report.html").read_text(encoding="utf-8")


def write_labels(folder: Path) -> Path:
    """A table of images in none, one or two of two classes: left half red, right half blue."""
    rng = np.random.default_rng(1)
    rows = ["path,label"]
    for index in range(60):
        has = rng.random(2) < 0.55
        if not has.any():
            has[index % 2] = True
        pixels = rng.normal(128, 30, (32, 40, 3))
        pixels[:, :20, 0] += 90 * has[0]
        pixels[:, 20:, 2] += 90 * has[1]
        name = f"{index}.png"
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / name)
        labels = [label for label, there in zip(("red", "blue"), has, strict=True) if there]
        rows.append(f"{name},{';'.join(labels)}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder / "labels.csv"


def test_several_classes_an_image(tmp_path: Path) -> None:
    run = headstart.train(write_labels(tmp_path), out=tmp_path / "run", **CUT)
    page = check(run.folder / "report.html")
    assert run.record["multi"]
    assert "mean average precision" in page.text
    assert "What was missed, what wrongly given" in page.text
    assert "Average precision" in page.text


def test_without_validation_images_cross_validation_speaks(run: Run, tmp_path: Path) -> None:
    bare = rewrite_predictions(run, tmp_path / "run", lambda rows: rows.clear())
    record = {**run.record, "images": {"train": run.record["images"]["train"]}}
    (bare.folder / "run.json").write_text(json.dumps(record))
    assert "judged by cross-validation" in check(write_page(Run(bare.folder))).text
    (bare.folder / "out_of_fold.safetensors").unlink()
    assert "No image was held out" in check(write_page(Run(bare.folder))).text


def test_groups_are_told(tmp_path: Path) -> None:
    photos = draw_classes(tmp_path / "photos", ["red", "blue"], each=16)
    run = headstart.train(photos, out=tmp_path / "run", groups=r"-(\d+)", **CUT)
    assert "images from new groups" in check(run.folder / "report.html").text


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["linear", "several_classes", "neural"])
def test_runs_of_earlier_versions_have_pages_too(version: str, name: str, tmp_path: Path) -> None:
    folder = shutil.copytree(OLD / version / name, tmp_path / "run")
    page = check(write_page(Run(folder)))
    assert "The images are not where they were" in page.text
    assert "The run kept too little" in page.text
    with zipfile.ZipFile(OLD / version / "photos.zip") as packed:
        packed.extractall(tmp_path / "photos")
    record = json.loads((folder / "run.json").read_text())
    source = tmp_path / "photos"
    if name == "several_classes":
        source = source / "labels.csv"
    else:
        for table in (tmp_path / "photos").glob("*.csv"):
            table.unlink()
    (folder / "run.json").write_text(json.dumps({**record, "source": str(source)}))
    assert "image/webp" in write_page(Run(folder)).read_text(encoding="utf-8")


def test_findings_of_an_audit_are_shown(run: Run, tmp_path: Path) -> None:
    folder = shutil.copytree(run.folder, tmp_path / "run")
    judged = read_judged(run)
    assert judged is not None
    finding = {
        "kind": "near_duplicate", "severity": "warning", "score": 0.9,
        "images": [{"image": judged.names[0], "split": "validation"}],
        "evidence": "alike but for <b>brightness</b>", "advice": "keep one",
    }  # fmt: skip
    (folder / "audit.json").write_text(json.dumps({"images": 48, "findings": [finding]}))
    page = check(write_page(Run(folder)))
    assert "What an audit found in the images" in page.text
    assert "1 set of near-duplicates" in page.text
    assert "Alike but for <b>brightness</b>." in page.text
    assert "Keep one." in page.text
    assert judged.names[0] in page.text


def test_a_training_is_whole_where_its_page_cannot_be_written(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("headstart.runs.page.write_page", refuse)
    run = headstart.train(tiny, out=tmp_path / "run", **CUT)
    assert run.metrics["validation"].n
    assert not (run.folder / "report.html").exists()


def test_a_learning_curve_that_lies_in_the_run_is_shown(run: Run, tmp_path: Path) -> None:
    folder = shutil.copytree(run.folder, tmp_path / "run")
    curve = {
        "sizes": [10, 20, 40], "accuracies": [0.6, 0.7, 0.8],
        "intervals": [[0.4, 0.8], [0.5, 0.9], [0.6, 0.9]],
        "overall": {"forecast": 0.85, "gain_interval": [0.01, 0.1]},
    }  # fmt: skip
    (folder / "learning_curve.json").write_text(json.dumps(curve))
    page = check(write_page(Run(folder)))
    assert "Would more images help?" in page.text
    assert "with 80 forecast 85.0%" in page.text
    (folder / "learning_curve.json").write_text("{}")
    assert "Would more images help?" not in check(write_page(Run(folder))).text


def test_charts_are_drawn_as_pictures_too_where_asked(run: Run, tmp_path: Path) -> None:
    folder = shutil.copytree(run.folder, tmp_path / "run")
    write_page(Run(folder), pictures=True)
    vectors, pictures = ({path.stem for path in (folder / "charts").glob(f"*.{kind}")}
                         for kind in ("svg", "png"))  # fmt: skip
    assert vectors == pictures
    with Image.open(folder / "charts" / "calibration.png") as picture:
        assert picture.format == "PNG"


def test_runs_side_by_side_have_a_page(run: Run, tiny: Path, tmp_path: Path) -> None:
    other = headstart.train(tiny, out=tmp_path / "<b>other", pooling="max", **CUT)
    (tmp_path / "page.html").write_text(draw_compared(headstart.compare(run, other)))
    page = check(tmp_path / "page.html")
    assert f"{run.folder} minus {other.folder}" in page.text
    assert "pooling" in page.text


def test_runs_without_common_images_say_so(run: Run, tiny: Path, tmp_path: Path) -> None:
    photos = shutil.copytree(tiny, tmp_path / "photos")
    for path in photos.rglob("*.*"):
        Image.open(path).rotate(90).save(path.with_suffix(".png"))
        if path.suffix != ".png":
            path.unlink()
    other = headstart.train(photos, out=tmp_path / "other", **CUT)
    (tmp_path / "page.html").write_text(draw_compared(headstart.compare(run, other)))
    assert "have no images in common" in check(tmp_path / "page.html").text


def rewrite_predictions(run: Run, folder: Path, change: Callable[[list[list[str]]], None]) -> Run:
    """A copy of the run whose table of predictions has other rows."""
    shutil.copytree(run.folder, folder)
    with (folder / "predictions.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    change(rows)
    write_table(folder / "predictions.csv", head, rows)
    return Run(folder)


def test_images_without_probabilities_are_left_out(run: Run, tmp_path: Path) -> None:
    def diverge(rows: list[list[str]]) -> None:
        rows[0][5:] = ["nan", "nan"]

    def diverge_all(rows: list[list[str]]) -> None:
        for row in rows:
            row[5:] = ["nan", "nan"]

    judged = read_judged(rewrite_predictions(run, tmp_path / "one", diverge))
    whole = read_judged(run)
    assert judged is not None
    assert whole is not None
    assert judged.names == whole.names[1:]
    assert len(judged.probabilities) == len(judged.given) == len(judged.targets)
    none = rewrite_predictions(run, tmp_path / "none", diverge_all)
    assert read_judged(none) is None
    assert "the training diverged" in check(write_page(none)).text


@pytest.mark.parametrize("kept", [1, 2])
def test_a_page_of_hardly_any_images(run: Run, tmp_path: Path, kept: int) -> None:
    def cut_off(rows: list[list[str]]) -> None:
        del rows[kept:]

    check(write_page(rewrite_predictions(run, tmp_path / "run", cut_off)))


def test_nothing_is_explained_when_time_is_up(run: Run, tmp_path: Path) -> None:
    folder = shutil.copytree(run.folder, tmp_path / "run")
    page = check(write_page(Run(folder), effort=Effort(looked=16, seconds=0)))
    assert "Where it looks" not in page.text
    assert "The worst mistakes" in page.text


def test_a_damaged_classifier_is_refused(run: Run, tmp_path: Path) -> None:
    folder = shutil.copytree(run.folder, tmp_path / "run")
    (folder / "classifier" / "classifier.json").write_bytes(b"{")
    with pytest.raises(ClassifierError, match=r"classifier\.json"):
        write_page(Run(folder))


@pytest.mark.parametrize(
    ("record", "rows"),
    [
        ({}, []),
        ({"abstention": None}, []),
        ({"abstention": {"left_out": [{"class": "a"}]}}, []),
        ({"abstention": {"left_out": [
            {"class": "a", "refused": 3, "images": 4, "interval": [0.3, 0.95]}]}},
         [("a", 0.75, (0.3, 0.95), 4)]),
    ],
)  # fmt: skip
def test_what_was_refused_when_left_out(record: dict[str, Any], rows: list[Any]) -> None:
    assert page._read_left_out(record) == rows


def test_one_of_two_copies_may_be_gone(tiny: Path, tmp_path: Path) -> None:
    photos = shutil.copytree(tiny, tmp_path / "photos")
    run = headstart.train(photos, out=tmp_path / "first", **CUT)
    judged = read_judged(run)
    assert judged is not None
    for name in judged.names:  # whichever is shown
        shutil.copy(photos / name, (photos / name).with_name(f"copy-{Path(name).name}"))
    run = headstart.train(photos, out=tmp_path / "run", **CUT)
    for path in photos.rglob("copy-*"):
        path.unlink()
    check(write_page(run))


def test_a_neural_ensemble_is_no_linear_head(run: Run, tmp_path: Path) -> None:
    copy = Run(shutil.copytree(run.folder, tmp_path / "run"))
    assert page._judge_linear(copy) is not None
    recipe = copy.folder / "recipe.toml"
    recipe.write_text(recipe.read_text().replace('head = "linear"', 'head = "neural"'))
    assert page._judge_linear(Run(copy.folder)) is None
