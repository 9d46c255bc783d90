"""Images that have changed since a run was trained on them: what is told, and what is refused."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import headstart
from headstart.data.dataset import load
from headstart.data.given import Source
from headstart.data.item import content_hash
from headstart.errors import ClassifierError, DatasetError
from headstart.recipe import load_recipe
from headstart.runs.changes import Changes, find_changes, find_renamed, look_back
from headstart.runs.folder import PREDICTIONS, TRAINING, Run, write_table
from headstart.system.progress import Progress

Labels = dict[str, str]


def fill(folder: Path, labels: Labels) -> Path:
    """An image of its own content for each name, in its class's folder."""
    for name, label in labels.items():
        (folder / label).mkdir(parents=True, exist_ok=True)
        (folder / label / name).write_bytes(name.encode())
    return folder


def write_run(folder: Path, labels: Labels, source: Path, *, several: bool = False) -> Run:
    """The tables of a run on these images, of which every fifth is a validation image."""
    folder.mkdir(parents=True)
    classes = sorted({part for label in labels.values() for part in label.split(";")})
    rows = [(name, content_hash(name.encode()).hex(), label) for name, label in labels.items()]
    shares = [0.0] * len(classes)
    judged = [(*row[:2], "validation", row[2], row[2], *shares) for row in rows[::5]]
    write_table(folder / "training.csv", list(TRAINING), [r for n, r in enumerate(rows) if n % 5])
    write_table(folder / "predictions.csv", [*PREDICTIONS, *classes], judged)
    write_table(folder / "unreadable.csv", ["image", "reason"], [])
    (folder / "recipe.toml").write_text(load_recipe("quick").to_toml())
    record = {"format": 1, "source": str(source), "classes": classes, "images": {},
              "multi": several, "cache": {"hits": 0, "misses": 0}, "verdict": None,
              "tuning": None, "history": {},
              "warnings": [], "seconds": {"total": 1.0}}  # fmt: skip
    (folder / "run.json").write_text(json.dumps(record))
    return Run(folder)


BEFORE = {**{f"a{n}": "ants" for n in range(10)}, **{f"b{n}": "bees" for n in range(10)}}


def change(tmp_path: Path, after: Labels, before: Labels = BEFORE) -> Changes:
    source = fill(tmp_path / "photos", after)
    return find_changes(write_run(tmp_path / "run", before, source), load(source))


def test_nothing_has_changed_where_images_were_only_moved(tmp_path: Path) -> None:
    found = change(tmp_path, BEFORE)
    assert not found
    assert str(found) == ""
    (tmp_path / "photos" / "ants" / "a1").rename(tmp_path / "photos" / "ants" / "other")
    assert not find_changes(Run(tmp_path / "run"), load(tmp_path / "photos"))


@pytest.mark.parametrize(
    ("after", "told"),
    [
        ({**BEFORE, "a11": "ants", "b11": "bees", "b12": "bees"},
         "3 new images (bees: 2, ants: 1)"),
        ({name: label for name, label in BEFORE.items() if name not in ("a1", "a2")},
         "2 gone (ants: 2)"),
        ({**BEFORE, "w1": "wasps", "w2": "wasps"},
         "2 new images (wasps: 2); new class: wasps"),
        ({**{name: label for name, label in BEFORE.items() if label == "ants"}, "w1": "wasps"},
         "1 new images (wasps: 1); new class: wasps; 10 gone (bees: 10); class gone: bees"),
        ({name: {"ants": "Ameisen"}.get(label, label) for name, label in BEFORE.items()},
         "the class ants is called Ameisen now"),
        ({**BEFORE, "a1": "bees"}, "1 in another class than before"),
    ],
)  # fmt: skip
def test_what_is_told(tmp_path: Path, after: Labels, told: str) -> None:
    assert str(change(tmp_path, after)) == told


