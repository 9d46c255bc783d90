"""Views: hand-written pixels, determinism, enumeration, messages."""

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from headstart.errors import RecipeError
from headstart.images.augment import (
    FLIP,
    LESSON,
    NONE,
    Augmentation,
    distinct_views,
    draw,
    make_view,
)
from headstart.images.transform import Draw, apply
from headstart.report.contact_sheet import Shown, contact_sheet

ROW = [10, 20, 30, 40]


def grey(rows: list[list[int]]) -> np.ndarray:
    """(H, W) numbers as an (H, W, 3) image."""
    return np.repeat(np.array(rows, np.uint8)[..., None], 3, axis=2)


def levels(image: np.ndarray) -> list[list[int]]:
    assert image.dtype == np.uint8
    assert (image == image[..., :1]).all()
    return image[..., 0].tolist()


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def seen(image: np.ndarray, augmentation: Augmentation, number: int, **changed) -> np.ndarray:
    arguments = {"seed": 7, "image_hash": b"0123456789abcdef", "view": number, **changed}
    return make_view(image, augmentation, **arguments)


# Hand-written numbers


def test_flips_and_quarter_turns() -> None:
    image = grey([[1, 2], [3, 4]])
    assert levels(apply(image, Draw(horizontal_flip=True))) == [[2, 1], [4, 3]]
    assert levels(apply(image, Draw(vertical_flip=True))) == [[3, 4], [1, 2]]
    assert levels(apply(image, Draw(turns=1))) == [[2, 4], [1, 3]]  # counterclockwise
    assert levels(apply(image, Draw(turns=2))) == [[4, 3], [2, 1]]
    assert levels(apply(image, Draw(turns=3))) == [[3, 1], [4, 2]]


@pytest.mark.parametrize(
    ("fill_mode", "left", "right"),
    [
        ("nearest", [30, 40, 40, 40], [10, 10, 10, 20]),
        ("constant", [30, 40, 99, 99], [99, 99, 10, 20]),
        ("reflect", [30, 40, 40, 30], [20, 10, 10, 20]),
        # First and last pixel coincide: columns 4 and 5 are 1 and 2, columns -2 and -1 too.
        ("wrap", [30, 40, 20, 30], [20, 30, 10, 20]),
    ],
)
def test_shift_with_each_fill_mode(fill_mode, left, right) -> None:
    still = Draw(fill_mode=fill_mode, cval=99)
    image = grey([ROW] * 3)
    assert levels(apply(image, replace(still, shift_x=2))) == [left] * 3
    assert levels(apply(image, replace(still, shift_x=-2))) == [right] * 3
    column = grey([[level] * 3 for level in ROW])
    assert levels(apply(column, replace(still, shift_y=2))) == [[level] * 3 for level in left]
    assert levels(apply(column, replace(still, shift_y=-2))) == [[level] * 3 for level in right]


def test_half_a_pixel_blends_two() -> None:
    assert levels(apply(grey([ROW] * 2), Draw(shift_x=0.5))) == [[15, 25, 35, 40]] * 2


def test_zoom_and_turn_keep_the_centre_of_an_image_that_is_not_square() -> None:
    image = grey([[0, 0, 0, 0, 0], [0, 0, 200, 0, 0], [0, 0, 0, 0, 0]])
    assert levels(apply(image, Draw(zoom_x=0.5, zoom_y=0.5)))[1] == [0, 100, 200, 100, 0]
    assert levels(apply(image, Draw(rotation=180))) == levels(image)


def test_crop_enlarges_its_box() -> None:
    image = grey([[0, 40, 80, 120]] * 2 + [[8, 48, 88, 128]] * 2)
    # The right half in width, all of the height: columns at 1.75, 2.25, 2.75 and 3.25.
    cropped = levels(apply(image, Draw(crop=(2, 0, 2, 4))))
    assert cropped == [[70, 90, 110, 120]] * 2 + [[78, 98, 118, 128]] * 2
    assert levels(apply(image, Draw(crop=(0, 0, 4, 4)))) == levels(image)


