"""headstart as a scikit-learn estimator."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from headstart.classifier import assemble
from headstart.data.item import Item, content_hash
from headstart.errors import BadImage, DatasetError
from headstart.features.extract import extract_features
from headstart.features.extractor import open_extractor
from headstart.heads.examples import Labels
from headstart.heads.fit import fit_linear
from headstart.images.augment import Augmentation
from headstart.images.decode import from_pixels
from headstart.images.geometry import Geometry, prepare, prepare_pixels
from headstart.metrics.task import SingleLabel
from headstart.recipe import load_recipe
from headstart.selection.cuts import select
from headstart.system.progress import Silent


@dataclass(frozen=True)
class _Given:
    """An image given in memory, as the features expect an item of a dataset."""

    image: Any
    name: str

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


class ImageClassifier(ClassifierMixin, BaseEstimator):
    """An image classifier with scikit-learn's interface.

    Parameters are choices of the recipe; None leaves the recipe's own. X is a sequence of paths,
    bytes, PIL images or uint8 arrays, or one (N, H, W, 3) uint8 array; y the N labels. Features
    are cached, so cross-validation and grid search see each image once.
    """

    def __init__(
        self,
        recipe: str = "quick",
        *,
        backbone: str | None = None,
        weights: str | None = None,
        cut: str | None = None,
        pooling: str | None = None,
        size: int | None = None,
        views: int | None = None,
        augmentation: str | Augmentation | None = None,
        balanced: bool | None = None,
        precision: str | None = None,
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
        self.seed = seed

    def fit(
        self, X: Any, y: Sequence[Any], groups: Sequence[Any] | None = None
    ) -> "ImageClassifier":
        """Train on N images and their N labels.

        Images of one of the (N,) `groups` are never on both sides of a fold. Raises BadImage,
        naming the image, or DatasetError for fewer than two classes or lengths that differ.
        """
        choices = {k: v for k, v in self.get_params().items() if v is not None and k != "recipe"}
        recipe = load_recipe(self.recipe, **choices)
        items = [_item(image, index) for index, image in enumerate(X)]
        answers = np.asarray(y)
        if len(items) != len(answers):
            raise DatasetError(f"expected a label an image, found {len(items)} and {len(answers)}")
        self.classes_, numbers = np.unique(answers, return_inverse=True)
        if len(self.classes_) < 2:
            raise DatasetError(f"expected two classes or more, found {len(self.classes_)}")
        kin = None if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
        names = tuple(str(name) for name in self.classes_)
        labels = Labels(
            targets=numbers, task=SingleLabel(names), groups=kin, balanced=recipe.balanced
        )
        recipe = select(items, labels, recipe, Silent()).recipe
        extractor = open_extractor(recipe)
        features = extract_features(items, extractor, recipe)
        if features.bad:
            item, reason = features.bad[0]
            raise BadImage(f"{item.name}: {reason}")
        trained = fit_linear(labels.with_features(features.values), recipe)
        self.classifier_ = assemble(extractor, trained.head, names, {"backbone": recipe.backbone})
        return self

    def predict(self, X: Any) -> np.ndarray:
        """(N,) labels, as given to `fit`."""
        probabilities = self.predict_proba(X)
        labels: np.ndarray = self.classes_[probabilities.argmax(axis=1)]
        return labels

    def predict_proba(self, X: Any) -> np.ndarray:
        """(N, C) probabilities, columns in the order of `classes_`."""
        check_is_fitted(self, "classifier_")
        return self.classifier_.predict_proba(X)


def _item(image: Any, index: int) -> Any:
    if isinstance(image, str | Path):
        return Item(Path(image), str(image))
    return _Given(image, f"image {index + 1}")
