"""Files of many images as one thing each: found here and at addresses, and streamed."""

import tarfile
from pathlib import Path

import pytest
from packed import samples, write_tar

from headstart.data.dataset import list_items, load
from headstart.data.listing import list_containers
from headstart.data.shards import Container

pytest.importorskip("pyarrow")


def pack(path: Path, photos: list[Path]) -> None:
    members: dict[str, bytes | str] = {}
    for number, photo in enumerate(photos):
        members |= {f"{number}.jpg": photo.read_bytes(), f"{number}.cls": photo.parent.name}
    write_tar(path, members)


@pytest.fixture
def tars(tiny: Path, tmp_path: Path) -> Path:
    """Two archives of samples, the second one for validation."""
    photos = sorted(tiny.rglob("*.jpg"))
    pack(tmp_path / "tars" / "a.tar", photos[::2])
    pack(tmp_path / "tars" / "val-0.tar", photos[1::2])
    return tmp_path / "tars"


def facts(items: object) -> dict[str, object]:
    return {i.name: (i.labels, i.split, i.content_hash) for i in items}  # type: ignore[attr-defined]


def stream(containers: list[Container]) -> list[object]:
    return [item for container in containers for item in container.stream(None)]


def test_archives_say_what_they_say_unpacked(tars: Path) -> None:
    found = list_containers(tars)
    assert [one.name for one in found] == ["a.tar", "val-0.tar"]
    unpacked = load(tars, split=False).items
    assert {name: of[::2] for name, of in facts(stream(found)).items()} == {
        name: of[::2] for name, of in facts(unpacked).items()
    }
    assert {item.split for item in stream(found)} == {None, "validation"}  # type: ignore[attr-defined]


def test_braces_and_one_alone(tars: Path) -> None:
    (tars / "val-0.tar").rename(tars / "b.tar")
    braced = list_containers(str(tars / "{a,b}.tar"))
    assert [one.name for one in braced] == ["a.tar", "b.tar"]
    (alone,) = list_containers(tars / "a.tar")
    names = {item.name for item in list_items(tars / "a.tar")}
    assert {item.name for item in alone.stream(None)} == names


def test_at_an_address_it_is_the_same(tars: Path) -> None:
    here, there = list_containers(tars), list_containers(tars.as_uri())
    assert facts(stream(here)) == facts(stream(there))
    for name in ("a.tar", "{a,val-0}.tar"):
        one = list_containers(str(tars / name))
        assert facts(stream(one)) == facts(stream(list_containers(f"file://{tars}/{name}")))


def test_numbers_have_the_names_that_stand_beside(tmp_path: Path) -> None:
    write_tar(tmp_path / "t" / "x.tar", samples(2))
    (tmp_path / "t" / "classes.txt").write_text("ants\nbees\n")
    for place in (tmp_path / "t", (tmp_path / "t").as_uri()):
        items = stream(list_containers(place))
        assert [item.labels for item in items] == [("ants",), ("bees",)]  # type: ignore[attr-defined]


def test_what_is_none(tiny: Path, tars: Path, tmp_path: Path) -> None:
    assert list_containers(tiny) == []
    assert list_containers(tiny.as_uri()) == []
    assert list_containers([("a.jpg", "a")]) == []
    assert list_containers("https://host/a.csv") == []
    with tarfile.open(tmp_path / "folders.tar", "w") as archive:
        archive.add(tiny, "photos")
    assert list_containers(tmp_path / "folders.tar") == []  # class folders are unpacked
    (tars / "headstart-decisions.csv").write_text("path,decision,label\n")
    assert list_containers(tars) == []  # somebody has decided about single images
