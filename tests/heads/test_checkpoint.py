"""What a stopped training goes on from: whole, or told as one error."""

import importlib.util
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart.errors import ClassifierError
from headstart.heads.checkpoint import BEST, CHECKPOINT, Checkpoint
from headstart.recipe import load_recipe

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("tensorflow") is None,
        reason="needs TensorFlow: pip install 'headstart[tensorflow]'",
    ),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
RECIPE = load_recipe("quick", head="neural", patience=2)
HISTORY = {"loss": [1.0, float("nan")], "val_loss": [1.0, 0.5]}


def build(units: int = 3) -> Any:
    from headstart.heads.neural import prepare_keras

    prepare_keras()
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(units)])
    model.compile("adam", "mse")
    model.fit(np.ones((2, 4)), np.ones((2, units)), verbose=0)
    return model


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    Checkpoint(tmp_path, build()).save(HISTORY, RECIPE, last=True, kept_epoch=2)
    assert {path.name for path in tmp_path.iterdir()} == {CHECKPOINT, BEST}
    return tmp_path


def test_it_comes_back_as_it_was(kept: Path) -> None:
    trained, other = build(), build()
    other.set_weights([np.zeros_like(weight) for weight in other.get_weights()])
    checkpoint = Checkpoint(kept, other)
    history = checkpoint.load()
    assert history.keys() == HISTORY.keys()
    assert np.array_equal(history["loss"], HISTORY["loss"], equal_nan=True)
    assert checkpoint.kept_epoch == 2
    for ours, theirs in zip(other.get_weights(), trained.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)
    other.set_weights([np.zeros_like(weight) for weight in other.get_weights()])
    Checkpoint(kept, other).load_best()
    assert np.array_equal(other.get_weights()[0], trained.get_weights()[0])


def with_metadata(path: Path, **changes: str | None) -> None:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = {
        key: value
        for key, value in {**header["__metadata__"], **changes}.items()
        if value is not None
    }
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b"\xff" * 100),
        lambda path: with_metadata(path, history=None),
        lambda path: with_metadata(path, history="[1]"),
        lambda path: with_metadata(path, history="[" * 100_000),
        lambda path: with_metadata(path, history='{"loss": ["x"]}'),
        lambda path: with_metadata(path, history='{"loss": [1], "val_loss": []}'),
        lambda path: with_metadata(path, kept_epoch='"two"'),
        lambda path: Checkpoint(path.parent, build(units=5)).save({}, RECIPE, last=True),
    ],
)
def test_a_damaged_state_is_one_error(kept: Path, damage: Callable[[Path], object]) -> None:
    damage(kept / CHECKPOINT)
    with pytest.raises(
        ClassifierError, match=r"checkpoint\.safetensors: expected .*Remove checkpoint"
    ):
        Checkpoint(kept, build()).load()


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, None])
def test_so_are_damaged_best_weights(kept: Path, content: bytes | None) -> None:
    (kept / BEST).unlink()
    if content is not None:
        (kept / BEST).write_bytes(content)
    with pytest.raises(ClassifierError, match=r"best\.safetensors: expected .*Remove checkpoint"):
        Checkpoint(kept, build()).load_best()
