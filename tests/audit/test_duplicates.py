"""Copies: found as they are re-encoded, resized, mirrored, cropped, and nothing else."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from headstart.audit.duplicates import (
    Pair,
    compare_pairs,
    find_copies,
    find_leaks,
    find_near_copies,
    join,
)
from headstart.audit.duplicates import find_pairs as find
from headstart.audit.pixels import NUMBERS, THUMB, Looks, measure
from headstart.data.item import Item

Change = Callable[[Image.Image], Image.Image]
CHANGES: dict[str, Change] = {
    "re-encoded": lambda image: image,
    "resized": lambda image: image.resize((image.width // 2, image.height // 2)),
    "mirrored": ImageOps.mirror,
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "cropped": lambda image: image.crop(
        (10, 15, 10 + round(0.85 * image.width), 15 + round(0.85 * image.height))
    ),
}


def look_at(images: list[Image.Image], quality: int = 95) -> Looks:
    rows = []
    for image in images:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        rows.append(measure(file.getvalue()))
    thumbs = np.stack(rows)[:, len(NUMBERS) :].view(np.uint8).reshape(-1, THUMB, THUMB)
    return Looks(np.stack(rows)[:, : len(NUMBERS)], thumbs, np.ones(len(rows), bool))


def clouds(count: int) -> list[Image.Image]:
    """Pictures with structure of every size, each of its own."""
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(count):
        total = np.zeros((150, 200, 3))
        for side in (3, 6, 12, 25, 50):
            small = Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8))
            total += np.asarray(small.resize((200, 150), Image.Resampling.BICUBIC), float)
        pictures.append(Image.fromarray((total / 5).astype(np.uint8)))
    return pictures


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_and_no_other(change: str) -> None:
    pictures = clouds(6)
    looks = look_at([*pictures, CHANGES[change](pictures[2])], quality=60)
    everybody = np.array([[j for j in range(7) if j != i] for i in range(7)])
    (pair,) = find(looks, everybody, [bytes([i]) for i in range(7)])
    assert (pair.first, pair.second) == (2, 6)
    assert pair.likeness > 0.9
    assert ("mirrored" in pair.how) == (change == "mirrored")
    assert ("part" in pair.how) == (change == "cropped")


def test_flat_pictures_and_copies_of_one_content_are_no_pairs() -> None:
    flat = [Image.new("RGB", (50, 50), (level, level, level)) for level in (10, 20)]
    near = np.array([[1], [0]])
    assert find(look_at(flat), near, [b"a", b"b"]) == []
    assert find(look_at(clouds(1) * 2), near, [b"a", b"a"]) == []
    icons = [clouds(1)[0].resize((16, 16)), clouds(1)[0].resize((17, 17))]
    assert find(look_at(icons), near, [b"a", b"b"]) == []  # too small to tell


def test_pairs_that_share_an_image_are_one_set() -> None:
    assert join(5, [(3, 1), (4, 3)]).tolist() == [0, 1, 2, 1, 1]
    items = [Item(Path(f"{i}.jpg"), f"{i}.jpg", ("ant",), "train") for i in range(5)]
    (found,) = find_near_copies(items, [Pair(1, 3, 0.98, "mirrored"), Pair(3, 4, 0.95, "part")])
    assert found.items == (items[1], items[3], items[4])
    assert found.severity == "note"
    assert found.evidence == "mirrored, part (95% alike)"


def copies(folder: Path) -> list[Item]:
    """Two files of one content on both sides, under two labels, and two others."""
    rows = [("a", "x", "train"), ("a", "y", "validation"), ("b", "x", "train"), ("c", "x", "test")]
    items = []
    for number, (content, label, split) in enumerate(rows):
        path = folder / f"{number}.jpg"
        path.write_text(content)
        items.append(Item(path, path.name, (label,), split))
    return items


def test_copies_under_two_labels_are_an_error(tmp_path: Path) -> None:
    items = copies(tmp_path)
    (found,) = find_copies(items)
    assert found.items == (items[0], items[1])
    assert (found.kind, found.severity) == ("duplicate", "error")
    assert found.evidence == "the same bytes, under 2 labels: x, y"


def test_a_leak_tells_the_accuracy_with_and_without_it(tmp_path: Path) -> None:
    items = copies(tmp_path)
    (found,) = find_leaks(items, [], lambda: {items[1]: True, items[3]: False})
    assert found.items == (items[0], items[1])
    assert found.details == {"accuracy": 0.5, "accuracy_without": 0.0}
    assert "50.0% are right, 0.0% without the 1 that leak" in found.evidence
    (near,) = find_leaks([items[2], items[3]], [Pair(0, 1, 0.9, "")], dict)
    assert near.items == (items[2], items[3])
    assert near.details == {}


def test_without_leaks_no_head_is_asked(tmp_path: Path) -> None:
    assert find_leaks(copies(tmp_path)[2:], [], lambda: pytest.fail("asked")) == []


def test_images_that_are_not_here_are_in_no_pair() -> None:
    thumbs = np.zeros((3, THUMB, THUMB), np.uint8)
    looks = Looks(np.zeros((3, len(NUMBERS)), np.float32), thumbs, np.zeros(3, bool))
    assert compare_pairs(looks, [(0, 1), (1, 2)]) == []
