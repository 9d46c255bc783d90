"""Predictions of pieces: the same rows as in one file, each image once, whoever makes them."""

import shutil
from pathlib import Path

import pytest

import headstart
from headstart.errors import DatasetError, EngineError
from headstart.predictions import pieces
from headstart.predictions.pieces import Answers, Sayer, predict_pieces
from headstart.predictions.rows import Asked, Form
from headstart.store.folder import Folder
from headstart.store.pieces import Shard

parquet = pytest.importorskip("pyarrow.parquet", reason="pip install 'headstart[parquet]'")


@pytest.fixture(scope="module")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pieces") / "run"
    return headstart.train(tiny, out=folder, cut="block2b_add", size=64, progress=False).folder


@pytest.fixture
def photos(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """49 images, of which one is none."""
    monkeypatch.setattr(pieces, "ROWS", 10)
    copied = Path(shutil.copytree(tiny, tmp_path / "photos"))
    (copied / "red" / "broken.jpg").write_bytes(b"no image")
    return copied


def rows(folder: Path) -> list[dict[str, object]]:
    """Of all files, in the order of their names."""
    files = sorted(folder.glob("[0-9]*.parquet"))
    return [row for file in files for row in parquet.read_table(file).to_pylist()]


def predict(run: Path, photos: Path, to: Path, shard: str = "1/1", **asked: object) -> object:
    return predict_pieces(run, [photos], to, Asked(**asked), shard=shard, progress=False)  # type: ignore[arg-type]


def test_the_rows_of_one_file(run: Path, photos: Path, tmp_path: Path) -> None:
    done = predict_pieces(run, [photos], tmp_path / "to", Asked(top_k=9), progress=False)
    assert (done.tally.images, done.new, done.tally.failed) == (49, 49, 1)
    assert done.files > 2
    assert str(done.summary) == "49 images: 24 blue, 24 red, 1 left out"
    assert len(done.summary.least_sure) == 5
    from headstart.predictions.output import open_output

    with open_output(tmp_path / "one.parquet", Form(top_k=2), {}) as (file, _):
        classifier = headstart.load(run)
        for prediction in classifier.stream(pieces.stream_items([photos])):
            file.write(prediction)
    alone = parquet.read_table(tmp_path / "one.parquet")
    assert rows(tmp_path / "to") == alone.to_pylist()
    part = next((tmp_path / "to").glob("[0-9]*.parquet"))
    assert parquet.read_schema(part).equals(alone.schema)


def test_a_second_command_makes_what_is_missing(run: Path, photos: Path, tmp_path: Path) -> None:
    first = predict_pieces(run, [photos], to := tmp_path / "to", Asked(), progress=False)
    whole = rows(to)
    gone, damaged, *_ = sorted(to.glob("[0-9]*.parquet"))
    gone.unlink()
    damaged.write_bytes(damaged.read_bytes()[:-9])
    again = predict_pieces(run, [photos], to, Asked(), progress=False)
    assert 0 < again.new < first.new
    assert (again.summary.to_dict(), again.tally) == (first.summary.to_dict(), first.tally)
    assert rows(to) == whole
    assert predict_pieces(run, [photos], to, Asked(), progress=False).new == 0


def test_shards_are_disjoint_and_together_all(run: Path, photos: Path, tmp_path: Path) -> None:
    for shard in ("1/3", "2/3", "3/3"):
        predict(run, photos, tmp_path / "to", shard)
    names = [row["image"] for row in rows(tmp_path / "to")]
    assert sorted(map(str, names)) == sorted(str(path) for path in photos.rglob("*.*"))


def test_images_named_again_have_rows_again(run: Path, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"{tiny}/red/0.jpg\n{tmp_path}/gone.jpg\n" * 20)
    listed = [tmp_path / "list.txt"]
    work = Answers(run, tuple(map(str, listed)), Asked(), Shard(), Folder(tmp_path),
                   Sayer("", headstart.load(run).canary()), rows=10)  # fmt: skip
    digests = [piece.digest for piece in work.pieces()]
    assert len(set(digests)) == len(digests) > 1
    done = predict_pieces(run, listed, tmp_path / "to", Asked(), progress=False)
    assert (done.tally.images, done.tally.failed) == (40, 20)


def test_other_predictions_are_not_mixed(run: Path, photos: Path, tmp_path: Path) -> None:
    predict(run, photos, to := tmp_path / "to", tta=2)
    with pytest.raises(DatasetError, match=r"found in 1-of-1-.* tta 2, not 1\. Give a new folder"):
        predict(run, photos, to)


def test_who_computes_otherwise(
    run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict(run, photos, to := tmp_path / "to")
    classifier = headstart.load(run)
    off = Sayer(classifier.fingerprint(), classifier.canary() * 1.01)
    other = Answers(run, (str(photos),), Asked(), Shard(), Folder(to), off)
    with pytest.raises(EngineError, match="which has come later, computes others"):
        other.open()
    monkeypatch.setattr(Sayer, "of", lambda _: off)
    with pytest.raises(DatasetError, match=r"gives others \(apart by 0\.99%"):
        predict(run, photos, to)


def test_what_cannot_be_listed_twice(run: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"found - for a list .* Write it into a file"):
        predict_pieces(run, ["-"], tmp_path / "to", Asked(), progress=False)
