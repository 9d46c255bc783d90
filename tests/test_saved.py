"""A classifier's folder: of one piece, or refused with the part that is not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import headstart
from headstart.errors import ClassifierError
from headstart.saved.folder import ABSTENTION, PARTS, RECORD

OLD = Path(__file__).parent / "data_of_old_runs" / "0.1.0"
CHOICES = {"cut": "block1a_project_bn", "size": 64}


@pytest.fixture(scope="module")
def trained(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("saved") / "run"
    return headstart.train(tiny, out=out, **CHOICES).folder / "classifier"


@pytest.fixture
def whole(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "classifier")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A classifier of a version that kept no digests."""
    folder = shutil.copytree(OLD / "linear" / "classifier", tmp_path / "old")
    assert not json.loads((folder / RECORD).read_text()).keys() & {"digest", "parts"}
    return folder


def change(folder: Path, **fields: object) -> None:
    record = json.loads((folder / RECORD).read_text())
    (folder / RECORD).write_text(json.dumps({**record, **fields}))


def invert_2000_bytes(folder: Path) -> None:
    content = bytearray((folder / "model.bin").read_bytes())
    middle = len(content) // 2
    content[middle - 1000 : middle + 1000] = bytes(
        255 - value for value in content[middle - 1000 : middle + 1000]
    )
    (folder / "model.bin").write_bytes(content)


def reverse_classes(folder: Path) -> None:
    record = json.loads((folder / RECORD).read_text())
    change(folder, classes=record["classes"][::-1])


@pytest.mark.parametrize(
    ("attack", "part", "found"),
    [
        (reverse_classes, RECORD, "one that was changed since"),
        (lambda f: change(f, classes=["a", "b", "c"]), RECORD, "one that was changed since"),
        (lambda f: change(f, digest="0"), RECORD, "one that was changed since"),
        (lambda f: change(f, parts=None), RECORD, "one that was changed since"),
        (invert_2000_bytes, "model.bin", "another: it is damaged, or of another classifier"),
        (
            lambda f: shutil.copy(OLD / "linear" / "classifier" / "head.safetensors", f),
            "head.safetensors",
            "another: it is damaged, or of another classifier",
        ),
        (
            lambda f: (f / "model.xml").write_bytes((f / "model.xml").read_bytes() + b"\n"),
            "model.xml",
            "another: it is damaged, or of another classifier",
        ),
    ],
)
def test_what_is_not_of_one_piece_is_refused(
    whole: Path, attack: Callable[[Path], object], part: str, found: str
) -> None:
    headstart.load(whole)
    attack(whole)
    with pytest.raises(ClassifierError) as refused:
        headstart.load(whole)
    assert f"cannot read {whole / part}: expected " in str(refused.value)
    assert f"found: {found}. Restore all of {whole} from one copy, or train again" in str(
        refused.value
    )


@pytest.mark.parametrize("part", [*PARTS, ABSTENTION])
def test_a_part_that_is_missing_is_named(whole: Path, part: str) -> None:
    (whole / part).unlink()
    with pytest.raises(ClassifierError, match=f"expected a whole classifier, found: no {part}"):
        headstart.load(whole)


def test_the_order_of_the_fields_and_the_spaces_do_not_matter(whole: Path) -> None:
    record = json.loads((whole / RECORD).read_text())
    (whole / RECORD).write_text(json.dumps(dict(sorted(record.items(), reverse=True))))
    headstart.load(whole)


def test_what_was_loaded_needs_its_files_no_more(whole: Path) -> None:
    image = np.full((64, 64, 3), 100, np.uint8)
    expected = headstart.load(whole).predict_proba(image)
    classifier = headstart.load(whole)
    for part in (*PARTS, ABSTENTION):
        (whole / part).write_bytes(b"")
    assert np.array_equal(classifier.predict_proba(image), expected)


def test_saved_again_it_is_the_same(whole: Path, tmp_path: Path) -> None:
    again = headstart.load(whole).save(tmp_path / "again")
    for name in (*PARTS, ABSTENTION, RECORD):
        assert (again / name).read_bytes() == (whole / name).read_bytes(), name


