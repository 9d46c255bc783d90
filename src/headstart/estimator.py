"""headstart as a scikit-learn estimator."""

import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from headstart.classifier import Classifier, assemble, load
from headstart.data.dataset import Dataset
from headstart.data.frames import is_table, list_images
from headstart.data.item import Item, content_hash
from headstart.errors import BadImage, DatasetError, RecipeError
from headstart.heads.fit import Trained
from headstart.images.augment import Augmentation
from headstart.images.decode import from_pixels
from headstart.images.geometry import Geometry, prepare, prepare_pixels
from headstart.metrics.task import SingleLabel
from headstart.recipe import Pooling, Recipe, load_recipe
from headstart.runs import record, steps
from headstart.system.progress import Silent

CHANNELS = (1, 3, 4)  # of an array's last axis, where it is colours


class ImageClassifier(ClassifierMixin, TransformerMixin, BaseEstimator):
    """An image classifier with scikit-learn's interface.

    recipe: a name, a TOML file or a Recipe. The other parameters are choices of it; None leaves
    the recipe's own. random_state: its seed, as an int or as scikit-learn's generators give one;
    `seed`, the recipe's word for it, is taken too. budget: seconds that measuring what is left open
    may take.

    X is a sequence of paths, bytes, PIL images or uint8 arrays, one (N, H, W, 3) uint8 array, or a
    data frame or data set with a column `image` or `path`; y the N labels, texts or numbers.
    Features are cached, so cross-validation and grid search see each image once. There are no
    sample weights, and no columns: `n_features_in_` is not set.

    classes_: (C,) the labels, sorted. classifier_: the Classifier, to save or to predict with
    elsewhere. A fitted estimator can be pickled and copied: it travels as the files of a saved
    classifier.

    >>> paths = sorted(Path("photos").glob("*/*"))
    >>> labels = [path.parent.name for path in paths]
    >>> model = headstart.ImageClassifier(cut="last", random_state=0).fit(paths, labels)
    >>> model.score(paths, labels), model.transform(paths).shape
    (1.0, (48, 1280))
    """

    classes_: np.ndarray
    classifier_: Classifier

    def __init__(
        self,
        recipe: str | Path | Recipe = "quick",
        *,
        backbone: str | None = None,
        weights: str | None = None,
        cut: str | Sequence[str] | None = None,
        pooling: Pooling | None = None,
        size: int | None = None,
        views: int | Literal["fresh"] | None = None,
        augmentation: str | Mapping[str, Any] | Augmentation | None = None,
        balanced: bool | None = None,
        precision: Literal["auto", "f32", "bf16", "int8"] | None = None,
        head: Literal["linear", "neural", "auto"] | None = None,
        budget: float | None = None,
        random_state: Any = None,
        seed: int | None = None,
    ) -> None:
        self.recipe = recipe
        self.backbone = backbone
        self.weights = weights
        self.cut = cut
        self.pooling = pooling
        self.size = size
        self.views = views
        self.augmentation = augmentation
        self.balanced = balanced
        self.precision = precision
        self.head = head
        self.budget = budget
        self.random_state = random_state
        self.seed = seed

    def fit(
        self, X: Any, y: Sequence[Any], groups: Sequence[Any] | None = None
    ) -> "ImageClassifier":
        """Train on N images and their N labels.

        Images of one of the (N,) `groups` are never on both sides of a fold. Raises BadImage,
        naming the image, RecipeError for choices that do not fit, MissingExtra where they need
        Keras and there is none, or DatasetError for labels that are missing or of fewer than two
        classes and for lengths that differ.
        """
        recipe = self._chosen()
        images, labels = _images(X), _labels(y)
        if len(images) != len(labels):
            raise DatasetError(f"expected a label an image, found {len(images)} and {len(labels)}")
        if groups is not None and len(groups) != len(images):
            raise DatasetError(f"expected a group an image, found {len(groups)} of {len(images)}")
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise DatasetError(f"expected two classes or more, found {len(self.classes_)} class")
        names = tuple(str(name) for name in self.classes_)
        kin = [None] * len(images) if groups is None else [str(group) for group in groups]
        items = tuple(
            _item(image, index, names[number], group)
            for index, (image, number, group) in enumerate(zip(images, numbers, kin, strict=True))
        )
        self.classifier_ = _trained(Dataset(items, SingleLabel(names)), recipe)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """(N,) labels, as given to `fit`."""
        probabilities = self.predict_proba(X)
        labels: np.ndarray = self.classes_[probabilities.argmax(axis=1)]
        return labels

    def predict_proba(self, X: Any) -> np.ndarray:
        """(N, C) probabilities, columns in the order of `classes_`.

        X: as for `fit`, or one image, a folder or an archive. Raises BadImage, naming the image.
        """
        check_is_fitted(self, "classifier_")
        return self.classifier_.predict_proba(_given(X))

    def transform(self, X: Any) -> np.ndarray:
        """(N, D) float32 features, what the network says of each image before the head: for other
        estimators to go on with.

        X and errors as of `predict_proba`.
        """
        check_is_fitted(self, "classifier_")
        return self.classifier_.extract_features(_given(X))

    def _chosen(self) -> Recipe:
        choices = {k: v for k, v in self.get_params(deep=False).items() if v is not None}
        recipe, state = choices.pop("recipe"), choices.pop("random_state", None)
        if state is not None and "seed" in choices:
            raise RecipeError("expected random_state or seed, which mean the same, found both")
        if isinstance(state, int | np.integer):
            choices["seed"] = int(state)
        elif state is not None:
            choices["seed"] = int(check_random_state(state).randint(2**31))
        return load_recipe(recipe, **choices)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True  # of paths or images
        tags.input_tags.two_d_array = False  # no table of numbers
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []  # images in, float32 out
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """The parameters, and of the classifier the files that `Classifier.save` writes."""
        state = dict(super().__getstate__())
        if "classifier_" in state:
            with tempfile.TemporaryDirectory() as scratch:
                folder = state["classifier_"].save(Path(scratch) / "classifier")
                state["classifier_"] = {f.name: f.read_bytes() for f in sorted(folder.iterdir())}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Read back what `__getstate__` gave. Raises ClassifierError if it is damaged."""
        files = state.get("classifier_")
        if files is not None:
            with tempfile.TemporaryDirectory() as scratch:
                for name, content in files.items():
                    (Path(scratch) / name).write_bytes(content)
                state = {**state, "classifier_": load(scratch)}
        super().__setstate__(state)


def _trained(dataset: Dataset, recipe: Recipe) -> Classifier:
    """The steps of a training with nothing kept but the classifier; no image is left out."""
    silent = Silent()
    steps.check_suits(dataset.task, recipe)
    recipe = steps.choose_cut(dataset, recipe, silent).recipe
    try:
        inputs = steps.prepare(dataset, recipe, silent, strict=True)
    except BadImage as error:  # which speaks of an option that there is not here
        raise BadImage(error.reason.partition(". Without --strict")[0]) from None
    inputs, _ = steps.choose_head(inputs, silent)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        trained = steps.train_head(inputs, folder, silent, resumed=False, callbacks=())
        tuning = steps.tune(inputs, folder, silent, resumed=False)
        if tuning is not None and tuning.head is not None:
            extractor = steps.build_extractor(tuning.recipe, silent)
            inputs = replace(inputs, recipe=tuning.recipe, extractor=extractor)
            trained = Trained(tuning.head, tuned=True)
        description = record.describe(inputs, trained)
        doubts = steps.learn_abstention(inputs, trained, silent)
        return assemble(
            inputs.extractor, trained.head, dataset.classes, description, doubts.abstention
        )


@dataclass(frozen=True)
class _Picture(Item):
    """An image given in memory, as bytes or pixels, in the place of a file."""

    image: Any = field(default=None, compare=False)

    def prepare(self, geometry: Geometry) -> np.ndarray:
        """The network's input (height, width, 3) uint8. Raises BadImage."""
        if isinstance(self.image, bytes):
            return prepare(self.image, geometry)
        return prepare_pixels(self.image, geometry)

    @cached_property
    def content_hash(self) -> bytes:
        """16 bytes of the pixels as they are looked at: upright, with palette and transparency."""
        if isinstance(self.image, bytes):
            return content_hash(self.image)
        try:
            pixels = from_pixels(self.image)
        except BadImage as reason:  # named where the features are computed
            return content_hash(f"unusable {self.name} {reason}".encode())
        return content_hash(f"pixels {pixels.shape}".encode() + pixels.tobytes())


