"""headstart export and verify."""

import json
from pathlib import Path

import pytest
from cli.conftest import Call

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
OLD = Path(__file__).parents[1] / "data_of_old_runs" / "0.1.0"


def test_export_and_verify(call: Call, tiny: Path) -> None:
    done = call("export", OLD / "linear", "--to", "onnx", "--images", tiny)
    assert done.code == 0, done.err
    assert "largest difference of a probability" in done.out
    assert "same class 100.0%" in done.out
    folder = next(line.split()[-1] for line in done.out.splitlines() if line.startswith("Export:"))
    assert folder == "linear-onnx"
    assert len(list(Path(folder, "golden").glob("photo-*"))) == 6
    verified = call("verify", folder)
    assert verified.code == 0
    assert verified.out.endswith("verified\n")
    assert json.loads(call("verify", folder, "--json").out)["verified"] is True
    again = call("export", OLD / "linear", "--to", "onnx", "--out", folder)
    assert again.code == 2
    assert "--out with another name" in again.err


def test_export_as_json_and_half(call: Call) -> None:
    done = call("export", OLD / "several_classes", "--to", "onnx", "--precision", "f16", "--json")
    told = json.loads(done.out)
    assert told["tolerance"] == 0.01
    assert told["parity"]["difference"] < 0.01
    assert "the run's photos are not where they were" in done.err


def test_refused_formats_leave_nothing(call: Call) -> None:
    done = call("export", OLD / "linear", "--to", "tfjs")
    assert done.code == 2
    assert "onnxruntime-web" in done.err
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_means_of_heads_are_exported(call: Call, tiny: Path) -> None:
    """By Keras' own layers too, which are built from the arrays of all heads."""
    pytest.importorskip("tensorflow")
    done = call("train", tiny, "--cut", "block2a_depthwise_relu", "--size", "64", "--set",
                "head=neural", "--set", "ensemble=true", "--set", "folds=2", "--set", "epochs=1",
                "--out", "run")  # fmt: skip
    assert done.code == 0, done.err
    for kind in ("onnx", "keras"):
        told = call("export", "run", "--to", kind, "--json")
        assert told.code == 0, told.err
        assert json.loads(told.out)["parity"]["difference"] < 1e-4
    assert call("verify", "run-onnx").code == 0


def test_a_page_has_no_8_bits(call: Call) -> None:
    done = call("export", OLD / "linear", "--to", "web", "--precision", "int8")
    assert done.code == 2
    assert "f32, f16 for web" in done.err


def test_options_that_a_server_has_no_use_for_are_refused(call: Call) -> None:
    for option in (["--precision", "int8"], ["--images", "."], ["--single-file"]):
        done = call("export", OLD / "linear", "--to", "server", *option)
        assert done.code == 2
        assert f"expected no {option[0]} with --to server" in done.err
    assert list(Path.cwd().iterdir()) == []


def test_photos_that_cannot_be_used_are_not_told_as_looked_at(call: Call) -> None:
    Path("photos").mkdir()
    Path("photos/broken.jpg").write_bytes(b"no image")
    Path("photos/gone.jpg").symlink_to("nowhere.jpg")
    done = call("export", OLD / "linear", "--to", "onnx", "--images", "photos")
    assert done.code == 0, done.err
    assert "checked on drawn pictures alone, for there are none in photos that can be used" in (
        done.err)  # fmt: skip


def test_a_format_that_there_is_not_is_told_beside_all(call: Call) -> None:
    done = call("export", OLD / "linear", "--to", "Server2")
    assert "web, server, found 'Server2'. Type: --to server" in done.err