def test_a_classifier_of_an_earlier_version_saved_again_has_digests(
    old: Path, tmp_path: Path
) -> None:
    again = headstart.load(old).save(tmp_path / "again")
    assert json.loads((again / RECORD).read_text())["parts"].keys() == set(PARTS)
    reverse_classes(again)
    with pytest.raises(ClassifierError, match="changed since"):
        headstart.load(again)


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (reverse_classes, r"expected the classes of the model, \['disc', 'plain'\], found: \['pl"),
        (
            lambda f: change(f, classes=["a", "b", "c"]),
            r"model\.xml: expected a model with .*'f32', 1, 3.*found: .*'f32', 1, 2",
        ),
        (
            lambda f: change(f, geometry={**GEOMETRY, "height": 32}),
            r"model\.xml: expected a model with .*'u8', 1, 32, 64, 3.*found: .*'u8', 1, 64, 64",
        ),
        (
            lambda f: change(f, thresholds=[0.5]),
            r"classifier\.json: expected 2 thresholds, found: 1",
        ),
        (
            lambda f: change(f, head={"layers": [DENSE, DENSE], "binary": False}),
            r"head\.safetensors: expected a whole head, found one without '1\.weight'",
        ),
        (
            lambda f: change(f, head={"layers": [DENSE], "binary": True}),
            r"head\.safetensors: expected one number .*found 2",
        ),
        (lambda f: (f / "model.xml").write_text("<net/>"), r"model\.xml: expected a classifier's"),
        (
            lambda f: (f / "head.safetensors").write_bytes(b"x"),
            r"head\.safetensors: expected a head's arrays, found: ",
        ),
    ],
)
def test_one_of_an_earlier_version_must_fit_together(
    old: Path, attack: Callable[[Path], object], message: str
) -> None:
    headstart.load(old)
    attack(old)
    with pytest.raises(ClassifierError, match=message):
        headstart.load(old)


GEOMETRY = {"height": 64, "width": 64, "resize": "squash", "interpolation": "antialias"}
DENSE = {"kind": "dense", "activation": "softmax"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"classes": ["a", "a"]}, r"classes to be different names, found: \['a', 'a'\]"),
        ({"classes": ["a"]}, "classes"),
        ({"classes": "ab"}, "classes to be a valid array, found: 'ab'"),
        ({"geometry": {**GEOMETRY, "height": 0}}, r"geometry\.height to be greater .*found: 0"),
        ({"geometry": {**GEOMETRY, "width": 10**9}}, r"geometry\.width to be less .*found: 10000"),
        ({"geometry": {**GEOMETRY, "resize": "no"}}, r"geometry\.resize to be 'squash', 'crop'"),
        ({"thresholds": [0.5, 1.5]}, r"thresholds\.1 to be less than or equal to 1, found: 1\.5"),
        ({"thresholds": [0.5, float("nan")]}, r"thresholds\.1 to be a finite number, found: nan"),
        ({"format": "1"}, "format to be a valid integer, found: '1'"),
        ({"format": 99}, r"written by a newer headstart \(format 99, this one reads up to 1\)"),
        ({"augmentation": {"zoom": 7}}, "augmentation"),
        ({"cuts": ["mixed7:nonsense"]}, r"cuts\.0 to be expected LAYER"),
    ],
)
def test_a_field_that_does_not_fit_is_named(
    old: Path, fields: dict[str, object], message: str
) -> None:
    change(old, **fields)
    with pytest.raises(ClassifierError, match=message):
        headstart.load(old)


def test_two_equal_trainings_write_equal_files(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one process, one after the other, each with a cache of its own."""
    folders = []
    for name in ("one", "two"):
        monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / f"cache of {name}"))
        folders.append(headstart.train(tiny, out=tmp_path / name, **CHOICES).folder / "classifier")
    one, two = folders
    for file in (RECORD, ABSTENTION, *PARTS):
        assert (one / file).read_bytes() == (two / file).read_bytes(), file


def test_layers_keep_their_names(whole: Path) -> None:
    model = headstart.load(whole)._model
    names = [node.get_friendly_name() for node in model.get_ordered_ops()]
    assert {"image", "stem_bn", "block1a_project_bn"} <= set(names)
    assert len(set(names)) == len(names)
