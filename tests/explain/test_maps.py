"""Maps of trained classifiers: every pooling, several cuts, several classes, heads of all kinds."""

import importlib.util
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headstart
from headstart.errors import ClassifierError
from headstart.explain.maps import Explainer, Explanation, maps
from headstart.heads.head import Dense, Head
from headstart.images.geometry import Geometry

OLD = Path(__file__).parents[1] / "data_of_old_runs" / "0.1.0"
SMALL: dict[str, Any] = {"size": 64, "precision": "f32"}
CUTS = ["block1a_project_bn:avg", "block3a_project_bn:grid", "block2a_project_bn:avg+max"]

needs_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None,
    reason="needs TensorFlow: pip install 'headstart[tensorflow]'",
)


@pytest.fixture(scope="module")
def old_photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    with zipfile.ZipFile(OLD / "photos.zip") as packed:
        packed.extractall(folder)
    return sorted(folder.rglob("*.png"))[::8]


def check(classifier: headstart.Classifier, explained: list[Explanation]) -> None:
    """The maps are exact, and of what the classifier says without them."""
    for one in explained:
        evidence = one.evidence
        assert evidence is not None
        assert evidence.exact
        assert evidence.difference is not None
        assert abs(evidence.difference) < 1e-4 * max(1, abs(evidence.logit))
        assert 1 / (1 + np.exp(-evidence.logit)) == pytest.approx(evidence.probability, abs=1e-5)
        shape = classifier.geometry.height, classifier.geometry.width
        assert evidence.values.shape == shape
        assert one.prediction.probabilities[evidence.label] == evidence.probability


@pytest.mark.parametrize("cut", [["block1a_project_bn:flatten"], ["block5a_project_bn:max"], CUTS])
def test_it_adds_up_for_every_pooling(cut: list[str], tiny: Path, tmp_path: Path) -> None:
    classifier = headstart.train(tiny, out=tmp_path / "run", cut=cut, **SMALL).classifier
    items = sorted(tiny.rglob("*.png"))[:4]
    explained = list(maps(classifier, items))
    check(classifier, explained)
    assert [one.prediction for one in explained] == classifier.predict(items)


@pytest.mark.parametrize("name", ["linear", "several_classes"])
def test_runs_of_old_are_explained(name: str, old_photos: list[Path]) -> None:
    classifier = headstart.load(OLD / name)
    explained = list(maps(classifier, old_photos))
    check(classifier, explained)
    predictions = classifier.predict(old_photos)
    assert [one.prediction.probabilities for one in explained] == [
        prediction.probabilities for prediction in predictions
    ]


def test_an_old_neural_head_is_asked_again_with_places_hidden(old_photos: list[Path]) -> None:
    classifier = headstart.load(OLD / "neural")
    for one in maps(classifier, old_photos):
        assert one.evidence is not None
        assert not one.evidence.exact
        assert one.evidence.difference is None
        assert one.evidence.total == pytest.approx(one.evidence.logit, abs=1e-4)
        assert one.evidence.values.std() > 0


def test_another_class_may_be_asked_for(old_photos: list[Path]) -> None:
    explainer = Explainer(headstart.load(OLD / "linear"))
    disc, plain = (
        [e.evidence for e in explainer.explain(old_photos, [name] * len(old_photos))]
        for name in ("disc", "plain")
    )
    for one, other in zip(disc, plain, strict=True):
        assert one is not None
        assert other is not None
        # Of two classes, what speaks for the one speaks against the other.
        assert one.values == pytest.approx(-other.values, abs=1e-6)


@pytest.mark.parametrize(
    ("width", "reason"),
    [(3, "whose features have places in the image, found pool, which has none"),
     (4, "a head for the 3 features of its network, found one for 4")],
)  # fmt: skip
def test_what_cannot_be_explained_is_refused(width: int, reason: str) -> None:
    import openvino
    from openvino import opset13 as op

    image = op.parameter([1, 2, 2, 3], np.uint8)
    vector = op.reduce_mean(op.convert(image, "f32"), op.constant(np.array([1, 2])), False)
    features = op.reshape(vector, op.constant(np.array([1, -1])), False)
    features.output(0).tensor.set_names({"features"})
    model = openvino.Model([op.softmax(features, 1).output(0)], [image], "classifier")
    head = Head((Dense(np.zeros((width, 2), "f4"), np.zeros(2, "f4"), "softmax"),))
    about = {"cuts": ["pool"], "pooling": "avg"}
    classifier = headstart.Classifier(["a", "b"], Geometry(2, 2), "f32", head, model, about)
    with pytest.raises(ClassifierError, match=reason):
        Explainer(classifier)


def test_what_cannot_be_read_has_a_reason_and_its_place(
    old_photos: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no")
    sources: list[Any] = [tmp_path / "bad.jpg", *old_photos[:3], tmp_path / "bad.jpg"]
    explained = list(maps(headstart.load(OLD / "linear"), sources, ["disc"] * 5))
    assert [one.evidence is None for one in explained] == [True, False, False, False, True]
    assert "not an image" in str(explained[0].prediction.error)
    assert list(maps(headstart.load(OLD / "linear"), [])) == []
