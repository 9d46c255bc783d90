"""Every command once, on small data."""

import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import headstart
from headstart.data.dataset import load
from headstart.recipe import load_recipe

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
needs_tensorflow = pytest.mark.skipif(
    find_spec("tensorflow") is None, reason="needs TensorFlow: pip install 'headstart[tensorflow]'"
)
CUT = "block2b_add"
EARLY = ["--set", f"cut={CUT}", "--set", "size=64"]
PNG = b"\x89PNG"
Call = Callable[..., Any]


@dataclass(frozen=True)
class Trained:
    """Two runs on the same images."""

    first: Path
    second: Path


@pytest.fixture(scope="module")
def runs(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("commands") / "runs"
    headstart.train(tiny, out=folder / "tiny-1", cut=CUT, size=64)
    headstart.train(tiny, out=folder / "tiny-2", cut="block3b_add", size=64)
    return Trained(folder / "tiny-1", folder / "tiny-2")


@pytest.fixture(scope="module")
def hundreds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """140 pictures of two colours: enough to compare cuts."""
    folder = tmp_path_factory.mktemp("hundreds")
    rng = np.random.default_rng(0)
    for index in range(140):
        label, colour = [("red", (150, 90, 90)), ("blue", (90, 90, 150))][index % 2]
        pixels = np.clip(np.array(colour) + rng.normal(0, 60, (32, 32, 3)), 0, 255)
        target = folder / label / f"{index}.png"
        target.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(target)
    return folder


def result_of(done: Any) -> dict[str, Any]:
    """The one JSON object on standard output, and nothing beside it."""
    assert done.code == 0, done.err
    assert done.err == ""
    (line,) = done.out.splitlines()
    content: dict[str, Any] = json.loads(line)
    return content


def test_runs_and_info(runs: Trained, call: Call) -> None:
    listed = result_of(call("runs", runs.first.parent, "--json"))["runs"]
    assert [Path(row["folder"]).name for row in listed] == ["tiny-1", "tiny-2"]
    assert {row["state"] for row in listed} == {"finished"}
    text = call("runs", runs.first.parent).out
    assert re.search(
        r"tiny-1 +\d{4}-\d\d-\d\d +48 +2 +100\.0%  \(\d\d\.\d% to 100\.0%\) +validation", text
    )
    shown = call("info", runs.first)
    assert shown.code == 0, shown.err
    assert f'cut=["{CUT}"]' in shown.out
    assert "2: blue, red" in shown.out
    assert f"headstart predict {runs.first} NEW_PHOTOS" in shown.out
    assert "curves.png" not in shown.out  # only what is there
    shown = result_of(call("info", runs.first, "--json"))
    assert shown["recipe"] == "quick"
    assert "size=64" in shown["changes"]
    assert shown["metrics"]["validation"]["accuracy"] == 1
    assert "classifier" in shown["files"]


def test_features_are_trained_on(tiny: Path, call: Call, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    photos, to = shutil.copytree(tiny, tmp_path / "photos"), tmp_path / "my features"
    (photos / "red" / "broken.png").write_bytes(b"")
    for part in (1, 2):
        done = call("features", photos, "--out", to, "--shard", f"{part}/2", *EARLY)
        assert done.code == 0, done.err
    assert re.search(r"\d+ images in 1 file of .*features, \d+ of them new", done.out)
    assert f"Next: headstart train '{to}'" in done.out
    again = result_of(call("features", photos, "--out", to, "--shard", "2/2", *EARLY, "--json"))
    assert again["images"] > again["computed"] == 0
    shutil.rmtree(photos)
    done = call("train", to, "--out", "run")
    assert done.code == 0, done.err
    assert "the images themselves are not here" in done.err
    assert "Next: headstart predict run NEW_PHOTOS" in done.out


def test_predict_names_bad_images_in_their_rows(
    runs: Trained, tiny: Path, call: Call, tmp_path: Path
) -> None:
    """One line for all of them beside the result, however many there are."""
    new = tmp_path / "new"
    new.mkdir()
    shutil.copy(tiny / "red" / "0.jpg", new / "0.jpg")
    for number in range(1, 31):
        (new / f"{number}.jpg").write_bytes(b"")
    for form, cell in (("table", "left out: empty file"), ("csv", ",empty file"), ("jsonl", "emp")):
        done = call("predict", runs.first, new, "--format", form)
        assert done.code == 1
        *summed, last = done.err.splitlines()
        assert last == "30 of 31 images could not be used: their rows say why"
        assert ("31 images: 30 left out, 1 red" in summed) == (form == "table")
        assert done.out.count(cell) == 30


def test_predict_says_not_sure_and_none_of_these(
    runs: Trained, tiny: Path, call: Call, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    new.mkdir()
    shutil.copy(tiny / "red" / "0.jpg", new / "0.jpg")
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[::2] = 255
    Image.fromarray(stripes).save(new / "1.png")
    asked = ("predict", runs.first, new, "--accuracy", 0.9, "--reject", 0.1)
    done = call(*asked, "--format", "csv")
    assert done.code == 0, done.err
    header, first, second = done.out.splitlines()
    assert header == "image,answer,label,probability,label_1,probability_1,error"
    assert re.search(r"0\.jpg,answered,red,(0\.\d+),red,\1,$", first)
    assert re.search(r"1\.png,none of these,,,(red|blue),\d\.\d+,$", second)
    assert "1 answered of 2, 0 not sure, 1 none of these" in done.err
    assert re.search(r"answers 100\.0% \(\d\d\.\d% to 100\.0%\) of images like those", done.err)
    assert re.search(r"takes 10\.0% \(\d\.\d% to .*%\) of images like those", done.err)
    assert re.search(r"1\.png +none of these \((red|blue) ", call(*asked).out)
    rows = [json.loads(row) for row in call(*asked, "--format", "jsonl").out.splitlines()]
    assert [(row["answer"], row["label"]) for row in rows] == [
        ("answered", "red"), ("none of these", None)
    ]  # fmt: skip
    assert rows[0]["typicality"] > 0.1 >= rows[1]["typicality"]
    unsure = call("predict", runs.first, new, "--accuracy", 0.999)
    assert unsure.out.count("not sure (") == 2
    assert "training images cannot vouch for more than --accuracy 0.9" in unsure.err


@pytest.mark.parametrize(
    ("option", "message"),
    [(("--accuracy", 99), r"expected an accuracy from 0\.5 to below 1, found 99"),
     (("--accuracy", "high"), "--accuracy: expected a number, found 'high'"),
     (("--reject", 0.001), r"expected a share of false alarms from 0\.0\d+, which 3\d training")],
)  # fmt: skip
def test_predict_refuses_what_it_cannot_tell(
    runs: Trained, tiny: Path, call: Call, option: tuple[str, Any], message: str
) -> None:
    done = call("predict", runs.first, tiny / "red", *option)
    assert (done.code, done.out) == (2, "")
    assert re.search(message, done.err)


@pytest.mark.parametrize("option", [("--accuracy", 0.9), ("--reject", 0.1)])
def test_predict_of_an_old_run_says_that_it_cannot(
    tiny: Path, call: Call, option: tuple[str, float]
) -> None:
    old = Path(__file__).parents[1] / "data_of_old_runs" / "0.1.0" / "linear"
    done = call("predict", old, tiny / "red", *option)
    assert (done.code, done.out) == (2, "")
    assert "of an earlier version" in done.err
    assert call("predict", old, tiny / "red").code == 0


def test_evaluate_tells_what_is_answered(runs: Trained, tiny: Path, call: Call) -> None:
    asked = ("evaluate", runs.first, tiny, "--accuracy", 0.9, "--reject", 0.1)
    done = call(*asked)
    assert done.code == 0, done.err
    assert re.search(r"all: 4\d of 48 answered \(.*\), of these 100\.0% \(.*\) right; ", done.out)
    part = result_of(call(*asked, "--json"))["answered"]["all"]
    assert part["answered"] + part["not_sure"] + part["none_of_these"] == part["images"] == 48
    assert part["right"] == part["answered"]
    assert result_of(call("evaluate", runs.first, tiny, "--json")).keys() == {"all", "warnings"}


def test_check(runs: Trained, tiny: Path, call: Call, tmp_path: Path) -> None:
    """On images that it was not trained on: one line, and an exit code."""
    done = call("check", runs.first, tiny, "--min-accuracy", 0.5, "--against", runs.second)
    assert done.code == 0, done.err
    assert len(done.out.splitlines()) == 1
    assert re.search(r"^100\.0% \(\d\d\.\d% to 100\.0%\) right, at least 50\.0%: kept; ", done.out)
    assert f"against {runs.second}, at most 0.0% less: kept, though so few" in done.out
    left = re.search(r"\((\d+) images, (\d+) trained on left out\)$", done.out.strip())
    assert left is not None
    assert int(left[1]) + int(left[2]) == 48
    wrong = tmp_path / "wrong"  # blue and red the wrong way round
    for name, other in (("blue", "red"), ("red", "blue")):
        shutil.copytree(tiny / name, wrong / other)
    missed = call("check", runs.first, wrong, "--min-accuracy", 0.9)
    assert missed.code == 1
    assert "0.0% (0.0% to" in missed.out
    assert ": missed (" in missed.out
    told = call("check", runs.first, wrong, "--min-accuracy", 0.9, "--json")
    assert told.code == 1
    row = json.loads(told.out)
    assert (row["kept"], row["accuracy"]["told"], row["drop"]) == (False, True, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [((), "expected what to check, found none. Type: headstart check "),
     (("--min-accuracy", 0.5, "--max-drop", 0.01),
      "expected an older run with --max-drop, found none. Type: --against RUN"),
     (("--min-accuracy", 95),
      "--min-accuracy: expected a share from 0 to 1, as 0.02 is 2%, found '95'")],
)  # fmt: skip
def test_check_refuses(
    runs: Trained, tiny: Path, call: Call, options: tuple[Any, ...], message: str
) -> None:
    done = call("check", runs.first, tiny, *options)
    assert (done.code, done.out) == (2, "")
    assert message in done.err


def test_check_refuses_images_it_was_trained_on(
    runs: Trained, tiny: Path, call: Call, tmp_path: Path
) -> None:
    names = (runs.first / "training.csv").read_text().splitlines()[1:]
    for name in (line.split(",")[0] for line in names):
        target = tmp_path / "seen" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tiny / name, target)
    done = call("check", runs.first, tmp_path / "seen", "--min-accuracy", 0.5)
    assert done.code == 2
    assert f"found {len(names)} it was trained on and 0 that cannot be used" in done.err


def test_runs_where_nothing_was_trained(call: Call) -> None:
    assert result_of(call("runs", "--json"))["runs"] == []
    assert "Next: headstart train PHOTOS" in call("runs").out
    done = call("runs", "nowhere")
    assert done.code == 2
    assert "found no folder nowhere" in done.err


def test_compare(runs: Trained, call: Call) -> None:
    done = call("compare", runs.first, runs.second, "--out", "both.png")
    assert done.code == 0, done.err
    assert re.search(rf"cut +{CUT} +block3b_add", done.out)
    assert "the data cannot tell" in done.out
    assert Path("both.png").read_bytes()[:4] == PNG  # linear heads have no curves: accuracies
    assert "Page: both.html" in call("compare", runs.first, runs.second, "--out", "both.html").out
    assert Path("both.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    compared = result_of(call("compare", runs.first, runs.second, "--json"))
    assert compared["recipes"] == {"cut": [[CUT], ["block3b_add"]]}
    assert compared["pairs"][0]["n"] == compared["runs"][0]["metrics"]["validation"]["images"]
    assert compared["repeats"] == []
    assert "luckier with its training images: --repeats 5" in done.out
    quiet = call("compare", runs.first, runs.second, "--quiet")
    assert quiet.out.startswith("run ")
    assert "--repeats" not in quiet.out
    redrawn = call("compare", runs.first, runs.second, "--repeats", "2")
    assert "over 2 redrawn trainings on" in redrawn.out
    (pair,) = result_of(call("compare", runs.first, runs.second, "--repeats", "2", "--json"))[
        "repeats"]  # fmt: skip
    assert pair["verdict"] == "the data cannot tell"  # all are right


def test_remedies(runs: Trained, call: Call, tmp_path: Path) -> None:
    done = call("remedies", runs.first, "--budget", "0s")
    assert done.code == 0, done.err
    assert re.search(r"as it was +\d+\.\d% +\(", done.out)
    assert re.search(r"\nflipped views +\d+\.\d% +\(", done.out)  # something is tried always
    assert "not tried within 0s: augmentation, 3 views" in done.out
    assert re.search(r"For all of them: --budget \d+m", done.out)
    assert (runs.first / "remedies.png").read_bytes()[:4] == PNG
    kept = "as it was: keep" in done.out
    assert kept != (f"--recipe {runs.first / 'remedy.toml'}" in done.out)
    if kept:
        assert load_recipe(runs.first / "remedy.toml") == headstart.Run(runs.first).recipe
    assert (runs.first / "remedies.html").is_file()
    (tmp_path / "remedy.toml").write_text("another run's")
    (tmp_path / "r.html").write_text("another page")
    elsewhere = result_of(call("remedies", runs.first, "--budget", "0", "--out", "r.png", "--json"))
    assert elsewhere["recipe"] == "remedy-2.toml"
    assert elsewhere["page"] == "r-2.html"
    assert Path("r.html").read_text() == "another page"
    assert Path("remedy.toml").read_text() == "another run's"
    assert load_recipe("remedy-2.toml").cut == headstart.Run(runs.first).recipe.cut


@needs_tensorflow
def test_summary(runs: Trained, call: Call) -> None:
    done = call("summary", runs.first)
    assert done.code == 0, done.err
    assert re.search(r"^block2 +\d+ layers +.*locked$", done.out, re.M)
    assert re.search(r"^predictions +Dense .* trained$", done.out, re.M)
    assert f"Every layer: headstart summary {runs.first} --every-layer" in done.out
    assert max(map(len, done.out.splitlines()[:-1])) <= 80
    assert re.search(rf"^{CUT} +Add", call("summary", runs.first, "--every-layer").out, re.M)


@needs_tensorflow
def test_finetune(runs: Trained, call: Call, tmp_path: Path) -> None:
    done = call("finetune", runs.first, "--boundary", "block2a_project_bn", "--epochs", 1,
                "--budget", "20s", "--out", tmp_path / "tuned", "--quiet",
                "--set", "views=1", "--set", "augmentation=none")  # fmt: skip
    assert done.code == 0, done.err
    assert done.out == f"{tmp_path / 'tuned'}\n"
    assert headstart.Run(tmp_path / "tuned").record["tuning"] is not None


def test_heads(tiny: Path, call: Call) -> None:
    done = call("heads", tiny, "--budget", "0s", *EARLY)
    assert done.code == 0, done.err
    assert re.search(r"linear +\d+\.\d%  \(", done.out)
    assert "Picture: heads.png" in done.out
    assert f"Next: headstart train {tiny}" in done.out
    measured = result_of(call("heads", tiny, "--budget", "0s", *EARLY, "--json"))
    assert measured["chosen"] == "linear"
    assert measured["picture"] == "heads-2.png"
    assert Path("heads.png").read_bytes()[:4] == Path("heads-2.png").read_bytes()[:4] == PNG
    quiet = call("heads", tiny, "--budget", "0s", *EARLY, "--quiet")
    assert quiet.err == ""
    assert "Next" not in quiet.out


def test_learning_curve(tiny: Path, runs: Trained, call: Call) -> None:
    measured = result_of(call("learning-curve", tiny, *EARLY, "--json", "--seed", 0))
    assert measured["picture"] == "learning_curve.png"
    done = call("learning-curve", tiny, *EARLY, "--out", "curve.png")
    assert done.code == 0, done.err
    for size in measured["sizes"]:
        assert re.search(rf" {size} +\d+\.\d%  \(", done.out)
    assert "What twice the photos of a class would bring" in done.out
    assert "Picture: curve.png" in done.out
    call("learning-curve", tiny, *EARLY, "--out", runs.first)
    assert json.loads((runs.first / "learning_curve.json").read_text()) == {
        key: measured[key] for key in ("sizes", "accuracies", "intervals", "classes", "overall",
                                       "forecasts")
    }  # fmt: skip


@needs_tensorflow
def test_lr(tiny: Path, call: Call) -> None:
    options = ["--recipe", "quick", "--set", "head=neural", *EARLY]
    done = call("lr", tiny, *options)
    assert done.code == 0, done.err
    (rate,) = re.findall(r"Suggested learning rate: (\S+)", done.out)
    assert f"learning_rate={float(rate)!r}" in done.out
    assert Path("lr.png").read_bytes()[:4] == PNG
    measured = result_of(call("lr", tiny, *options, "--json"))
    assert len(measured["rates"]) == len(measured["losses"]) > 5
    assert measured["picture"] == "lr-2.png"


@pytest.fixture
def quick_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    """How fast a cut is, measured for an instant."""
    from headstart.features import cost

    real = cost.measure_speeds
    monkeypatch.setattr(cost, "measure_speeds", lambda extractor: real(extractor, seconds=0.001))


@pytest.mark.usefixtures("quick_timing")
def test_layers_on_data(hundreds: Path, call: Call) -> None:
    options = ["efficientnet_lite0", "--size", 64, "--data", hundreds, "--budget", "8s"]
    done = call("layers", *options)
    assert done.code == 0, done.err
    (chosen,) = [line[2:].split("  ")[0] for line in done.out.splitlines() if line[:2] == "* "
                 and "chosen" not in line]  # fmt: skip
    first, more = re.split(r" and (?=\d+ more, averaged)", chosen.split("  ")[0])
    assert f"Next: headstart train {hundreds} --size 64" in done.out
    (command,) = (line for line in done.out.splitlines() if line.startswith("Next: "))
    cuts = command.partition("--cut ")[2].split()[0].split("+")
    assert cuts[0] == first
    assert len(cuts) == 1 + int(more.split()[0])
    assert "--set fusion=late" in command
    assert Path("layers.png").read_bytes()[:4] == PNG
    # Two cuts of the kept features are enough to see the other way of telling.
    measured = result_of(call("layers", *options[:-1], "0s", "--json"))
    assert measured["tried"][0]["images_per_second"] > 0
    assert measured["picture"] == "layers-2.png"


def test_layers_with_too_few_images(tiny: Path, call: Call) -> None:
    done = call("layers", "efficientnet_lite0", "--size", 64, "--data", tiny)
    assert done.code == 0, done.err
    assert "too few images" in done.out
    assert not Path("layers.png").exists()


@pytest.mark.usefixtures("quick_timing")
def test_backbones_on_data(
    hundreds: Path, call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))  # no weights there
    train = load(hundreds).split("train")
    options = ["--data", hundreds, "--only", "efficientnet_lite0", "--only", "resnet50",
               "--set", "size=64", "--budget", "8s"]  # fmt: skip
    done = call("backbones", *options)
    assert done.code == 0, done.err
    assert re.search(r"efficientnet_lite0 +\d+\.\d%  \(\d", done.out)
    assert "No weights on this computer: resnet50" in done.out
    measured = result_of(call("backbones", *options, "--json"))
    assert measured["missing"] == ["resnet50"]
    assert measured["backbones"][0]["images"] == len(train)


def test_listings_as_json(call: Call) -> None:
    names = [row["backbone"] for row in result_of(call("backbones", "--json"))["backbones"]]
    assert "inception_v3" in names
    rows = result_of(call("layers", "efficientnet_lite0", "--candidates", "--json"))["layers"]
    assert rows[-1]["layer"] == "top_relu"
    assert all(row["candidate"] for row in rows)


def test_demo(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn import datasets
    from sklearn.utils import Bunch

    from headstart import demo

    digits = datasets.load_digits()
    few = Bunch(images=digits.images[:120], target=digits.target[:120])
    monkeypatch.setattr(datasets, "load_digits", lambda: few)
    monkeypatch.setattr(demo, "LEARN", 90)
    done = call("demo", "--out", "here")
    assert done.code == 0, done.err
    assert "digit-119-is-" in done.out
    assert "Try: headstart predict here/run-1" in done.out


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of tmp_path/served."""
    (tmp_path / "served").mkdir()
    handler = partial(Handler, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_weights_fetch(
    server: str, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    (tmp_path / "served" / "net.h5").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    done = call("weights", "fetch", f"{server}/net.h5?download=1", "--sha256", digest, "--quiet")
    assert done.code == 0, done.err
    target = tmp_path / "cache" / "weights" / "net.h5"
    assert done.out == f"{target}\n"
    assert done.err == ""
    assert target.read_bytes() == b"weights"
    wrong = call("weights", "fetch", f"{server}/net.h5", "--sha256", "0" * 64)
    assert wrong.code == 2
    assert "expected sha256:0000" in wrong.err
    nothing = call("weights", "fetch", f"{server}/")
    assert "expected the address of a file" in nothing.err


def test_photos_are_fetched_and_learned_from(
    server: str, call: Call, tiny: Path, tmp_path: Path
) -> None:
    import shutil

    shutil.make_archive(str(tmp_path / "served" / "photos"), "zip", tiny)
    refused = call("train", f"{server}/photos.zip")
    assert f"Nothing is fetched unasked. Type: headstart fetch {server}/photos.zip" in refused.err
    done = call("fetch", f"{server}/photos.zip")
    assert done.out == "photos.zip\nNext: headstart train photos.zip\n", done.err
    (tmp_path / "data").mkdir()
    named = call("fetch", f"{server}/photos.zip?x=1", "--out", "data/mine.zip", "--quiet")
    assert named.out == "data/mine.zip\n", named.err
    assert call("fetch", f"{server}/photos.zip", "--out", "data").out.startswith("data/photos.zip")
    assert "say which: --out photos.zip" in call("fetch", f"{server}/download").err
    wrong = call("fetch", f"{server}/photos.zip", "--out", "other.zip", "--sha256", "0" * 64)
    assert "expected sha256:0000" in wrong.err
    run = call("train", "photos.zip", "--cut", "last", "--size", 64, "--out", "run", "--quiet")
    assert run.out == "run\n", run.err


def test_validation_and_test_images_of_their_own(call: Call, tiny: Path, tmp_path: Path) -> None:
    import shutil

    for number, path in enumerate(sorted(tiny.glob("*/*"))):
        target = tmp_path / ("photos", "photos", "val", "held")[number % 4] / path.parent.name
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    options = ["--validation", "val", "--test", "held", "--cut", "last", "--size", 64]
    done = call("train", "photos", *options, "--out", "run", "--json")
    assert result_of(done)["images"] == {"train": 24, "validation": 12, "test": 12, "unreadable": 0}
    next(Path("held/red").iterdir()).unlink()
    stopped = call("remedies", "run", "--budget", "1s")
    assert f"found others in {tmp_path}/photos: 1 gone (red: 1). To go on" in stopped.err
    assert f"headstart train {tmp_path}/photos --validation {tmp_path}/val --test" in stopped.err
    shutil.rmtree("held")
    assert f"found nothing at {tmp_path}/held. Put them back" in call("finetune", "run").err


def test_augment(tiny: Path, call: Call) -> None:
    options = [tiny, "--views", 2, "--rows", 1, "--size", 32]
    assert call("augment", *options).out == "views.png\n"
    drawn = result_of(call("augment", *options, "--seed", 5, "--json"))
    assert drawn["picture"] == "views-2.png"
    assert Path("views.png").read_bytes() != Path("views-2.png").read_bytes()