def _item(image: Any, index: int, label: str, group: str | None) -> Item:
    if isinstance(image, str | Path):
        return Item(Path(image), str(image), (label,), "train", group)
    if isinstance(image, bytearray | memoryview):
        image = bytes(image)
    name = f"image {index + 1}"
    return _Picture(Path(name), name, (label,), "train", group, image=image)


def _images(X: Any) -> list[Any]:
    """The N images that X stands for; of an array with colours by itself, that one."""
    if isinstance(X, np.ndarray) and X.ndim == 3 and X.shape[2] in CHANNELS:
        return [X]
    if isinstance(X, str | Path | bytes | bytearray | memoryview) or not isinstance(X, Iterable):
        what = repr(X) if isinstance(X, str | Path) else f"one {type(X).__name__}"
        raise DatasetError(
            f"expected N images to learn from, in a list or an array, found {what}. "
            "For a folder with a folder for each class: headstart.train(FOLDER)"
        )
    return list_images(X) if is_table(X) else list(X)


def _given(X: Any) -> Any:
    """What is predicted: an array as its N images, all else as it is."""
    array = isinstance(X, np.ndarray) and X.dtype.kind not in "OUST"
    return _images(X) if array else X


def _labels(y: Any) -> np.ndarray:
    """(N,) labels, none missing, all texts or all numbers. Raises DatasetError."""
    if y is None:
        raise DatasetError(
            "ImageClassifier requires y to be passed, but the target y is None: expected a label "
            "for each image"
        )
    labels = np.asarray(y) if hasattr(y, "__array__") else y  # lists stay: NumPy makes nan a text
    if isinstance(labels, np.ndarray):
        try:
            labels = column_or_1d(labels, warn=True).tolist()
        except ValueError as error:
            raise DatasetError(f"expected one label an image: {error}") from error
    values = list(labels)
    for number, value in enumerate(values, 1):
        if value is None or (isinstance(value, float) and math.isnan(value)):
            raise DatasetError(
                f"expected a label for each image, found {value} for image {number}. "
                "Leave the image out, or say what it shows"
            )
        if not isinstance(value, str | int | float | np.number | np.bool_):
            raise DatasetError(
                f"expected texts or numbers as labels, found {type(value).__name__} for image "
                f"{number}. Give each class a name"
            )
    if len({isinstance(value, str) for value in values}) > 1:
        raise DatasetError(
            "expected labels that are all texts or all numbers, found both. "
            "Type: [str(label) for label in y]"
        )
    try:
        check_classification_targets(np.asarray(values))
    except ValueError as error:  # fractions are no classes
        raise DatasetError(f"expected labels that name classes. {error}") from error
    return np.asarray(values)
