"""Groups (a patient, a camera, a burst): never on both sides of a split or fold."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

import headstart
from headstart.data.dataset import load
from headstart.data.ties import group_numbers
from headstart.errors import DatasetError
from headstart.heads.folds import assign_folds
from headstart.recipe import load_recipe
from headstart.runs import steps

PATTERN = r"(patient\d+)_"


def written(folder: Path, rows: list[tuple[str, str, bytes]]) -> Path:
    for label, name, content in rows:
        target = folder / label / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return folder


def random_rows(seed: int, patients: int, images: int) -> list[tuple[str, str, bytes]]:
    """Some patients have several classes; some bytes occur in several patients."""
    rng = np.random.default_rng(seed)
    return [
        (f"class{rng.integers(3)}", f"patient{rng.integers(patients)}_{i}.jpg",
         f"content {rng.integers(2 * images)}".encode())
        for i in range(images)
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
def test_no_group_and_no_content_is_on_both_sides(tmp_path: Path, seed: int) -> None:
    dataset = load(written(tmp_path, random_rows(seed, 30, 120)), groups=PATTERN)
    sides = defaultdict(set)
    for item in dataset.items:
        sides[item.group].add(item.split)
        sides[item.content_hash].add(item.split)
    assert all(len(splits) == 1 for splits in sides.values())
    assert {item.split for item in dataset.items} == {"train", "validation"}
    assert all(dataset.counts()["train"].values())


@pytest.mark.parametrize("seed", range(4))
def test_no_group_is_in_two_folds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups, labels = rng.integers(0, 12, 100), rng.integers(0, 3, 100)
    folds = assign_folds(labels, groups, 5, seed)
    assert all(len(set(folds[groups == group])) == 1 for group in range(12))
    assert set(folds) == set(range(5))


def test_adding_a_patient_moves_nobody_else(tmp_path: Path) -> None:
    rows = [("ab"[i % 2], f"patient{i % 20}_{i}.jpg", str(i).encode()) for i in range(100)]
    before = load(written(tmp_path, rows), groups=PATTERN)
    more = [("ab"[i % 2], f"patient{99}_{i}.jpg", f"new {i}".encode()) for i in range(10)]
    after = load(written(tmp_path, more), groups=PATTERN)
    sides = {item.name: item.split for item in after.items}
    assert all(sides[item.name] == item.split for item in before.items)


def test_a_column_of_a_table(tmp_path: Path) -> None:
    written(tmp_path, random_rows(0, 10, 60))
    files = sorted(tmp_path.glob("*/*.jpg"))
    lines = ["path,label,Patient"]
    lines += [f"{f.relative_to(tmp_path)},{f.parent.name},{f.name.split('_')[0]}" for f in files]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(lines))
    dataset = load(table, groups="patient")
    assert {item.group for item in dataset.items} == {f"patient{i}" for i in range(10)}
    table.write_text("\n".join([*lines[:-1], lines[-1].rsplit(",", 1)[0] + ","]))
    with pytest.raises(DatasetError, match="expected a group in line 61"):
        load(table, groups="patient")


@pytest.mark.parametrize(
    ("rows", "pattern", "text"),
    [
        ({"a": ["1.jpg"], "b": ["1.jpg"]}, None, "two images or more of a class, .* one of each"),
        ({"a": ["1.jpg", "2.jpg"], "b": ["3.jpg", "4.jpg"]}, "^(.)", "found one group a class. Ty"),
        ({"a": ["p1_1.jpg", "p1_2.jpg"], "b": ["p2_3.jpg"]}, r"(p\d)", "found one group a class"),
    ],
)
def test_where_no_class_could_be_learned_and_tested(
    rows: dict[str, list[str]], pattern: str | None, text: str, tmp_path: Path
) -> None:
    written(tmp_path, [(c, name, (c + name).encode()) for c in rows for name in rows[c]])
    with pytest.raises(DatasetError, match=text):
        load(tmp_path, groups=pattern)
    load(tmp_path, groups=pattern, split=False)  # to be evaluated on


def test_classes_of_one_group_are_told(tmp_path: Path) -> None:
    rows = [("ab"[i % 2], f"p{i % 6 if i % 2 else 0}_{i}.jpg", str(i).encode()) for i in range(20)]
    (warning,) = load(written(tmp_path, rows), groups=r"(p\d)").warnings
    assert warning == ("too few groups to validate: a (no validation image: all are in one group)")


def test_several_classes_an_image_are_validated_too(tmp_path: Path) -> None:
    """However the places of few groups fall, one is on the other side."""
    rows = [("photos", f"p{i // 2}_{i}.jpg", str(i).encode()) for i in range(8)]
    written(tmp_path, rows)
    lines = [f"photos/{name},{'a;b' if i % 3 else 'b'},p{i // 2}"
             for i, (_, name, _) in enumerate(rows)]  # fmt: skip
    (table := tmp_path / "t.csv").write_text("\n".join(["path,label,patient", *lines]))
    for seed in range(20):
        for fraction in (0.01, 0.2, 0.99):
            dataset = load(table, groups="patient", seed=seed, validation_fraction=fraction)
            assert {item.split for item in dataset.items} == {"train", "validation"}


def test_names_that_do_not_match(tmp_path: Path) -> None:
    rows = [("a", "patient1_1.jpg", b"1"), ("b", "patient2_1.jpg", b"2"), ("b", "x.jpg", b"3")]
    folder = written(tmp_path, rows)
    with pytest.raises(DatasetError, match="matches none"):
        load(folder, groups="camera")
    with pytest.raises(DatasetError, match="a regular expression"):
        load(folder, groups="(")
    with pytest.raises(DatasetError, match="two groups or more, found one: 'jpg'"):
        load(folder, groups=r"\.(jpg)")
    dataset = load(folder, groups=PATTERN)
    assert any("1 images are in no group" in warning for warning in dataset.warnings)
    assert group_numbers(dataset.items) is None  # each stands for itself


def test_images_of_one_content_are_one_group(tmp_path: Path) -> None:
    rows = [("a", "1.jpg", b"1"), ("a", "2.jpg", b"2"), ("b", "3.jpg", b"1"), ("b", "4.jpg", b"4")]
    assert group_numbers(load(written(tmp_path / "one", rows)).items) == pytest.approx([0, 1, 0, 2])
    same = [("a", "1.jpg", b"1"), ("b", "2.jpg", b"1")]
    assert group_numbers(load(written(tmp_path / "same", same), split=False).items) is None
    # Two patients who share an image are one; an image without a patient is tied by its content.
    rows = [("a", "patient1_1.jpg", b"1"), ("a", "patient2_1.jpg", b"1"), ("b", "x.jpg", b"2"),
            ("b", "patient2_2.jpg", b"2"), ("b", "patient3_1.jpg", b"3"),
            ("b", "y.jpg", b"4")]  # fmt: skip
    numbers = group_numbers(load(written(tmp_path / "two", rows), groups=PATTERN).items)
    assert numbers is not None
    by_name = dict(zip([i.name for i in load(tmp_path / "two").items], numbers, strict=True))
    tied = {by_name[f"{n}.jpg"] for n in ("a/patient1_1", "a/patient2_1", "b/patient2_2", "b/x")}
    assert len(tied) == 1
    assert len(set(numbers.tolist())) == 3


@pytest.mark.parametrize("seed", range(4))
def test_copies_are_in_one_fold(tmp_path: Path, seed: int) -> None:
    """Without groups of the user's: no head is asked about a copy of what it has seen."""
    rows = [("ab"[i % 2], f"{i}{copy}.jpg", str(i).encode()) for i in range(40) for copy in "xy"]
    dataset = load(written(tmp_path, rows))
    items = dataset.split("train")
    labels = steps.label(items, dataset.task, load_recipe("quick"))
    folds_of = defaultdict(set)
    for item, fold in zip(items, labels.folds(5, seed), strict=True):
        folds_of[item.content_hash].add(fold)
    assert all(len(folds) == 1 for folds in folds_of.values())
    assert labels.group_count == len(items) / 2


