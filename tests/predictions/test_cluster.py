"""Predicting and measuring on a Ray cluster: the same rows and figures as by one process."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from packed import write_tar

import headstart
from headstart.data.dataset import load
from headstart.data.item import Held
from headstart.errors import StorageError
from headstart.predictions.looks import Looks, _put_in_order, look
from headstart.predictions.pieces import Sayer, predict_pieces
from headstart.predictions.rows import Asked
from headstart.runs.evaluate import _list
from headstart.store.work import Made
from headstart.system.progress import Silent

pytest.importorskip("ray", reason="pip install 'headstart[ray]'")


@pytest.fixture(scope="module")
def photos(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """49 images, of which one is none."""
    copied = Path(shutil.copytree(tiny, tmp_path_factory.mktemp("cluster") / "photos"))
    (copied / "red" / "broken.jpg").write_bytes(b"no image")
    return copied


@pytest.fixture(scope="module")
def run(photos: Path) -> Path:
    return headstart.train(
        photos, out=photos.parent / "run", cut="block2b_add", size=64, progress=False
    ).folder


def made(*digests: str) -> Iterator[Made]:
    return (Made(digest, "", 1, told=(digest,)) for digest in digests)


def test_what_comes_early_waits() -> None:
    assert list(_put_in_order("abcd", made(*"cabd"))) == list("abcd")
    with pytest.raises(StorageError, match="some changed in the meantime"):
        list(_put_in_order("abcd", made(*"cab")))


def test_pieces_are_looked_at_as_the_whole(run: Path, photos: Path) -> None:
    classifier = headstart.load(run)
    asked = Asked(tta=2, reject=0.05)
    job = Looks(run, photos, asked, Sayer.of(classifier))
    (piece,) = job.pieces()
    assert job.find_made(piece) is None
    (one,) = job.open()([piece])
    whole = list(look(classifier, piece.items, asked, Silent()))
    assert [a.key for a in one.told] == [b.key for b in whole]
    assert [a.error for a in one.told] == [b.error for b in whole]
    assert [a.said for a in one.told] == [b.said for b in whole]
    for a, b in zip(one.told, whole, strict=True):
        assert (
            a.probabilities is None
            if b.probabilities is None
            else (a.probabilities.tobytes() == b.probabilities.tobytes())
        )


def test_images_are_listed_as_they_are_loaded(photos: Path, tmp_path: Path) -> None:
    """In the same order, in which figures are summed, and without their bytes."""
    for name in ("a", "b"):
        members: dict[str, bytes | str] = {}
        for number, photo in enumerate(sorted(photos.rglob(f"*{'1' if name == 'a' else '2'}.*"))):
            members |= {f"{number}.jpg": photo.read_bytes(), f"{number}.cls": photo.parent.name}
        write_tar(tmp_path / "tars" / f"{name}.tar", members)
    for source in (photos, tmp_path / "tars", tmp_path / "tars" / "a.tar"):
        listed, loaded = _list(source), load(source, split=False)
        assert [i.name for i in listed.items] == [i.name for i in loaded.items]
        assert [i.content_hash for i in listed.items] == [i.content_hash for i in loaded.items]
        assert not any(isinstance(item, Held) for item in listed.items)


def test_the_same_rows_and_figures(
    run: Path, photos: Path, tmp_path: Path, ray_cluster: dict[str, str]
) -> None:
    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "headstart", *map(str, arguments)]
        return subprocess.run(
            command, cwd=photos.parent, env=ray_cluster, capture_output=True, text=True
        )

    def files(folder: str) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (photos.parent / folder).glob("[!.]*")}

    for new in (49, 0):
        done = call("predict", "run", "photos", "--on", "ray", "--out", "there", "--json")
        assert done.stdout, done.stderr
        told = json.loads(done.stdout)
        assert (told["new"], told["failed"]) == (new, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(photos.parent)
        predict_pieces("run", ["photos"], "here", Asked(), progress=False)
    assert files("here") == files("there")
    measured = [call("evaluate", "run", "photos", "--reject", "0.05", "--json", *more).stdout
                for more in ([], ["--on", "ray"])]  # fmt: skip
    assert json.loads(measured[1])["answered"]
    assert measured[0] == measured[1]
