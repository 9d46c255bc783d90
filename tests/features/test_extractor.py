"""Extractors: the same numbers as Keras, several cuts in one pass, frozen."""

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from headstart.backbones.cut import Cut
from headstart.errors import BackboneError, WeightsError
from headstart.features.cost import count_costs, measure_speeds
from headstart.features.extractor import layers, open_extractor
from headstart.recipe import load_recipe

IMAGE = np.random.default_rng(0).integers(0, 256, (150, 150, 3), dtype=np.uint8)

KERAS = """
import json, sys
import numpy as np
request = json.loads(sys.argv[1])
import keras
from headstart.backbones.keras_builder import keras_backbone
model = keras_backbone(request["backbone"], request["size"], request["weights"], request["kind"])
inner = keras.Model(model.input, [model.get_layer(cut).output for cut in request["cuts"]])
pixels = np.load(request["image"]).astype("float32")[None]
pixels = (pixels - np.array(request["mean"])) / np.array(request["std"])
if request.get("bgr"):
    pixels = pixels[..., ::-1]
outputs = inner.predict(pixels.astype("float32"), verbose=0)
outputs = outputs if isinstance(outputs, list) else [outputs]
np.savez(request["target"], *outputs)
"""


def keras_maps(tmp_path: Path, **request: object) -> list[np.ndarray]:
    """What Keras itself says, on TensorFlow: another engine than ours."""
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("needs TensorFlow: pip install 'headstart[tensorflow]'")
    np.save(tmp_path / "image.npy", IMAGE)
    request |= {"image": str(tmp_path / "image.npy"), "target": str(tmp_path / "maps.npz")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KERAS, json.dumps(request)],
        env={**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(tmp_path / "maps.npz") as maps:
        return list(maps.values())


def relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


@pytest.fixture(scope="module")
def inception_maps(
    inception_weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[np.ndarray]:
    return keras_maps(
        tmp_path_factory.mktemp("keras"), backbone="inception_v3", size=150,
        weights=str(inception_weights), kind="file", cuts=["mixed3", "mixed7"],
        mean=127.5, std=127.5,
    )  # fmt: skip


@pytest.mark.parametrize(("precision", "tolerance"), [("f32", 1e-4), ("bf16", 2e-2)])
def test_inception_equals_keras(
    inception_weights: Path, inception_maps: list[np.ndarray], precision: str, tolerance: float
) -> None:
    if precision == "bf16":
        from headstart.features.engine import core

        if "BF16" not in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            pytest.skip("this processor does not compute in bf16")
    recipe = load_recipe(
        backbone="inception_v3", weights=str(inception_weights), size=150, cut="mixed3+mixed7",
        precision=precision,
    )  # fmt: skip
    extractor = open_extractor(recipe)
    assert extractor.cuts == (Cut("mixed3"), Cut("mixed7"))
    assert extractor.dimensions == 768 + 768
    (features,) = extractor.run([IMAGE])
    for cut, theirs in zip(extractor.cuts, inception_maps, strict=True):
        assert relative(features[extractor.slices[cut]], theirs.mean((1, 2))[0]) < tolerance


def test_flatten_has_the_order_of_keras(
    inception_weights: Path, inception_maps: list[np.ndarray]
) -> None:
    recipe = load_recipe(
        backbone="inception_v3", weights=str(inception_weights), size=150, cut="mixed7",
        pooling="flatten", precision="f32",
    )  # fmt: skip
    (features,) = open_extractor(recipe).run([IMAGE])
    assert features.shape == (7 * 7 * 768,)
    assert relative(features, inception_maps[1].reshape(-1)) < 1e-4


def test_the_bundled_backbone_equals_its_keras_model(tmp_path: Path) -> None:
    from headstart.backbones.catalogue import backbone
    from headstart.backbones.weights import resolve

    path = resolve(backbone("efficientnet_lite0")).path
    maps = keras_maps(
        tmp_path, backbone="efficientnet_lite0", size=150, weights=str(path), kind="package",
        cuts=["block3b_add", "top_relu"], mean=127.0, std=128.0,
    )  # fmt: skip
    recipe = load_recipe(size=150, cut="block3b_add+top_relu", precision="f32", pooling="max")
    (features,) = open_extractor(recipe).run([IMAGE])
    assert relative(features[:40], maps[0].max((1, 2))[0]) < 1e-4
    assert relative(features[40:], maps[1].max((1, 2))[0]) < 1e-4


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "densenet121", "efficientnet_b0"])
def test_every_kind_of_application_can_be_built(name: str) -> None:
    extractor = open_extractor(load_recipe(backbone=name, weights="none", size=64))
    (features,) = extractor.run([IMAGE[:64, :64]])
    assert features.shape == (extractor.dimensions,)
    assert np.isfinite(features).all()