def test_a_given_split_that_shares_a_group_is_told(tmp_path: Path) -> None:
    rows = [("train/a", "patient1_1.jpg", b"1"), ("train/b", "patient2_1.jpg", b"2"),
            ("val/a", "patient1_2.jpg", b"3"), ("val/b", "patient3_1.jpg", b"4")]  # fmt: skip
    dataset = load(written(tmp_path, rows), groups=PATTERN)
    assert any("1 groups are on both sides" in w and "patient1" in w for w in dataset.warnings)


def test_a_test_split_that_shares_groups_or_images_is_told(tmp_path: Path) -> None:
    rows = [(f"train/{name}", f"patient{i}_1.jpg", bytes([i])) for i, name in enumerate("abab")]
    rows += [("test/a", "patient0_2.jpg", bytes([0])), ("test/b", "patient3_2.jpg", b"new")]
    dataset = load(written(tmp_path, rows), groups=PATTERN)
    assert any("2 groups are on both sides" in warning for warning in dataset.warnings)
    assert any("1 validation or test images are also training" in w for w in dataset.warnings)
    assert not any("too few images" in warning for warning in dataset.warnings)  # test has both


def test_a_run_keeps_groups_apart_and_says_how_many(tiny: Path, tmp_path: Path) -> None:
    run = headstart.train(tiny, out=tmp_path / "run", groups=r"/(\d)")  # by the first digit
    assert run.record["groups"] == 10
    assert run.recipe.groups == r"/(\d)"


def test_the_estimator_takes_groups(tiny: Path) -> None:
    paths = sorted(tiny.glob("*/*"))[::2]
    labels = [path.parent.name for path in paths]
    classifier = headstart.ImageClassifier().fit(paths, labels, groups=[p.stem[0] for p in paths])
    assert classifier.score(paths, labels) == 1
