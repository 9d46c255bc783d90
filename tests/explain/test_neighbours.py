"""The nearest training images: found by direction, kept small, refused where damaged."""

from pathlib import Path

import numpy as np
import pytest
from samples import features

from headstart.errors import ClassifierError
from headstart.explain.neighbours import AXES, FILE, Neighbours, learn, read


def name_all(count: int) -> list[tuple[str, str, str]]:
    return [
        (f"{number}.jpg", f"class {number % 3}", f"/photos/{number}.jpg") for number in range(count)
    ]


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    return features(700, 200, 3)[0]


@pytest.fixture(scope="module")
def known(values: np.ndarray) -> Neighbours:
    return learn(values, name_all(700))


def test_an_image_is_nearest_to_itself_however_bright(
    known: Neighbours, values: np.ndarray
) -> None:
    for number in (0, 333, 699):
        nearest = known.nearest(3 * values[number])
        assert nearest[0].name == f"{number}.jpg"
        assert nearest[0].label == f"class {number % 3}"
        assert nearest[0].path == Path(f"/photos/{number}.jpg")
        assert nearest[0].distance < 0.01
        distances = [one.distance for one in nearest]
        assert distances == sorted(distances)


def test_they_are_those_of_all_features(known: Neighbours) -> None:
    new = features(40, 200, 3, seed=0)[0] + np.float32(0.1)
    directions = new / np.linalg.norm(new, axis=1, keepdims=True)
    old = features(700, 200, 3)[0]
    old /= np.linalg.norm(old, axis=1, keepdims=True)
    exact = np.linalg.norm(directions[:, None] - old[None], axis=2)
    shared = 0
    for row, own in zip(exact, new, strict=True):
        names = {one.name for one in known.nearest(own)}
        shared += len(names & {f"{number}.jpg" for number in np.argsort(row)[:5]})
    assert shared >= 0.85 * 5 * 40


def test_it_is_written_small_and_read_again(
    known: Neighbours, values: np.ndarray, tmp_path: Path
) -> None:
    known.write(tmp_path / FILE)
    assert (tmp_path / FILE).stat().st_size < 2 * AXES * (700 + 200) + 700 * 60
    again = read(tmp_path, 200)
    assert again is not None
    assert again.nearest(values[5]) == known.nearest(values[5])
    learn(values, name_all(700)).write(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / FILE).read_bytes()


def test_where_nothing_was_kept_there_is_none(tmp_path: Path) -> None:
    assert read(tmp_path, 200) is None


@pytest.mark.parametrize("damage", ["cut", "other features", "no names"])
def test_a_damaged_file_is_refused(known: Neighbours, tmp_path: Path, damage: str) -> None:
    file = tmp_path / FILE
    known.write(file)
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:900])
    if damage == "no names":
        from safetensors.numpy import load, save

        file.write_bytes(save(load(file.read_bytes())))
    with pytest.raises(ClassifierError, match=r"cannot read .*neighbours\.safetensors: expected"):
        read(tmp_path, 201 if damage == "other features" else 200)


@pytest.mark.parametrize("rows", [np.zeros((3, 8)), np.ones((1, 8)), np.full((2, 8), np.nan)])
def test_features_that_say_nothing_give_neighbours_all_the_same(rows: np.ndarray) -> None:
    known = learn(rows.astype("f4"), name_all(len(rows)))
    assert [one.distance for one in known.nearest(np.ones(8, "f4"))] == [0] * len(rows)
