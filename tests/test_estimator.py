"""ImageClassifier among scikit-learn's own tools."""

import copy
import importlib.util
import io
import math
import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from PIL import Image
from samples import mirrored_letters
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning, NotFittedError, SkipTestWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import InputTags, check_array
from sklearn.utils.estimator_checks import check_estimator

import headstart
from headstart.errors import BadImage, DatasetError, RecipeError
from headstart.recipe import load_recipe

EARLY = {"cut": "block1a_project_bn", "size": 64}  # quick to compute


def trains_with_keras(test: Any) -> Any:
    """Needs TensorFlow, which itself uses what NumPy calls outdated."""
    for warning in ("DeprecationWarning", "FutureWarning"):
        test = pytest.mark.filterwarnings(f"ignore::{warning}")(test)
    return pytest.mark.skipif(
        importlib.util.find_spec("tensorflow") is None,
        reason="needs TensorFlow: pip install 'headstart[tensorflow]'",
    )(test)


@pytest.fixture(scope="module")
def paths(tiny: Path) -> list[Path]:
    return sorted(tiny.glob("*/*"))


@pytest.fixture(scope="module")
def labels(paths: list[Path]) -> list[str]:
    return [path.parent.name for path in paths]


@pytest.fixture(scope="module")
def pixels(paths: list[Path]) -> np.ndarray:
    """(N, H, W, 3) uint8"""
    images = []
    for path in paths:
        with Image.open(path) as image:
            images.append(np.asarray(image))
    return np.stack(images)


@pytest.fixture(scope="module")
def fitted(paths: list[Path], labels: list[str]) -> headstart.ImageClassifier:
    return headstart.ImageClassifier(**EARLY).fit(paths, labels)


def test_fit_predict_and_score(paths: list[Path], labels: list[str]) -> None:
    model = headstart.ImageClassifier().fit(paths, labels)
    assert model.score(paths, labels) == 1
    assert list(model.classes_) == ["blue", "red"]
    probabilities = model.predict_proba(paths[:3])
    assert probabilities.shape == (3, 2)
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(3))


def test_columns_of_a_table(paths: list[Path], labels: list[str]) -> None:
    table = {"image": paths, "day": list(range(len(paths)))}
    model = headstart.ImageClassifier(cut="last", size=64).fit(table, labels)
    assert list(model.predict(table)) == labels


# --- scikit-learn's own checks ------------------------------------------------------------


class Painted(headstart.ImageClassifier):
    """Takes the tables of numbers that scikit-learn's checks make: each row painted as stripes."""

    def fit(self, X: Any, y: Any, groups: Any = None) -> "Painted":
        super().fit(paint(X), y, groups)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        return super().predict_proba(paint(X))

    def transform(self, X: Any) -> np.ndarray:
        return super().transform(paint(X))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags = InputTags()
        return tags


