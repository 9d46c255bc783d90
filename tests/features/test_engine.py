"""Writing models: an error with the place and the room it needs, whatever OpenVINO says."""

import errno
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from headstart.errors import StorageError
from headstart.features import engine


def small_model() -> object:
    import openvino
    from openvino import opset13 as op

    image = op.parameter([1, 4], np.float32)
    return openvino.Model([op.add(image, op.constant(np.ones((1, 4), "f4")))], [image], "small")


def test_a_model_is_written_and_its_constants_are_listed(tmp_path: Path) -> None:
    engine.save_model(small_model(), tmp_path / "model.xml")
    model = engine.core().read_model(str(tmp_path / "model.xml"))
    ((_, node),) = engine.list_constants(model)
    assert node.data.tolist() == [[1, 1, 1, 1]]


@pytest.mark.parametrize(
    ("free", "number"), [(15, errno.ENOSPC), (500, errno.ENOSPC), (10**9, errno.EIO)]
)
def test_what_cannot_be_written_is_told_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, number: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("basic_ios::clear: iostream error")

    monkeypatch.setattr("openvino.save_model", refuse)
    monkeypatch.setattr(engine.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    with pytest.raises(
        StorageError, match=r"expected to write .*model\.xml \(at least 0\.1 MB\)"
    ) as caught:
        engine.save_model(small_model(), tmp_path / "model.xml")
    assert caught.value.errno == number
