"""The command line as a user types it."""

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = ["train", "predict", "explain", "evaluate", "demo", "recipe", "augment", "backbones",
            "layers", "audit", "compare", "remedies", "lr", "summary", "runs", "info", "report",
            "open", "check",
            "weights fetch", "cache info", "cache verify", "cache prune",
            "finetune", "learning-curve", "heads", "export", "verify", "fetch", "serve", "feedback",
            "doctor", "features",
]  # fmt: skip


def headstart(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "headstart", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "120", "NO_COLOR": "1"},
    )


@pytest.fixture(scope="module")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "run"
    done = headstart("train", tiny, "--out", folder, "--quiet")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(folder)
    assert done.stderr == ""
    return folder


def test_version() -> None:
    from headstart import __version__

    assert headstart("--version").stdout == f"headstart {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    done = headstart(*command.split(), "--help")
    assert done.returncode == 0
    assert f"Example: headstart {command}" in done.stdout
    assert not re.findall(r"<(?:bool|Path|list\[\w+\])>", done.stdout)  # Python's types


def test_every_command_is_in_the_list_above() -> None:
    panels = headstart("--help").stdout.split("Options")[1].split("╭")[1:]
    listed = re.findall(r"│ ([\w-]+) ", "".join(panels))
    assert set(listed) == {command.split()[0] for command in COMMANDS}


def test_the_help_lists_commands_by_what_somebody_wants() -> None:
    text = headstart("--help").stdout
    headings = re.findall(r"╭─ ([\w ]+) ─", text)
    assert headings == ["Options", "Start", "Understand", "Improve", "Use", "Housekeeping"]
    assert re.findall(r"│ ([\w-]+) ", text.split("Start")[1])[0] == "train"
    assert "could not be used" not in text  # the first sentence of each


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; sys.argv = ['headstart', '--help']\n"
        "from headstart.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'cv2', 'openvino', 'keras', 'sklearn', 'pydantic', 'PIL'}\n"
        "print('heavy:', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "heavy: []" in done.stdout, done.stdout + done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no resource usage of children")