def test_channel_shift_stays_within_the_levels_of_the_image() -> None:
    assert levels(apply(grey([ROW]), Draw(channel_shift=15))) == [[25, 35, 40, 40]]
    assert levels(apply(grey([ROW]), Draw(channel_shift=-15))) == [[10, 10, 15, 25]]


def test_brightness_multiplies_and_clips() -> None:
    assert levels(apply(grey([[10, 100, 200]]), Draw(brightness=1.5))) == [[15, 150, 255]]


def test_colour_jitter() -> None:
    grey_image = grey([[40, 80, 120]])
    assert levels(apply(grey_image, Draw(jitter=(1.5, 1, 1, 0)))) == [[60, 120, 180]]
    # Contrast halves the distance from the mean, 80; grey has no saturation and no hue.
    assert levels(apply(grey_image, Draw(jitter=(1, 0.5, 1, 0)))) == [[60, 80, 100]]
    assert levels(apply(grey_image, Draw(jitter=(1, 1, 1.7, 0.3)))) == [[40, 80, 120]]
    colour = np.array([[[200, 100, 50]]], np.uint8)  # luma 0.299*200 + 0.587*100 + 0.114*50
    assert levels(apply(colour, Draw(jitter=(1, 1, 0, 0)))) == [[124]]
    reddish = np.array([[[130, 100, 90]]], np.uint8)  # luma 107.8
    turned = apply(reddish, Draw(jitter=(1, 1, 1, 0.5)))[0, 0]  # the opposite hue, as light
    assert turned.argmin() == 0
    assert turned @ [0.299, 0.587, 0.114] == pytest.approx(107.8, abs=1)


def test_erasing_fills_the_box_and_nothing_else() -> None:
    image = np.full((20, 30, 3), 77, np.uint8)
    erased = apply(image, Draw(erase=(4.0, 5.0, 8.0, 10.0), noise=1))
    outside = np.ones((20, 30), bool)
    outside[5:15, 4:12] = False
    assert (erased[outside] == 77).all()
    assert 100 < erased[~outside].mean() < 155
    assert erased[~outside].std() > 60
    assert (image == 77).all()
    again = apply(image, Draw(erase=(4.0, 5.0, 8.0, 10.0), noise=1))
    other = apply(image, Draw(erase=(4.0, 5.0, 8.0, 10.0), noise=2))
    assert (erased == again).all()
    assert (erased != other).any()


# Draws

EVERYTHING = replace(
    LESSON,
    vertical_flip=True,
    quarter_turns=True,
    brightness=(0.8, 1.2),
    channel_shift=20,
    colour_jitter=(0.2, 0.2, 0.2, 0.1),
    crop=(0.3, 0.9),
    erase=0.5,
)


@pytest.mark.parametrize("augmentation", [NONE, FLIP, LESSON, EVERYTHING])
def test_view_0_is_the_image_itself(image: np.ndarray, augmentation: Augmentation) -> None:
    assert seen(image, augmentation, 0) is image


def test_without_augmentation_every_view_is_the_image(image: np.ndarray) -> None:
    assert seen(image, NONE, 5) is image


def test_a_view_depends_on_its_arguments_alone(image: np.ndarray) -> None:
    before = image.copy()
    expected = [seen(image, EVERYTHING, number) for number in range(40)]
    order = list(range(40))
    random.Random(0).shuffle(order)
    with ThreadPoolExecutor(4) as pool:
        shuffled = list(pool.map(lambda number: seen(image, EVERYTHING, number), order))
    for number, pixels in zip(order, shuffled, strict=True):
        assert np.array_equal(pixels, expected[number])
        assert pixels.shape == image.shape
        assert pixels.flags.c_contiguous
    assert np.array_equal(image, before)
    assert len({pixels.tobytes() for pixels in expected}) == 40


@pytest.mark.parametrize(
    "changed", [{"seed": 8}, {"image_hash": b"another"}, {"view": 2}], ids=lambda c: next(iter(c))
)
def test_each_argument_matters(image: np.ndarray, changed: dict) -> None:
    assert not np.array_equal(seen(image, LESSON, 1), seen(image, LESSON, 1, **changed))