def test_an_extractor_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe(backbone="mobilenet_v3_small", weights="none", size=64)
    first = open_extractor(recipe)
    monkeypatch.setattr(
        "headstart.features.graph.in_child", lambda request: pytest.fail("built again")
    )
    again = open_extractor(recipe)
    assert again.fingerprint == first.fingerprint
    assert np.array_equal(again.canary(), first.canary())


def test_frozen_means_frozen() -> None:
    """Nothing in the compiled network can hold state, and running it changes no file, no number."""
    import openvino

    extractor = open_extractor(load_recipe())
    assert extractor.model is not None
    graph = openvino.Core().read_model(extractor.model)
    kinds = {node.get_type_name() for node in graph.get_ops()}
    assert not kinds & {"Assign", "ReadValue", "BatchNormInference"}
    assert not graph.get_variables()

    def digest() -> str:
        assert extractor.model is not None
        return hashlib.sha256(extractor.model.with_suffix(".bin").read_bytes()).hexdigest()

    before, canary = digest(), extractor.canary()
    rng = np.random.default_rng(0)
    images = (rng.integers(0, 256, (224, 224, 3), dtype=np.uint8) for _ in range(30))
    assert len(list(extractor.run(images))) == 30
    assert digest() == before
    assert np.array_equal(extractor.canary(), canary)


def test_an_image_does_not_depend_on_its_neighbours() -> None:
    extractor = open_extractor(load_recipe())
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (224, 224, 3), dtype=np.uint8) for _ in range(9)]
    together = list(extractor.run(images))
    for image, features in zip(images, together, strict=True):
        (alone,) = extractor.run([image])
        assert np.array_equal(alone, features)


def test_what_shapes_the_numbers_shapes_the_fingerprint() -> None:
    base = load_recipe(backbone="mobilenet_v3_small", weights="none", size=64, precision="f32")
    prints = [
        open_extractor(recipe).fingerprint
        for recipe in (
            base,
            base.changed(size=96),
            base.changed(resize="pad"),
            base.changed(interpolation="nearest"),
            base.changed(pooling="max"),
            base.changed(normalisation="0..1"),
        )
    ]
    assert len(set(prints)) == len(prints)


def test_an_unknown_cut_names_the_near_ones() -> None:
    with pytest.raises(BackboneError, match="Near: block5c_add"):
        open_extractor(load_recipe(cut="block5c_ad"))
    with pytest.raises(BackboneError, match="no layer called 'nothing'"):
        open_extractor(
            load_recipe(backbone="mobilenet_v3_small", weights="none", size=64, cut="nothing")
        )


def test_images_too_small_for_the_backbone() -> None:
    with pytest.raises(BackboneError, match="at least 75 pixels, found 64"):
        open_extractor(load_recipe(backbone="inception_v3", weights="none", size=64))


def test_weights_of_another_network_name_layer_and_shapes(inception_weights: Path) -> None:
    recipe = load_recipe(backbone="vgg16", weights=str(inception_weights), size=64)
    with pytest.raises(WeightsError) as caught:
        open_extractor(recipe)
    text = str(caught.value)
    assert "layer 'block1_conv1' expects" in text
    assert "(3, 3, 3, 64)" in text
    assert "(3, 3, 3, 32)" in text