def test_help_is_there_at_once() -> None:
    """Processor time of the quickest of five: others may be busy here."""
    import resource

    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert headstart("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(5)) < 0.4


def test_train_says_what_it_did(tiny: Path, tmp_path: Path) -> None:
    done = headstart("train", tiny, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "48 images of 2 classes" in done.stderr
    assert re.search(r"Right on 100\.0% of \d+ validation images; .* \(95% interval", done.stdout)
    assert "None of the" in done.stdout
    for jargon in ("log loss", "top_relu", "bf16", "temperature", "features"):
        assert jargon not in done.stdout + done.stderr
    folder = re.search(r"Run: (\S+)", done.stdout)
    assert folder
    assert (tmp_path / folder[1] / "run.json").is_file()
    assert f"Next: headstart predict {folder[1]} NEW_PHOTOS" in done.stdout
    told = headstart("train", tiny, "--verbose", cwd=tmp_path)
    assert "top_relu" in told.stderr
    assert re.search(r"validation +100\.0% of \d+ images right \(95% interval", told.stdout)
    assert "log loss" in told.stdout


def test_train_as_json(tiny: Path, tmp_path: Path) -> None:
    done = headstart("train", tiny, "--json", "--out", tmp_path / "run")
    result = json.loads(done.stdout)
    assert result["run"] == str(tmp_path / "run")
    assert result["classes"] == ["blue", "red"]
    assert result["images"]["unreadable"] == 0
    assert result["metrics"]["validation"]["accuracy"] == 1
    low, high = result["metrics"]["validation"]["accuracy_interval"]
    assert low < high == 1
    assert set(result["cache"]) == {"hits", "misses"}
    assert result["seconds"]["total"] > 0
    assert {"dataset", "extractor", "features", "head"} <= set(result["seconds"])


def test_settings_change_the_recipe(tiny: Path, tmp_path: Path) -> None:
    done = headstart(
        "train", tiny, "--out", tmp_path / "run", "--quiet", "--set", "views=2",
        "--set", "augmentation=flip", "--set", 'pooling="max"',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "run" / "recipe.toml").read_text()
    assert "views = 2" in text
    assert 'pooling = "max"' in text
    assert "horizontal_flip = true" in text


def test_predict_prints_a_table(run: Path, tiny: Path) -> None:
    done = headstart("predict", run, tiny / "red" / "0.jpg", "--top-k", 2)
    assert done.returncode == 0
    assert re.search(r"0\.jpg +red \d+\.\d%  blue \d+\.\d%", done.stdout)


def test_predict_prints_csv(run: Path, tiny: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(headstart(
        "predict", run, tiny / "blue", "--format", "csv").stdout)))  # fmt: skip
    assert len(rows) == 24
    assert {row["label"] for row in rows} == {"blue"}
    names = [Path(row["image"]).stem for row in rows]
    assert names == sorted(names, key=int)


def test_what_is_to_be_typed_next_is_what_was_measured(tmp_path: Path) -> None:
    import shlex

    from headstart.cli.output import train_command
    from headstart.images.augment import FLIP
    from headstart.recipe import load_recipe, parse_setting

    recipe = load_recipe(
        "quick", cut=["block3b_add:grid", "last:max"], size=96, views=2, augmentation=FLIP,
        balanced=True, layers=["dense 64 relu", "dropout"], groups=r"(p\d+) '",
        weights="/my weights/net.h5", head="neural",
    )  # fmt: skip
    photos = tmp_path / "my photos"
    words = shlex.split(train_command(photos, recipe))
    assert words[:3] == ["headstart", "train", str(photos)]
    choices = dict(parse_setting(word) for word in words if "=" in word)
    choices |= {key: words[words.index(f"--{key}") + 1] for key in ("cut", "weights", "groups")}
    choices["size"] = 96
    assert load_recipe("quick", **choices) == recipe
    assert train_command("p", load_recipe(weights="my weights.h5", normalisation="0..1")) == (
        "headstart train p --weights 'my weights.h5' --set normalisation=0..1"
    )
    passed_over = load_recipe(epochs=3, batch_size=8, tune_epochs=2)  # by a linear head
    assert train_command("p", passed_over) == "headstart train p"
    assert train_command("p", load_recipe("classic", seed=7), "classic") == (
        "headstart train p --recipe classic --seed 7"
    )


def test_a_folder_that_cannot_be_made_is_one_message(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = headstart("train", tiny, "--out", tmp_path / "file" / "run")
    assert done.returncode == 2
    assert done.stderr.startswith("error: expected to write the run to")  # before anything slow


def test_predict_prints_json_lines_and_goes_on_past_bad_files(
    run: Path, tiny: Path, tmp_path: Path
) -> None:
    shutil.copy(tiny / "red" / "0.jpg", tmp_path / "b.jpg")
    (tmp_path / "a.jpg").write_bytes(b"")
    done = headstart("predict", run, tmp_path, "--format", "jsonl")
    assert done.returncode == 1
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert rows[0]["error"] == "empty file"
    assert rows[1]["label"] == "red"
    assert "1 of 2 images could not be used" in done.stderr


def test_evaluate(run: Path, tiny: Path) -> None:
    result = json.loads(headstart("evaluate", run, tiny, "--json").stdout)
    assert result["all"]["accuracy"] == 1
    assert any("were trained on" in warning for warning in result["warnings"])
    assert "Right on 100.0% of 48 images; " in headstart("evaluate", run, tiny).stdout


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["train", "nowhere"], "found nothing at nowhere"),
        (["train", "{tiny}", "--backbone", "inceptionv"], "Near: inception_v3"),
        (["train", "{tiny}", "--cut", "block5_add"], "Near: block5"),
        (["train", "{tiny}", "--recipe", "fast"], "Expected one of"),
        (["train", "{tiny}", "--set", "view=2"], "Near: views"),
        (["train", "{tiny}", "--set", "views"], "expected --set key=value"),
        (["predict", "{tiny}", "{tiny}"], "found no classifier.json"),
        (["predict", "{run}", "{tiny}", "--format", "xml"], "expected --format table, csv"),
        (["cache", "prune"], "Type: --max-mb N"),
    ],
)
def test_errors_say_what_to_type_next(
    arguments: list[str], text: str, tiny: Path, run: Path, tmp_path: Path
) -> None:
    filled = [a.format(tiny=tiny, run=run) for a in arguments]
    done = headstart(*filled, cwd=tmp_path)
    assert done.returncode == 2
    assert "error: " in done.stderr
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_recipe_is_toml_that_loads_again(tmp_path: Path) -> None:
    from headstart.recipe import load_recipe

    (tmp_path / "mine.toml").write_text(headstart("recipe", "classic").stdout)
    assert load_recipe(tmp_path / "mine.toml") == load_recipe("classic")