def paint(X: Any) -> np.ndarray:
    """(N, D) numbers as (N, 32, 32, 3) uint8."""
    table = check_array(X)
    stripes = np.clip(128 + 24 * table[:, np.arange(32) * table.shape[1] // 32], 0, 255)
    return np.broadcast_to(stripes.astype(np.uint8)[:, None, :, None], (len(table), 32, 32, 3))


NO_COLUMNS = "a picture has pixels, not columns: their number is neither kept nor compared"
DO_NOT_APPLY = {
    "check_n_features_in": NO_COLUMNS,
    "check_n_features_in_after_fitting": NO_COLUMNS,
    "check_classifiers_train": NO_COLUMNS,  # its last line, behind all else that it checks
    "check_transformer_general": NO_COLUMNS,  # so too
}


@pytest.mark.filterwarnings("ignore")  # the checks provoke some
def test_scikit_learns_checks_hold_where_they_make_sense_for_images() -> None:
    model = Painted(cut="block1a_project_bn", size=32)
    results = check_estimator(model, on_fail=None, on_skip=None)
    failed = {r["check_name"]: str(r["exception"]) for r in results if r["status"] == "failed"}
    assert failed.keys() == DO_NOT_APPLY.keys(), failed
    assert "number of features in predict" in failed["check_classifiers_train"]
    assert "number of features in transform" in failed["check_transformer_general"]
    assert sum(result["status"] == "passed" for result in results) > 40


def test_a_table_of_numbers_is_said_not_to_be_taken() -> None:
    with pytest.warns(SkipTestWarning, match="requires input  ?of type"):
        check_estimator(headstart.ImageClassifier())


def test_there_are_no_columns_and_no_sample_weights(
    fitted: headstart.ImageClassifier, paths: list[Path], labels: list[str]
) -> None:
    assert not hasattr(fitted, "n_features_in_")
    assert not hasattr(fitted, "feature_names_in_")
    with pytest.raises(TypeError, match="sample_weight"):
        headstart.ImageClassifier().fit(paths, labels, sample_weight=[1] * len(paths))  # type: ignore[call-arg]


# --- parameters ---------------------------------------------------------------------------


def test_parameters_and_clone() -> None:
    model = headstart.ImageClassifier(
        load_recipe("thorough"), pooling="max", balanced=True, head="auto", budget=5, random_state=3
    )
    assert clone(model).get_params() == model.get_params()
    assert model.set_params(pooling="avg").pooling == "avg"


@pytest.mark.parametrize(
    ("choices", "text"),
    [
        ({"head": "deep"}, "head: expected 'linear', 'neural' or 'auto', found 'deep'"),
        ({"budget": -1}, "budget: expected greater than or equal to 0"),
        ({"random_state": -1}, "seed: expected greater than or equal to 0"),
        ({"random_state": 1, "seed": 1}, "expected random_state or seed, which mean the same"),
        ({"recipe": "slow"}, "no recipe is called 'slow'"),
    ],
)
def test_choices_that_do_not_fit_are_refused_by_fit(
    choices: dict[str, Any], text: str, paths: list[Path], labels: list[str]
) -> None:
    with pytest.raises(RecipeError, match=text):
        headstart.ImageClassifier(**choices).fit(paths, labels)


def test_random_state_is_the_seed(pixels: np.ndarray, labels: list[str]) -> None:
    """Of the views, on which the head depends."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (24, 32, 32, 3), np.uint8)
    kinds = np.arange(24) % 2

    def probabilities(**choices: Any) -> list[list[float]]:
        model = headstart.ImageClassifier(**EARLY, views=2, augmentation="lesson", **choices)
        return model.fit(noise, kinds).predict_proba(noise[:3]).tolist()  # type: ignore[no-any-return]

    one = probabilities(random_state=1)
    assert probabilities(seed=1) == one
    assert probabilities(random_state=np.int64(1)) == one
    assert probabilities(random_state=2) != one
    drawn = probabilities(random_state=np.random.RandomState(0))
    assert probabilities(random_state=np.random.RandomState(0)) == drawn
    assert probabilities() == probabilities(random_state=0)


def test_a_recipe_that_is_wholly_written(
    paths: list[Path], labels: list[str], tmp_path: Path
) -> None:
    recipe = load_recipe(**EARLY, pooling="max")
    (tmp_path / "mine.toml").write_text(recipe.to_toml())
    for given in (recipe, tmp_path / "mine.toml", str(tmp_path / "mine.toml")):
        model = headstart.ImageClassifier(given).fit(paths, labels)
        assert model.classifier_.description["pooling"] == "max"
        assert model.classifier_.description["cuts"] == ["block1a_project_bn"]


# --- heads --------------------------------------------------------------------------------


def lesson(**choices: Any) -> headstart.Recipe:
    """The recipe `classic` on a network that is quick."""
    quick = {"backbone": "efficientnet_lite0", "normalisation": "backbone", "pooling": "avg",
             "layers": ["dense 8 relu", "dropout"], "learning_rate": 1e-2, "epochs": 4}  # fmt: skip
    return load_recipe("classic", **{**EARLY, **quick, **choices})


@trains_with_keras
@pytest.mark.parametrize("ensemble", [False, True])
def test_a_neural_recipe_trains_a_neural_head(
    ensemble: bool, pixels: np.ndarray, labels: list[str]
) -> None:
    views = {"views": 2} if ensemble else {}  # else drawn anew every epoch
    recipe = lesson(ensemble=ensemble, folds=2, **views)
    assert recipe.fresh is not ensemble
    model = headstart.ImageClassifier(recipe).fit(pixels, labels)
    assert [layer.activation for layer in model.classifier_.head.layers] == ["relu", "sigmoid"]
    assert model.score(pixels, labels) > 0.8


@trains_with_keras
def test_the_head_may_be_measured(
    paths: list[Path], labels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from headstart.selection import heads

    candidates = heads.list_candidates

    def two(*arguments: Any) -> Any:
        return [row for row in candidates(*arguments) if row[0] in ("linear", "neural 64")]

    monkeypatch.setattr(heads, "list_candidates", two)
    monkeypatch.setattr(heads, "FOLDS", 2)
    monkeypatch.setattr(heads, "choose_simplest", lambda scores, *_: scores[-1])
    model = headstart.ImageClassifier(head="auto", budget=1e9, **EARLY).fit(paths, labels)
    assert len(model.classifier_.head.layers) > 1
    quick = headstart.ImageClassifier(head="auto", budget=0, **EARLY).fit(paths, labels)
    assert len(quick.classifier_.head.layers) == 1  # there was time for the plain one alone


@trains_with_keras
def test_the_thorough_recipe_is_tuned() -> None:
    pictures, kinds = mirrored_letters(200)
    recipe = load_recipe(
        "thorough", cut="block6d_add", size=64, views=1, augmentation={}, precision="f32",
        boundary="block6a_project_bn", tune_epochs=3, tune_learning_rate=3e-3, batch_size=8,
    )  # fmt: skip
    tuned = headstart.ImageClassifier(recipe).fit(pictures, kinds)
    plain = headstart.ImageClassifier(recipe.changed(finetune=False)).fit(pictures, kinds)
    ours, theirs = tuned.predict_proba(pictures[:8]), plain.predict_proba(pictures[:8])
    assert np.abs(ours - theirs).max() > 1e-3
    extractors = [model.classifier_.description["extractor"] for model in (tuned, plain)]
    assert extractors[0] != extractors[1]
    again = pickle.loads(pickle.dumps(tuned))  # its weights were in a folder that is gone
    assert again.predict_proba(pictures[:8]).tolist() == ours.tolist()


# --- among scikit-learn's tools -----------------------------------------------------------


def test_cross_validation_and_grid_search(paths: list[Path], labels: list[str]) -> None:
    model = headstart.ImageClassifier(**EARLY)
    assert cross_val_score(model, paths, labels, cv=3).mean() > 0.95
    search = GridSearchCV(model, {"pooling": ["avg", "max"]}, cv=2)
    assert search.fit(paths, labels).best_score_ > 0.9


@trains_with_keras
def test_a_grid_of_cuts_and_heads(paths: list[Path], labels: list[str]) -> None:
    recipe = lesson(views=1, augmentation="none", epochs=2)
    grid = [
        {"cut": ["block1a_project_bn", "block2a_project_bn"], "head": ["linear"]},
        {"cut": ["block1a_project_bn"], "head": ["neural"]},
    ]
    search = GridSearchCV(headstart.ImageClassifier(recipe), grid, cv=2)
    search.fit(paths, labels)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert len(search.cv_results_["params"]) == 3
    assert search.best_estimator_.classifier_.description["cuts"] == [search.best_params_["cut"]]


def test_a_grid_of_augmentations(paths: list[Path], labels: list[str]) -> None:
    model = headstart.ImageClassifier(**EARLY, views=2)
    grid = {"augmentation": ["none", "flip", {"rotation": 20}], "head": ["linear"]}
    search = GridSearchCV(model, grid, cv=2).fit(paths, labels)
    assert search.best_score_ > 0.9
    assert len(search.cv_results_["params"]) == 3
    assert search.predict(paths[:2]).tolist() == labels[:2]


def test_features_are_what_the_head_sees(
    fitted: headstart.ImageClassifier, paths: list[Path], labels: list[str], pixels: np.ndarray
) -> None:
    features = fitted.transform(paths)
    head = fitted.classifier_.head
    assert features.dtype == np.float32
    assert features.shape == (48, head.dimensions)
    said = fitted.predict_proba(paths)
    assert head.probabilities(features) == pytest.approx(said, abs=1e-4)
    assert fitted.transform(pixels[0]).shape == (1, head.dimensions)
    assert fitted.transform([]).shape == (0, head.dimensions)
    with pytest.raises(BadImage, match="image 1: "):
        fitted.transform([b"no"])
    with pytest.raises(NotFittedError):
        headstart.ImageClassifier().transform(paths)
    again = headstart.ImageClassifier(**EARLY).fit_transform(paths, labels)
    assert again.tolist() == features.tolist()


def test_in_pipelines_it_is_the_first_step_and_the_last(
    paths: list[Path], pixels: np.ndarray, labels: list[str]
) -> None:
    first = make_pipeline(
        headstart.ImageClassifier(**EARLY), StandardScaler(), LogisticRegression()
    )
    assert first.fit(paths, labels).score(paths, labels) == 1
    last = make_pipeline(FunctionTransformer(half), headstart.ImageClassifier(**EARLY))
    search = GridSearchCV(last, {"imageclassifier__pooling": ["avg", "max"]}, cv=2)
    assert search.fit(pixels, labels).best_score_ > 0.9
    again = pickle.loads(pickle.dumps(search.best_estimator_))
    assert again.predict_proba(pixels).tolist() == search.predict_proba(pixels).tolist()


def half(images: np.ndarray) -> np.ndarray:
    """(N, H, W, 3): the upper halves."""
    return np.ascontiguousarray(images[:, : images.shape[1] // 2])


def test_groups_stay_together(paths: list[Path], labels: list[str]) -> None:
    groups = [str(number // 4) for number in range(len(paths))]
    model = headstart.ImageClassifier(**EARLY)
    assert model.fit(paths, labels, groups).score(paths, labels) == 1
    assert cross_val_score(model, paths, labels, groups=groups, cv=GroupKFold(3)).shape == (3,)
    with pytest.raises(DatasetError, match="expected a group an image, found 1 of 48"):
        model.fit(paths, labels, ["a"])
    with pytest.raises(DatasetError, match="two groups or more, found one"):
        model.fit(paths, labels, ["a"] * len(paths))


def test_a_fitted_one_is_pickled_dumped_and_copied(
    fitted: headstart.ImageClassifier, paths: list[Path], tmp_path: Path
) -> None:
    expected = fitted.predict_proba(paths).tolist()
    joblib.dump(fitted, tmp_path / "model.joblib")
    for again in (
        pickle.loads(pickle.dumps(fitted)),
        pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(fitted)))),
        joblib.load(tmp_path / "model.joblib"),
        copy.deepcopy(fitted),
    ):
        assert again.get_params() == fitted.get_params()
        assert again.predict_proba(paths).tolist() == expected
        assert again.predict(paths[:2]).tolist() == fitted.predict(paths[:2]).tolist()
    unfitted = pickle.loads(pickle.dumps(headstart.ImageClassifier(views=3)))
    assert unfitted.views == 3
    with pytest.raises(NotFittedError):
        unfitted.predict(paths)


def test_a_pickle_holds_the_saved_classifier_and_no_code_of_it(
    fitted: headstart.ImageClassifier,
) -> None:
    assert sorted(fitted.__getstate__()["classifier_"]) == [
        "abstention.safetensors", "classifier.json", "head.safetensors", "model.bin", "model.xml",
    ]  # fmt: skip
    modules = set()

    class Reader(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            modules.add(module.split(".")[0])
            return super().find_class(module, name)

    Reader(io.BytesIO(pickle.dumps(fitted))).load()
    assert modules <= {"headstart", "numpy"}
    damaged = fitted.__getstate__()
    damaged["classifier_"] = {**damaged["classifier_"], "classifier.json": b"{"}
    with pytest.raises(headstart.HeadstartError, match="expected a whole object in JSON, found: "):
        headstart.ImageClassifier().__setstate__(damaged)


# --- what is given ------------------------------------------------------------------------


def test_arrays_and_number_labels(pixels: np.ndarray, labels: list[str]) -> None:
    numbers = np.array([7 if label == "red" else 3 for label in labels])
    model = headstart.ImageClassifier(random_state=1).fit(pixels, numbers)
    assert set(model.predict(pixels)) == {3, 7}
    assert model.score(pixels, numbers) == 1


def test_grey_arrays_bytes_and_pictures(pixels: np.ndarray, labels: list[str]) -> None:
    grey = pixels.mean(axis=3).astype(np.uint8)  # (N, H, W)
    model = headstart.ImageClassifier(**EARLY)
    expected = model.fit(grey, labels).predict_proba(grey)
    assert expected.shape == (48, 2)
    assert model.fit(list(grey), labels).predict_proba(list(grey)).tolist() == expected.tolist()
    files = []
    for row in grey:
        buffer = io.BytesIO()
        Image.fromarray(row).save(buffer, "PNG")
        files.append(memoryview(buffer.getvalue()))
    pictures = [Image.fromarray(row) for row in grey]
    assert model.fit(files, labels).predict_proba(pictures).tolist() == expected.tolist()


def test_one_image_and_folders_are_predicted_too(
    fitted: headstart.ImageClassifier, paths: list[Path], tiny: Path, pixels: np.ndarray
) -> None:
    expected = fitted.predict_proba(paths[:1])
    for one in (paths[0], str(paths[0]), paths[0].read_bytes(), pixels[0]):
        assert fitted.predict_proba(one).tolist() == expected.tolist()
        assert fitted.predict(one).tolist() == ["blue"]
    assert fitted.predict(tiny / "red").tolist() == ["red"] * 24


@pytest.mark.parametrize("wrong", ["photos", Path("photos"), b"photos", 5])
def test_what_is_not_many_images_cannot_be_learned_from(wrong: Any) -> None:
    with pytest.raises(DatasetError, match=r"expected N images to learn from.*headstart\.train"):
        headstart.ImageClassifier().fit(wrong, ["a", "b"])


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (None, "requires y to be passed"),
        (["red", None], "expected a label for each image, found None for image 2"),
        (["red", math.nan], "expected a label for each image, found nan for image 2"),
        ([1.0, math.nan], "found nan for image 2. Leave the image out"),
        (np.array([1.0, np.nan]), "found nan for image 2"),
        (np.array(["a", None], object), "found None for image 2"),
        (["red", {"blue"}], "expected texts or numbers as labels, found set for image 2"),
        ([["red"], ["blue", "red"]], "found list for image 1"),
        (["red", 1], "all texts or all numbers, found both"),
        ([0.5, 1.25], "expected labels that name classes. Unknown label type: continuous"),
        (np.eye(2), "expected one label an image"),
        (["red"], "expected a label an image, found 2 and 1"),
        (["red", "red"], "expected two classes or more, found 1 class"),
        ([], "expected a label an image, found 2 and 0"),
    ],
)
def test_labels_that_cannot_be_learned_are_refused_first(
    labels: Any, text: str, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headstart.estimator._trained", None)  # it does not come to that
    with pytest.raises(DatasetError, match=text):
        headstart.ImageClassifier().fit(paths[:2], labels)


def test_a_column_of_labels_is_taken_with_a_warning(paths: list[Path], labels: list[str]) -> None:
    with pytest.warns(DataConversionWarning):
        model = headstart.ImageClassifier(**EARLY).fit(paths, np.array(labels)[:, None])
    assert model.classes_.tolist() == ["blue", "red"]


@pytest.mark.parametrize("kind", [int, float, bool])
def test_labels_come_back_as_they_were(kind: type, paths: list[Path], labels: list[str]) -> None:
    given = [kind(label == "red") for label in labels]
    model = headstart.ImageClassifier(**EARLY).fit(paths, given)
    assert model.classes_.tolist() == [kind(0), kind(1)]
    assert model.predict(paths).tolist() == given


def test_a_class_may_be_called_anything(paths: list[Path], labels: list[str]) -> None:
    given = ["a;b" if label == "red" else "" for label in labels]
    model = headstart.ImageClassifier(**EARLY).fit(paths, given)
    assert set(model.predict(paths)) == {"a;b", ""}


def test_a_bad_image_is_named(paths: list[Path], labels: list[str], tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no")
    with pytest.raises(BadImage, match=r"bad\.jpg: not an image[^.]*$"):
        headstart.ImageClassifier().fit([*paths, tmp_path / "bad.jpg"], [*labels, "red"])
    with pytest.raises(BadImage, match="image 1: expected an array of shape"):
        headstart.ImageClassifier().fit(np.zeros((2, 5), np.uint8), ["a", "b"])


def test_predicting_before_fitting_is_refused(paths: list[Path]) -> None:
    with pytest.raises(NotFittedError):
        headstart.ImageClassifier().predict(paths)


def test_images_that_look_different_are_different() -> None:
    from headstart.estimator import _item

    def content(image: Any) -> bytes:
        return _item(image, 0, "a", None).content_hash

    indices = np.zeros((8, 8), np.uint8)
    painted = []
    for colour in ((255, 0, 0), (0, 0, 255)):
        image = Image.new("P", (8, 8))
        image.putpalette(list(colour) * 256)
        painted.append(content(image))
    assert painted[0] != painted[1]
    assert content(indices) == content(np.stack([indices] * 3, 2))
    assert content(indices.astype(float))  # unusable, and told so later
