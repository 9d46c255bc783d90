"""Variations of the chosen cuts, with gains that are made up: no network runs here.

Every change moves the loss of each image by 1 up or down and all of them by a gain, which is given
in standard errors on all of the images: on half of them it is 0.71 of that.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from samples import examples

from headstart.backbones.cut import Cut
from headstart.errors import BadImage
from headstart.features.extract import Features
from headstart.images.geometry import Geometry
from headstart.recipe import Recipe, load_recipe
from headstart.selection.board import Board
from headstart.selection.rules import OneCut
from headstart.selection.score import CutScore
from headstart.selection.variations import Variations
from headstart.system.progress import Silent

COUNT, MANY = 400, 800
CUTS = (Cut("last", "avg"),)


@dataclass(frozen=True)
class Picture:
    """As an item, of which only the shape is known. broken: it cannot be decoded."""

    square: bool = False
    broken: bool = False

    def prepare(self, geometry: Geometry) -> np.ndarray:
        if self.broken:
            raise BadImage("cut short")
        return np.full((2, 2, 3), 0 if self.square or geometry.resize == "squash" else 1)


def name_of(changes: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in changes.items() if key != "cut")


@dataclass
class Search:
    """Measures and scores by tables. gains: standard errors by the name of a change; what is not
    in it loses by five. missing: changes for which there was no time; refused: of which an image
    cannot be used.
    """

    gains: dict[str, float]
    missing: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    measured: list[tuple[str, int]] = field(default_factory=list)

    def measure(self, changes: dict[str, Any], number: int) -> Features:
        name = name_of(changes)
        self.measured.append((name, number))
        short = name in self.missing + self.refused
        count = number - 1 if short else number
        bad: Any = ((None, "cut short"),) if name in self.refused else ()
        values = np.full((count, 1, 1), len(self.measured), "f4")
        return Features(values, tuple(range(count)), bad, 0, count)  # type: ignore[arg-type]

    def score(self, values: np.ndarray, best: CutScore, changes: dict[str, Any]) -> CutScore:
        if changes:  # they must be the features of these changes
            assert self.measured[int(values[0, 0, 0]) - 1][0] == name_of(changes)
        place, losses = np.arange(len(values)), np.ones(len(values))
        for bit, key in enumerate(("resize", "size", "augmentation")):
            if key in changes:
                gain = self.gains.get(f"{key} {changes[key]}", -5.0)
                losses += np.where(place >> bit & 1, 1.0, -1.0) - gain / COUNT**0.5
        right, logits = np.ones(len(losses)), np.zeros((len(losses), 2))
        return CutScore(best.cuts, changes, 1.0, 1, 0.9, (0.8, 0.95), losses, right, logits)


def search(
    gains: dict[str, float],
    *,
    recipe: Recipe | None = None,
    picture: Picture | None = None,
    count: int = COUNT,
    classes: int = 2,
    thorough: bool = False,
    budget: float = 1e9,
    **amiss: tuple[str, ...],
) -> tuple[Board, Search]:
    """The board behind a search among variations of one cut."""
    fake = Search(gains, **amiss)
    board = Board(budget, Silent(), OneCut(None))
    values = np.zeros((count, 1, 1), "f4")
    board.best = fake.score(values, CutScore(CUTS, {}, 1, 1, 0, (0, 1), values, values, values), {})
    board.on_all.append(board.best)
    labels = examples(values, np.arange(count) % classes, classes)
    variations = Variations(
        [picture or Picture()] * count, labels, recipe or load_recipe("quick"), thorough,
        count, fake.measure, fake.score,
    )  # fmt: skip
    variations.search(board, values)
    return board, fake


def test_what_gains_nothing_is_left_and_half_of_the_images_tell() -> None:
    board, fake = search({}, count=MANY)
    assert board.best is board.on_all[0]
    assert fake.measured == [("resize crop", 200), ("resize pad", 200), ("size 288", 200)]
    assert [score.name for score in board.varied] == [
        "last:avg, resize crop", "last:avg, resize pad", "last:avg, size 288",
    ]  # fmt: skip
    assert not board.untried


def test_what_gains_is_taken_and_what_follows_is_measured_on_top_of_it() -> None:
    gains = {"resize crop": 0.5, "size 288": 3.0, "augmentation flip": 3.0}
    board, fake = search(gains, count=MANY)
    assert board.best is not None
    assert board.best.changes == {"resize": "crop", "size": 288}
    assert fake.measured == [
        ("resize crop", 200), ("resize crop", 400),
        ("resize crop, size 288", 200), ("resize crop, size 288", 400),
    ]  # fmt: skip
    board, fake = search(gains)
    assert board.best is not None
    assert board.best.changes == {
        "resize": "crop", "size": 288, "views": 2, "augmentation": "flip"
    }  # fmt: skip
    assert fake.measured[-1] == ("resize crop, size 288, views 2, augmentation flip", 400)


def test_what_is_dear_must_gain_a_standard_error() -> None:
    board, fake = search({"size 288": 0.9}, count=MANY)  # 0.64 on half of the images: promising
    assert board.best is board.on_all[0]
    assert ("size 288", 400) in fake.measured
    board, fake = search({"size 288": 0.6}, count=MANY)  # 0.42 on half: not worth the other half
    assert ("size 288", 400) not in fake.measured
    board, _ = search({"size 288": 1.1}, count=MANY)
    assert board.best is not None
    assert board.best.changes == {"size": 288}
    board, _ = search({"augmentation flip": 0.9})
    assert board.best is board.on_all[0]


def test_of_few_images_a_larger_size_must_not_lose() -> None:
    board, _ = search({"size 288": 0.1})
    assert board.best is not None
    assert board.best.changes == {"size": 288}
    board, _ = search({"size 288": -0.1})
    assert board.best is board.on_all[0]


@pytest.mark.parametrize(("loss", "tried"), [(-0.5, False), (-2.0, True)])
def test_padding_is_tried_where_cropping_plainly_loses(loss: float, tried: bool) -> None:
    _, fake = search({"resize crop": loss}, count=MANY)
    assert (("resize pad", 200) in fake.measured) == tried
    _, fake = search({"resize crop": loss}, thorough=True)
    assert ("resize pad", 400) in fake.measured  # passes over nothing, and on all images


def test_square_pictures_are_not_resized_in_another_way() -> None:
    _, fake = search({}, picture=Picture(square=True))
    assert [name for name, _ in fake.measured] == ["size 288", "views 2, augmentation flip"]
    _, fake = search({}, picture=Picture(broken=True))  # named elsewhere: here it says nothing
    assert [name for name, _ in fake.measured] == ["size 288", "views 2, augmentation flip"]


def test_what_the_user_has_chosen_stays() -> None:
    given = load_recipe("quick", resize="pad", size=160, augmentation="flip", views=2)
    _, fake = search({}, recipe=given)
    assert fake.measured == []


def test_of_many_images_there_are_no_more_views() -> None:
    _, fake = search({}, count=500)
    assert "views 2, augmentation flip" not in [name for name, _ in fake.measured]
    assert max(number for _, number in fake.measured) <= 200  # nor more of them looked at
    _, fake = search({}, count=500, thorough=True)
    assert ("views 2, augmentation flip", 500) in fake.measured


def test_few_images_are_not_halved() -> None:
    _, fake = search({}, count=300)
    assert {number for _, number in fake.measured} == {300}


def test_few_of_each_class_are_not_halved() -> None:
    _, fake = search({}, count=MANY, classes=100)
    assert {number for _, number in fake.measured} == {400}


def test_without_time_what_was_not_tried_is_noted() -> None:
    board, fake = search({"resize crop": 3.0}, budget=0)
    assert fake.measured == []
    assert board.untried == ["resize crop", "size 288", "views 2, augmentation flip"]
    board, _ = search({}, missing=("size 288",))
    assert board.untried == ["size 288"]
    assert "last:avg, size 288" not in [score.name for score in board.varied]


def test_a_geometry_that_refuses_an_image_is_not_compared() -> None:
    board, _ = search({"size 288": 9.0}, refused=("size 288",))
    assert board.best is board.on_all[0]
    assert board.untried == []
