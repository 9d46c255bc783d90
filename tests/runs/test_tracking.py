"""What TensorBoard and MLflow are told of a training."""

import importlib.util
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import headstart
from headstart.errors import HeadstartError
from headstart.runs import tracking

HAS = {name: importlib.util.find_spec(name) is not None for name in ("tensorboard", "mlflow")}


@pytest.fixture(scope="module")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> headstart.Run:
    out = tmp_path_factory.mktemp("tracked") / "first"
    return headstart.train(tiny, out=out, cut="block1a_project_bn", size=64)


def read_records(file: Path) -> Iterator[bytes]:
    """The records of a TFRecord file: length and content, each with its checksum."""
    content, place = file.read_bytes(), 0
    while place < len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        yield content[place + 12 : place + 12 + length]
        place += 16 + length


def test_the_figures_are_those_of_the_run(run: headstart.Run) -> None:
    figures = {(name, step): value for name, value, step in tracking.list_figures(run)}
    validation = run.metrics["validation"]
    assert figures["validation/accuracy", 0] == validation.accuracy
    assert figures["validation/accuracy_low", 0] == validation.accuracy_interval[0]
    trials = run.record["linear"]["trials"]
    assert len(trials) > 3
    last = len(trials) - 1
    assert figures["strengths/log_loss", last] == trials[last]["log_loss"]
    assert figures["seconds", 0] > 0


@pytest.mark.skipif(not HAS["tensorboard"], reason="needs pip install 'headstart[tensorboard]'")
def test_tensorboard_reads_what_a_linear_training_logs(run: headstart.Run, tmp_path: Path) -> None:
    from tensorboard.compat.proto.event_pb2 import Event

    tracking.track(run, tmp_path, mlflow=False)
    (file,) = (tmp_path / "first").iterdir()
    assert file.name.startswith("events.out.tfevents.")
    events = [Event.FromString(record) for record in read_records(file)]
    assert events[0].file_version == "brain.Event:2"
    values = [value for event in events for value in event.summary.value]
    assert b'backbone = "efficientnet_lite0"' in values[0].tensor.string_val[0]
    told = {value.tag: value.simple_value for value in values[1:]}
    assert told["validation/accuracy"] == run.metrics["validation"].accuracy


@pytest.mark.skipif(not HAS["mlflow"], reason="needs pip install 'headstart[mlflow]'")
@pytest.mark.skipif(
    importlib.util.find_spec("sqlalchemy") is not None, reason="MLflow then has a data base"
)
def test_a_linear_training_is_logged_from_the_command_line(tiny: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "headstart", "train", tiny, "--mlflow", "--quiet",
         "--cut", "block1a_project_bn", "--size", "64"],
        capture_output=True, text=True, cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if not key.startswith("MLFLOW")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    made = headstart.Run(next((tmp_path / "runs").iterdir()))
    (metric,) = tmp_path.glob("mlruns/*/*/metrics/validation/accuracy")
    assert float(metric.read_text().split()[1]) == made.metrics["validation"].accuracy
    folder = metric.parents[2]
    assert (folder / "params" / "recipe.size").read_text() == "64"
    assert (folder / "tags" / "mlflow.runName").read_text() == made.folder.name
    assert (folder / "tags" / "run").read_text() == str(tmp_path / "runs" / made.folder.name)
    assert "status: 3" in (folder / "meta.yaml").read_text()  # finished


def test_a_server_that_is_away_does_not_cost_the_run(
    run: headstart.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(run: headstart.Run) -> None:
        raise ConnectionError("nobody answers\nat all")

    monkeypatch.setattr(tracking, "_track_in_mlflow", refuse)
    with pytest.raises(HeadstartError, match=r"found: nobody answers\. The run itself is whole"):
        tracking.track(run, None, mlflow=True)