def test_the_draw_is_frozen_by_version_1() -> None:
    """Kept features carry these draws: change them only with the version in `str`."""
    drawn = draw(LESSON, seed=0, image_hash=bytes(16), view=1, height=150, width=100)
    numbers = [drawn.rotation, drawn.shift_x, drawn.shift_y, drawn.shear]
    numbers += [drawn.zoom_x, drawn.zoom_y]
    expected = [34.871763821, 9.845789009, 19.468418199, 0.158192108, 0.913556069, 1.199967548]
    assert numbers == pytest.approx(expected, abs=1e-8)


def test_crop_and_erase_keep_within_the_image_and_their_ranges() -> None:
    augmentation = Augmentation(crop=(0.2, 0.5), crop_ratio=(0.5, 2), erase=0.25)
    erased = 0
    for number in range(1, 401):
        drawn = draw(augmentation, seed=0, image_hash=b"", view=number, height=60, width=90)
        left, top, width, height = drawn.crop or pytest.fail("no crop")
        assert 0 <= left <= left + width <= 90 + 1e-9
        assert 0 <= top <= top + height <= 60 + 1e-9
        assert 0.2 <= width * height / 5400 <= 0.5
        assert 0.5 <= width / height <= 2.000001
        if drawn.erase:
            erased += 1
            assert 0.02 <= drawn.erase[2] * drawn.erase[3] / 5400 <= 0.4
    assert 70 <= erased <= 130  # 100 expected, standard deviation 9


# Finite cases


@pytest.mark.parametrize(
    ("choices", "count"),
    [
        ({}, 1),
        ({"fill_mode": "wrap"}, 1),
        ({"horizontal_flip": True}, 2),
        ({"vertical_flip": True}, 2),
        ({"horizontal_flip": True, "vertical_flip": True}, 4),
        ({"quarter_turns": True}, 4),
        ({"quarter_turns": True, "horizontal_flip": True}, 8),
        ({"quarter_turns": True, "vertical_flip": True}, 8),
        ({"quarter_turns": True, "horizontal_flip": True, "vertical_flip": True}, 8),
        ({"horizontal_flip": True, "rotation": 10}, None),
        ({"erase": 0.5}, None),
        ({"crop": (0.5, 1.0)}, None),
    ],
)
def test_distinct_views(image: np.ndarray, choices: dict, count: int | None) -> None:
    augmentation = Augmentation(**choices)
    assert distinct_views(augmentation) == count
    different = {seen(image, augmentation, number).tobytes() for number in range(12)}
    assert len(different) == (count or 12) or choices == {"erase": 0.5}
    if count:  # all of them come first, whatever the seed
        first = {seen(image, augmentation, number, seed=1).tobytes() for number in range(count)}
        assert first == different


def test_view_1_of_flip_is_the_flipped_image(image: np.ndarray) -> None:
    for seed in range(5):
        assert np.array_equal(seen(image, FLIP, 1, seed=seed), image[:, ::-1])


# Names and messages