def test_a_file_that_is_no_hdf5(tmp_path: Path) -> None:
    (tmp_path / "w.h5").write_bytes(b"hello")
    with pytest.raises(
        WeightsError, match=r"w.h5: expected .* fit vgg16, found: .*Type: --weights"
    ):
        open_extractor(load_recipe(backbone="vgg16", weights=str(tmp_path / "w.h5"), size=64))


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_weights_saved_by_todays_keras(tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"mobile{suffix}"
    program = f"""
import keras
keras.utils.set_random_seed(3)
build = keras.applications.MobileNetV3Small
model = build(include_top=False, weights=None, input_shape=(64, 64, 3))
model.{"save_weights" if "weights" in suffix else "save"}({str(target)!r})
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env={**os.environ, "KERAS_BACKEND": "openvino"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-1000:]
    base = load_recipe(backbone="mobilenet_v3_small", size=64, precision="f32")
    loaded = open_extractor(base.changed(weights=str(target)))
    random = open_extractor(base.changed(weights="none"))
    assert np.isfinite(loaded.canary()).all()
    assert relative(loaded.canary(), random.canary()) > 0.1
    if suffix == ".weights.h5":
        _spoil(target)
        with pytest.raises(WeightsError, match=r"finite weights of mobilenet_v3_small in .*, found "
                           r"nan or infinity in .*--weights FILE"):  # fmt: skip
            open_extractor(base.changed(weights=str(target)))


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"module": "os", "class_name": "system"}, "'system' of 'os'"),
        ({"module": "keras.utils", "class_name": "get_file"}, "'get_file' of 'keras.utils'"),
        ({"module": "builtins", "class_name": "function"}, "'function' of 'builtins'"),
        ({"module": "keras.layers", "class_name": "Lambda"}, "'Lambda' of 'keras.layers'"),
        ({"class_name": "__lambda__"}, "'__lambda__' of None"),
    ],
)
def test_a_saved_model_that_describes_a_program_is_not_opened(
    tmp_path: Path, changes: dict[str, str], found: str
) -> None:
    target = tmp_path / "model.keras"
    layer = {"module": "keras.layers", "class_name": "Dense", "config": {"units": [changes]}}
    config = {"module": "keras.models", "class_name": "Sequential", "config": {"layers": [layer]}}
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("metadata.json", '{"keras_version": "3.9.0"}')
    with pytest.raises(
        WeightsError, match=f"Keras' own in .*model.keras, found {re.escape(found)}"
    ):
        open_extractor(load_recipe(backbone="mobilenet_v3_small", weights=str(target), size=64))


def _spoil(file: Path) -> None:
    """A nan in one kernel, which a network with ReLUs does not show."""
    import h5py

    kernels = []
    with h5py.File(file, "r+") as weights:
        weights.visititems(
            lambda _, node: kernels.append(node) if getattr(node, "ndim", 0) == 4 else None
        )
        kernels[0][0, 0, 0, 0] = np.nan


def test_wide_maps_near_the_input_can_be_cuts_but_are_not_measured() -> None:
    by_name = {layer.name: layer for layer in layers(load_recipe("quick", size=90))}
    assert not by_name["block2b_depthwise_relu"].candidate
    assert by_name["block2b_add"].candidate
    assert by_name["block3a_depthwise_relu"].candidate  # 12 of 90 pixels, rounded up
    wide = open_extractor(load_recipe("quick", size=90, cut="block2b_depthwise_relu"))
    assert wide.dimensions == 144


def test_layers_are_listed_with_shapes_and_candidates() -> None:
    by_name = {
        layer.name: layer for layer in layers(load_recipe(backbone="inception_v3", size=150))
    }
    assert by_name["mixed7"].shape == (7, 7, 768)
    assert by_name["mixed7"].candidate
    assert not by_name["conv2d"].candidate
    assert sum(layer.candidate for layer in by_name.values()) == 11


@pytest.mark.parametrize("side", [96, 64])
def test_each_cut_may_have_a_pooling_of_its_own(side: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)

    def features(cut: str) -> np.ndarray:
        recipe = load_recipe("quick", cut=cut, size=side, precision="f32")
        (vector,) = open_extractor(recipe).run([image])
        return vector

    layer = "block5c_add"
    height = -(-side // 16)
    whole = features(f"{layer}:flatten").reshape(height, height, -1)
    half, half_up = height // 2, (height + 1) // 2
    fields = [slice(0, half_up), slice(half, half + half_up)]
    grid = np.stack([whole[a, b].mean(axis=(0, 1)) for a in fields for b in fields])
    assert features(f"{layer}:grid") == pytest.approx(grid.ravel(), abs=1e-4)
    both = features(f"{layer}:grid+{layer}:max")
    assert both[len(grid.ravel()) :] == pytest.approx(whole.max(axis=(0, 1)), abs=1e-4)
    opened = open_extractor(load_recipe("quick", cut=f"{layer}:grid+last:max", size=side))
    assert opened.cuts == (Cut(layer, "grid"), Cut("top_relu", "max"))


def test_multiplications_are_counted_up_to_each_cut() -> None:
    cuts = ["block1a_project_bn", "block6d_add", "last:avg", "last:max"]
    shares = count_costs(open_extractor(load_recipe("quick", cut=cuts, size=64)))
    assert list(shares.values()) == sorted(shares.values())
    assert shares[Cut("top_relu", "avg")] == shares[Cut("top_relu", "max")] == 1
    # 64 pixels: stem 32*32*32 outputs of 27, depthwise 32*32*32 of 9, pointwise 32*32*16 of 32
    early = 32 * 32 * (32 * 27 + 32 * 9 + 16 * 32)
    alone = count_costs(open_extractor(load_recipe("quick", cut=cuts[0], size=64)))
    assert alone == {Cut("block1a_project_bn"): 1}
    total = early / shares[Cut("block1a_project_bn")]
    assert total == pytest.approx(0.4e9 * (64 / 224) ** 2, rel=0.1)  # 0.4 billion are published


def test_the_speed_of_each_cut_is_measured_without_what_lies_behind() -> None:
    recipe = load_recipe("quick", cut="block1a_project_bn:avg+last:avg+last:max", size=96)
    rates = measure_speeds(open_extractor(recipe), seconds=0.05)
    assert list(map(str, rates)) == ["block1a_project_bn:avg", "top_relu:avg", "top_relu:max"]
    assert rates[Cut("block1a_project_bn", "avg")] > 1.5 * rates[Cut("top_relu", "avg")]