def test_two_classes_that_became_one_and_a_class_that_was_divided() -> None:
    before = {str(n): frozenset({"ab"[n % 2]}) for n in range(10)}
    one = dict.fromkeys(before, frozenset({"c"}))
    assert find_renamed(before, one, "ab", "c") == {"a": "c", "b": "c"}
    divided = {name: frozenset({"b" if name in "13579" else "cd"[int(name) // 5]})
               for name in before}  # fmt: skip
    assert find_renamed(before, divided, "ab", "bcd") == {"a": "c"}  # which has most of them
    assert find_renamed(before, {}, "ab", "xy") == {}


def test_several_classes_an_image(tmp_path: Path) -> None:
    before = {"1": "a;b", "2": "a", "3": "b", "4": "a;b"}
    run = write_run(tmp_path / "run", before, tmp_path / "t.csv", several=True)
    for name in (*before, "5"):
        (tmp_path / name).write_bytes(name.encode())
    after = {"1": "a;c", "2": "a", "3": "b", "5": "b;c"}
    lines = "".join(f"{name},{label}\n" for name, label in after.items())
    (tmp_path / "t.csv").write_text(f"path,label\n{lines}")
    assert str(find_changes(run, load(tmp_path / "t.csv"))) == (
        "1 new images (b: 1, c: 1); new class: c; 1 gone (a: 1, b: 1); 1 in another class than "
        "before"
    )


def test_an_image_that_could_not_be_read_is_not_new(tmp_path: Path) -> None:
    source = fill(tmp_path / "photos", {**BEFORE, "broken": "ants"})
    run = write_run(tmp_path / "run", BEFORE, source)
    assert find_changes(run, load(source))
    write_table(run.folder / "unreadable.csv", ["image", "reason"], [("ants/broken", "empty")])
    assert not find_changes(run, load(source))


def test_the_run_before_is_the_latest_on_the_same_images(tmp_path: Path) -> None:
    source = fill(tmp_path / "photos", {**BEFORE, "a11": "ants"})
    assert look_back(Source(source), load(source), tmp_path / "runs") is None
    write_run(tmp_path / "runs" / "other", BEFORE, tmp_path / "elsewhere")
    assert look_back(Source(source), load(source), tmp_path / "runs") is None
    for number, name in enumerate(("old", "late", "damaged")):
        folder = write_run(tmp_path / "runs" / name, BEFORE, source).folder
        os.utime(folder / "run.json", (number, number))
    (tmp_path / "runs" / "damaged" / "training.csv").write_text("nonsense")
    found = look_back(Source(source), load(source), tmp_path / "runs")
    assert found is not None
    assert found.run.folder.name == "late"
    assert look_back(Source(source), load(source), tmp_path / "runs", but=found.run.folder) != found


class Told(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def warn(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def week(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """Photos that have changed since the run: a class renamed, one added, photos added and gone."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("week")
    photos = folder / "photos"
    shutil.copytree(tiny, photos)
    held = [photos / "red" / f"{n}.png" for n in (2, 4)]
    kept = [path.read_bytes() for path in held]
    for path in held:
        path.unlink()
    run = headstart.train(photos, out=folder / "runs" / "1", cut="last", size=64)
    for path, content in zip(held, kept, strict=True):
        path.write_bytes(content)
    (photos / "red").rename(photos / "rot")
    next((photos / "blue").iterdir()).unlink()
    rng = np.random.default_rng(1)
    (photos / "green").mkdir()
    for number in range(8):
        pixels = np.clip(np.array((60, 200, 60)) + rng.normal(0, 40, (48, 64, 3)), 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(photos / "green" / f"{number}.png")
    return photos, run


CHANGED = (
    "10 new images (green: 8, rot: 2); new class: green; 1 gone (blue: 1); the class red is called "
    "rot now"
)


def test_training_again_tells_what_is_new_and_compares(week: tuple[Path, Run]) -> None:
    photos, before = week
    told = Told()
    run = headstart.train(
        photos, out=before.folder.parent / "2", cut="last", size=64, progress=told
    )
    assert f"since {before.folder}: {CHANGED}" in told.lines
    assert run.record["cache"]["misses"] <= 10
    noted = run.record["before"]
    assert noted["changes"] == CHANGED
    known = run.metrics["validation"].n - run.metrics["validation"].classes[1].support
    assert noted["comparison"]["n"] == known  # all but the class that is new
    assert any("that neither has learned from" in line for line in told.lines)
    page = (run.folder / "report.html").read_text()
    assert f"Since {before.folder}</dt><dd>{CHANGED}. This run minus" in page
    again = headstart.train(photos, out=before.folder.parent / "3", cut="last", size=64)
    assert again.record["before"] is None


def test_runs_of_other_classes_are_compared_by_those_that_both_know(
    week: tuple[Path, Run], tiny: Path, tmp_path: Path
) -> None:
    _, before = week
    photos = shutil.copytree(tiny, tmp_path / "photos")
    shutil.copytree(photos / "red", photos / "more")
    for path in (photos / "more").iterdir():
        path.write_bytes(path.read_bytes() + b"0")
    run = headstart.train(photos, out=tmp_path / "2", cut="last", size=64)
    compared = headstart.compare(before, run)
    (pair,), (note,) = compared.pairs, compared.notes
    assert pair is not None
    assert pair.n == before.metrics["validation"].n
    assert "the 2 classes that both know (blue, red)" in note
    assert f"more in {run.folder} alone" in note


def test_a_class_that_is_called_otherwise_is_compared(
    week: tuple[Path, Run], tmp_path: Path
) -> None:
    photos, before = week
    run = headstart.train(photos, out=tmp_path / "2", cut="last", size=64)
    for one, two, old, new in ((before, run, "red", "rot"), (run, before, "rot", "red")):
        compared = headstart.compare(one, two)
        (pair,), (note,) = compared.pairs, compared.notes
        assert pair is not None
        assert "the 2 classes that both know" in note
        assert f"{old} is called {new} in {two.folder}; green in {run.folder} alone" in note


def test_runs_that_cannot_be_compared(tmp_path: Path) -> None:
    one = write_run(tmp_path / "1", BEFORE, tmp_path)
    two = write_run(tmp_path / "2", {"a": "ants", "w": "wasps"}, tmp_path)
    several = write_run(tmp_path / "3", {"a": "ants;bees"}, tmp_path, several=True)
    with pytest.raises(
        ClassifierError, match=r"two classes or more in common, found ants, bees in"
    ):
        headstart.compare(one, two)
    with pytest.raises(ClassifierError, match=r"several classes an image in \S+3\. Their own figu"):
        headstart.compare(one, several)


ACTS: list[Callable[[Run], object]] = [
    lambda run: headstart.finetune(run, out=run.folder.parent / "tuned"),
    headstart.remedies,
]


@pytest.mark.parametrize("act", ACTS)
def test_a_run_on_images_that_have_changed_is_not_gone_on_with(
    act: Callable[[Run], object], week: tuple[Path, Run]
) -> None:
    photos, run = week
    with pytest.raises(DatasetError) as error:
        act(run)
    assert f"found others in {photos}: {CHANGED}. To go on with those of today" in str(error.value)
    assert "type: --changed-data. For a new run on them: headstart train" in str(error.value)
    assert not (run.folder.parent / "tuned").exists()


@pytest.mark.parametrize("act", [*ACTS, lambda run: headstart.compare(run, run, repeats=2)])
def test_a_run_whose_images_are_gone(act: Callable[[Run], object], tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", BEFORE, tmp_path / "photos")
    with pytest.raises(
        DatasetError, match=r"found nothing at .*photos\. Put them back, or train on"
    ):
        act(run)


def test_remedies_on_changed_images_where_that_is_asked_for(week: tuple[Path, Run]) -> None:
    _, run = week
    told = Told()
    tried = headstart.remedies(run, budget=0, changed_data=True, progress=told)
    assert f"since {run.folder}: {CHANGED}" in told.lines
    assert tried.tried[0].name == "as it was"


def test_images_on_another_side_of_a_given_split(tiny: Path, tmp_path: Path) -> None:
    for split, numbers in (("train", range(12, 48)), ("val", range(12))):
        for path in tiny.glob("*/*"):
            if int(path.stem) in numbers:
                target = tmp_path / "photos" / split / path.parent.name / path.name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)
    photos = tmp_path / "photos"
    run = headstart.train(photos, out=tmp_path / "run", cut="last", size=64)
    (photos / "val" / "red" / "2.png").rename(photos / "train" / "red" / "2.png")
    with pytest.raises(DatasetError, match=r"found others in .*: 1 on another side of the split"):
        headstart.remedies(run)