def test_canonical_form() -> None:
    assert str(NONE) == "augmentation v1: none"
    assert str(Augmentation(fill_mode="wrap", cval=3)) == "augmentation v1: none"
    assert str(FLIP) == "augmentation v1: horizontal_flip"
    assert str(LESSON) == (
        "augmentation v1: rotation=40 width_shift=0.2 height_shift=0.2 shear=0.2 zoom=0.2 "
        "horizontal_flip"
    )
    assert str(Augmentation(rotation=40)) == str(Augmentation(rotation=40.0))
    assert str(Augmentation(crop=(0.08, 1), fill_mode="reflect")) == (
        "augmentation v1: crop=0.08,1 fill_mode=reflect"
    )


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"rotation": 200}, "expected rotation to be a number from 0 to 180; found 200"),
        ({"rotation": -10}, "from 0 to 180; found -10"),
        ({"rotation": "40"}, "found '40'"),
        ({"rotation": None}, "found None"),
        ({"rotation": float("nan")}, "found nan"),
        ({"width_shift": 30}, "width_shift to be a number from 0 to 0.99; found 30"),
        ({"zoom": (0.8, 1.2)}, "zoom to be a number from 0 to 0.99"),
        ({"horizontal_flip": 0.5}, "horizontal_flip to be true or false; found 0.5"),
        ({"brightness": 0.2}, "brightness to be two numbers, the lower first, from 0 to 10"),
        ({"brightness": (1.2, 0.8)}, "the lower first"),
        ({"crop": (0.0, 1.0)}, "crop to be two numbers, the lower first, from 0.01 to 1"),
        ({"crop_ratio": None}, "crop_ratio to be two numbers"),
        ({"colour_jitter": (0.1, 0.1, 0.1, 0.9)}, r"saturation \(0 to 1 each\) and hue"),
        ({"erase": 2}, "erase to be a number from 0 to 1; found 2"),
        ({"fill_mode": "mirror"}, "one of nearest, constant, reflect, wrap; found 'mirror'"),
    ],
)
def test_a_bad_value_is_refused(choices: dict, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Augmentation(**choices)


def test_quarter_turns_need_a_square() -> None:
    with pytest.raises(RecipeError, match="expected square images, found 90x60"):
        seen(np.zeros((60, 90, 3), np.uint8), Augmentation(quarter_turns=True), 1)


def test_read_from_a_recipe() -> None:
    adapter = TypeAdapter(Augmentation)
    augmentation = adapter.validate_python({"rotation": 10, "brightness": [0.5, 1.5]})
    assert augmentation == Augmentation(rotation=10, brightness=(0.5, 1.5))
    with pytest.raises(ValidationError, match="rotate"):
        adapter.validate_python({"rotate": 10})
    with pytest.raises(ValidationError, match="from 0 to 180"):
        adapter.validate_python({"rotation": 1000})


# Contact sheet


def test_contact_sheet_shows_the_images_and_their_views() -> None:
    images = [np.full((60, 80, 3), (0, 0, 200), np.uint8), np.full((60, 80, 3), 9, np.uint8)]
    images[0][:, :40] = (200, 0, 0)
    shown = [Shown(images[0], b"a", name="a.jpg", label="cats"),
             Shown(images[1], b"b", name="a" * 60 + ".jpg")]  # fmt: skip
    sheet = contact_sheet(shown, FLIP, 5, 0)
    assert sheet.dtype == np.uint8
    red, blue = (sheet == (200, 0, 0)).all(-1), (sheet == (0, 0, 200)).all(-1)
    rows, columns = np.nonzero(red | blue)
    assert red.sum() == blue.sum() == 2 * 40 * 60  # the image and its one distinct view
    line = sheet[rows[0], columns.min() : columns.max() + 1]
    assert line[0].tolist() == line[-1].tolist() == [200, 0, 0]


@pytest.mark.parametrize("views", [1, 6, 7, 13])
def test_contact_sheet_has_room_for_every_view(views: int) -> None:
    image = np.full((30, 30, 3), (1, 200, 3), np.uint8)
    photo = np.full((300, 100, 3), (1, 200, 3), np.uint8)
    shown = [Shown(image, b"a", photo)]
    sheet = contact_sheet(shown, Augmentation(rotation=20), views, 0, "crop", dark=True)
    assert sheet[0, 0].tolist() == [0x16, 0x18, 0x1B]
    assert (sheet == (1, 200, 3)).all(-1).sum() == (views + 1) * 900 + 10 * 30  # its whole


def test_contact_sheet_refusals(image: np.ndarray) -> None:
    with pytest.raises(RecipeError, match="found no image"):
        contact_sheet([], FLIP, 1, 0)
    both = [Shown(image, b"a"), Shown(np.zeros((20, 30, 3), np.uint8), b"b")]
    with pytest.raises(RecipeError, match="one size, found 30x20 and 32x32"):
        contact_sheet(both, FLIP, 1, 0)
    with pytest.raises(RecipeError, match="found 0 of 'augmentation v1: none'"):
        contact_sheet([Shown(image, b"a")], NONE, 3, 0)
