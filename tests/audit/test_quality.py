"""Images that look wrong: each of a kind beside ordinary ones."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from headstart.audit.pixels import NUMBERS, THUMB, Looks, look, measure, read_camera
from headstart.audit.quality import deviate, find_flaws, find_outliers
from headstart.data.item import Item
from headstart.system.progress import Silent


def photo(seed: int, size: tuple[int, int] = (120, 90)) -> Image.Image:
    rng = np.random.default_rng(seed)
    large, small = (
        Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)).resize(size, 3)
        for side in (5, 30)
    )
    return Image.blend(large, small, 0.5)


ODD: dict[str, Callable[[], Image.Image]] = {
    "blank": lambda: Image.new("RGB", (120, 90), (200, 200, 200)),
    "dark": lambda: photo(1).point(lambda level: level // 6),
    "bright": lambda: photo(2).point(lambda level: 215 + level // 7),
    "blurred": lambda: photo(3).filter(ImageFilter.GaussianBlur(12)).point(lambda level: level),
    "odd_size": lambda: photo(4, (400, 60)),
}


def test_each_flaw_is_found_and_no_ordinary_image(tmp_path: Path) -> None:
    items = []
    for seed in range(30):
        items.append(Item(tmp_path / f"{seed}.png", f"{seed}.png", ("a",), "train"))
        photo(seed).save(items[-1].path)
    for kind, make in ODD.items():
        items.append(Item(tmp_path / f"{kind}.png", f"{kind}.png", ("a",), "train"))
        make().save(items[-1].path)
    looks = look(items, Silent())
    found = [
        (finding.items[0].name.removesuffix(".png"), finding.kind)
        for finding in find_flaws(items, looks)
    ]
    assert {(kind, kind) for kind in ODD} <= set(found)
    assert {name for name, _ in found} == set(ODD)
    assert np.array_equal(look(items, Silent()).numbers, looks.numbers)  # as they were kept
    assert np.array_equal(look(items, Silent()).thumbs, looks.thumbs)


def test_what_all_images_are_is_no_flaw() -> None:
    numbers = np.zeros((20, len(NUMBERS)), np.float32)
    for name, value in (("contrast", 0.1), ("p99", 0.1), ("height", 20), ("width", 90)):
        numbers[:, NUMBERS.index(name)] = value
    items = [Item(Path(f"{i}"), f"{i}") for i in range(20)]
    assert find_flaws(items, Looks(numbers, np.zeros((20, THUMB, THUMB)), np.ones(20, bool))) == []


def test_outliers_are_far_and_few() -> None:
    rng = np.random.default_rng(0)
    remote = np.concatenate([rng.uniform(0.3, 0.4, 97), [0.9, 0.8, 0.34]])
    items = [Item(Path(f"{i}"), f"{i}") for i in range(100)]
    assert [finding.items[0].name for finding in find_outliers(items, remote)] == ["97", "98"]
    assert deviate(np.array([1.0, 2, 3, 4, 100]))[4] > 30


def test_what_cannot_be_read_is_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no image")
    item = Item(tmp_path / "a.jpg", "a.jpg")
    looks = look([item], Silent())
    assert looks.known.tolist() == [False]
    assert find_flaws([item], looks) == []


def test_sizes_and_camera_are_those_of_the_file() -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112] = "Maker", "Model 7", 6
    file = io.BytesIO()
    photo(0, (1200, 600)).save(file, "JPEG", exif=exif)
    row = measure(file.getvalue())
    assert row[: len(NUMBERS)][[NUMBERS.index("height"), NUMBERS.index("width")]].tolist() == [
        1200, 600,
    ]  # fmt: skip
    assert read_camera(file.getvalue()) == "Maker Model 7"
    assert read_camera(b"\xff\xd8Exif\0\0II*\0" + b"\xff" * 20) == ""


def test_an_outlier_is_told_beside_how_many_it_was_looked_at() -> None:
    for count, near in ((40, 5), (160, 10), (1000, 25)):
        remote = np.full(count, 0.1) + np.arange(count) * 1e-5
        remote[3] = 0.9
        items = [Item(Path(f"{i}"), f"{i}") for i in range(count)]
        (finding, *_) = find_outliers(items, remote)
        assert finding.items == (items[3],)
        assert finding.evidence.startswith(f"its {near} nearest images are up to 0.90 away")