def test_backbones_lists_them() -> None:
    text = headstart("backbones").stdout
    assert "inception_v3" in text
    assert "(default)" in text


def test_augment_draws_a_contact_sheet(tiny: Path, tmp_path: Path) -> None:
    from PIL import Image

    target = tmp_path / "views.png"
    done = headstart("augment", tiny, "--views", 3, "--rows", 2, "--size", 40, "--out", target)
    assert done.returncode == 0, done.stderr
    with Image.open(target) as picture:
        assert picture.width > 4 * 40
        assert picture.height > 2 * 40
    done = headstart("augment", tiny, "--augmentation", "twirl", "--out", target)
    assert "expected one of none, flip, lesson" in done.stderr


def test_layers_of_the_bundled_backbone() -> None:
    text = headstart("layers", "efficientnet_lite0").stdout
    assert re.search(r"\* top_relu .*\(7, 7, 1280\)", text)


def test_the_cache_is_told_verified_and_pruned(tiny: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "HEADSTART_CACHE": str(tmp_path / "cache")}

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "headstart", *arguments],
            capture_output=True, text=True, env=environment,
        )  # fmt: skip

    assert call("train", str(tiny), "--out", str(tmp_path / "run")).returncode == 0
    assert re.search(r"efficientnet_lite0 top_relu +48 vectors", call("cache", "info").stdout)
    assert "whole" in call("cache", "verify").stdout
    assert "removed 2 features, 1 extractors, " in call("cache", "prune", "--all").stdout
    assert "vectors" not in call("cache", "info").stdout


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_ends_cleanly_and_says_how_to_go_on(tiny: Path, tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", f"""
import headstart.features.extract
import signal
import time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's parent ignores it
slow = headstart.features.extract.make_view
def slower(*a, **k):
    print("working", flush=True)
    time.sleep(0.5)
    return slow(*a, **k)
headstart.features.extract.make_view = slower
import sys; sys.argv = ["headstart", "train", {str(tiny)!r}, "--out", {str(tmp_path / "run")!r}]
from headstart.cli.app import main
print("ready", flush=True)
main()
"""],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "HEADSTART_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    assert "working" in child.stdout.readline()  # in the midst of it, however slow the machine
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=20)
    assert child.returncode == 130, errors
    assert "type the same command to go on" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("package", "options"),
    [("tensorboard", ["--tensorboard", "logs"]), ("mlflow", ["--mlflow"])],
)
def test_loggers_that_are_not_installed_are_named_before_the_work(
    package: str, options: list[str], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("needs TensorFlow: pip install 'headstart[tensorflow]'")
    hidden = tmp_path / "hidden"  # what Python reads as it starts; the package may be there or not
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(f"import sys\nsys.modules[{package!r}] = None\n")
    path = os.pathsep.join(filter(None, [str(hidden), os.environ.get("PYTHONPATH")]))
    monkeypatch.setenv("PYTHONPATH", path)
    done = headstart("train", tiny, "--set", "head=neural", *options, cwd=tmp_path)
    assert done.returncode == 2
    assert f"pip install 'headstart[{package}]'" in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ImportError("initialization failed")])
def test_stopped_before_its_command_begins_it_says_so(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from headstart.cli.app import main

    def stop() -> None:
        raise error from KeyboardInterrupt()

    monkeypatch.setattr("headstart.cli.app.load_commands", stop)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "\nStopped.\n"
