"""What the recipe leaves open, measured: which cuts, which size, how to resize, which views.

Everything is scored by cross-validation inside the training images (a stratified sample of them):
each image is predicted by linear heads that have not seen it. One pass of the backbone gives the
features of every candidate cut. The rule: within one standard error of the best (of the paired
difference in log loss), the earliest and cheapest; and a change that makes prediction dearer must
gain more than that.
Letters: N images, D features, C classes.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from headstart import __version__
from headstart.augment import NONE
from headstart.backbones.catalogue import backbone
from headstart.cache import FeatureCache
from headstart.engines.openvino import version
from headstart.evaluation import Interval, interval
from headstart.extractor import Extractor, Layer, layers, open_extractor
from headstart.features import Features, extract, open_space
from headstart.files import write_atomically
from headstart.folders import cache_folder
from headstart.heads import linear
from headstart.progress import Silent
from headstart.recipe import Recipe

FORMAT = 1  # of kept outcomes; raised when the search changes
SAMPLE = 800  # training images that a choice is measured on
LEAST = 100  # images below which measuring tells nothing, and the default stays
FOLDS = 3  # enough to compare; the head itself is chosen on the recipe's own folds
SIDES, CHANNELS = (4, 28), 512  # of maps worth a 2x2 grid
PATIENCE = 8  # cuts in a row, from the last to the first, that lose to the best
PARTNERS, PARTS = 4, 3  # cuts tried beside the best one, and cuts joined at most
APART = 0.05  # of the depth, between cuts that are joined
LARGER = 9 / 7  # of the size that the backbone was trained on


@dataclass(frozen=True)
class Scored:
    """A candidate and what cross-validation says of it.

    cuts: names as the recipe takes them. changes: other choices of the recipe that it makes.
    losses: (N,) log loss of each image. depth: of its deepest layer, 0..1 of the backbone.
    """

    cuts: tuple[str, ...]
    changes: dict[str, Any]
    depth: float
    dimensions: int
    accuracy: float
    accuracy_interval: Interval
    losses: np.ndarray = field(repr=False)
    strength: float = 0.0

    @property
    def log_loss(self) -> float:
        """Mean over the images."""
        return float(self.losses.mean())

    @property
    def name(self) -> str:
        """As on the command line."""
        told = "".join(f", {key} {value}" for key, value in self.changes.items())
        return " + ".join(self.cuts) + told

    def loses_to(self, other: "Scored") -> float:
        """By how many standard errors the other's log loss is lower, image by image."""
        difference = self.losses - other.losses
        error = float(difference.std(ddof=1)) / len(difference) ** 0.5
        return float(difference.mean()) / error if error else 0.0


@dataclass(frozen=True)
class Selection:
    """The recipe with every open choice made, and how it came about.

    tried: everything scored on all folds. untried: what time did not allow. images: N measured on.
    """

    recipe: Recipe
    chosen: Scored | None
    tried: tuple[Scored, ...] = ()
    untried: tuple[str, ...] = ()
    images: int = 0
    seconds: float = 0.0
    before: dict[str, Any] | None = None  # what `to_dict` gave, where all this was measured before

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return self.before or {
            "images": self.images,
            "seconds": round(self.seconds, 2),
            "chosen": self.chosen.name if self.chosen else None,
            "tried": [
                {"name": s.name, "dimensions": s.dimensions, "accuracy": s.accuracy,
                 "interval": list(s.accuracy_interval), "log_loss": s.log_loss}
                for s in self.tried
            ],
            "untried": list(self.untried),
        }  # fmt: skip


def select(
    items: Sequence[Any],
    labels: np.ndarray,
    classes: int,
    recipe: Recipe,
    progress: Silent,
    *,
    groups: np.ndarray | None = None,
    variations: bool = True,
    every_cut: bool = False,
    most: int = SAMPLE,
) -> Selection:
    """Make the choices that `recipe` leaves open (cut = "auto") on training images.

    items, labels (N,): the training images with their class numbers. groups (N,): never on both
    sides of a fold. variations: whether size, resizing and views are tried too. every_cut: do not
    stop where earlier cuts only get worse. most: images measured on. With too few images, no time,
    or nothing to choose, the default is the answer; Ctrl-C ends the search with the best so far.
    """
    plain = recipe.changed(cut="last") if recipe.cut == ("auto",) else recipe
    counts = np.bincount(labels, minlength=classes)
    if recipe.cut != ("auto",) or len(items) < LEAST or counts.min() < FOLDS:
        return Selection(plain, None)
    chosen = sample(labels, most)
    items, labels = [items[i] for i in chosen], labels[chosen]
    groups = groups[chosen] if groups is not None else None
    kept = _kept(items, labels, groups, recipe) if variations and not every_cut else None
    if kept is not None and kept.is_file():
        known = json.loads(kept.read_text(encoding="utf-8"))
        return Selection(plain.changed(**known["recipe"]), None, before=known["selection"])
    search = _Search(items, labels, classes, recipe, progress, groups)
    stopped = False
    with progress.stage("selection", search.steps(variations), "candidates"):
        try:
            search.run(variations, every_cut)
        except KeyboardInterrupt:
            stopped = True
            progress.warn("the search is stopped: going on with the best so far")
    found = search.result(plain)
    if kept is not None and not stopped and not found.untried:
        chosen_fields = {"cut", "size", "resize", "views", "augmentation"}
        fields = found.recipe.model_dump(mode="json", include=chosen_fields)
        with suppress(OSError):  # it can be measured again
            kept.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps({"recipe": fields, "selection": found.to_dict()})
            write_atomically(kept, text.encode())
    return found


def _kept(
    items: Sequence[Any], labels: np.ndarray, groups: np.ndarray | None, recipe: Recipe
) -> Path:
    """Where the outcome of a whole search is kept: same images, labels and recipe, same answer."""
    digest = hashlib.sha256(f"{FORMAT} {__version__} {version()} {recipe!r}".encode())
    for item, label in zip(items, labels.tolist(), strict=True):
        digest.update(item.content_hash + label.to_bytes(4, "little"))
    if groups is not None:
        digest.update(groups.astype(np.int64).tobytes())
    return cache_folder() / "selections" / f"{digest.hexdigest()[:24]}.json"


def sample(labels: np.ndarray, most: int) -> np.ndarray:
    """Indices of at most `most` images, each class in its share, spread over the order given."""
    if len(labels) <= most:
        return np.arange(len(labels))
    by_class = np.argsort(labels, kind="stable")
    chosen: np.ndarray = np.sort(by_class[np.linspace(0, len(labels) - 1, most).astype(int)])
    return chosen


def candidates(recipe: Recipe) -> list[tuple[str, Layer, float]]:
    """(cut, layer, depth) of every cut worth measuring, the deepest first."""
    found = [layer for layer in layers(recipe) if layer.candidate]
    result = []
    for number, layer in reversed(list(enumerate(found, 1))):
        poolings = [recipe.pooling]
        if recipe.pooling == "avg" and len(layer.shape) == 3:  # not the user's own choice
            side, _, channels = layer.shape
            if SIDES[0] <= side <= SIDES[1] and channels <= CHANNELS:
                poolings.insert(0, "grid")
            if number == len(found):
                poolings.append("max")
        result += [(f"{layer.name}:{pooling}", layer, number / len(found)) for pooling in poolings]
    return result


class _Search:
    """Scores candidates until there are no more or the time is up."""

    def __init__(
        self,
        items: Sequence[Any],
        labels: np.ndarray,
        classes: int,
        recipe: Recipe,
        progress: Silent,
        groups: np.ndarray | None,
    ) -> None:
        self.items, self.labels, self.classes = items, labels, classes
        # Views are the slow part and tell little about cuts: the images themselves serve.
        self.given, self.recipe = recipe, recipe.changed(views=1, augmentation=NONE)
        self.progress, self.groups = progress, groups
        self.started = time.perf_counter()
        self.tried: list[Scored] = []
        self.untried: list[str] = []
        self.best: Scored | None = None
        self.images = len(items)
        self.cuts = candidates(recipe)

    def steps(self, variations: bool) -> int:
        """How many candidates there may be."""
        return len(self.cuts) + (PARTS - 1) * PARTNERS + (4 if variations else 0)

    def run(self, variations: bool, every_cut: bool) -> None:
        """Cuts by themselves, then joined, then other ways to feed them."""
        depths = {name: depth for name, _, depth in self.cuts}
        features, extractor = self._features({"cut": list(depths)})
        labels, groups = self._of(features)
        self.images = len(labels)

        def measured(names: tuple[str, ...], near: float | None) -> Scored:
            values = np.concatenate(
                [features.values[:, 0, extractor.slices[name]] for name in names], axis=1
            )
            depth = max(depths[name] for name in names)
            return self._score(values[:, None], labels, groups, names, {}, depth, near)

        self._single(list(depths), measured, every_cut)
        self._join(measured)
        if variations:
            self._vary()

    def result(self, plain: Recipe) -> Selection:
        """What has been found, also where the search was stopped half way."""
        if self.best is None and self.tried:
            self.best = cheapest(self.tried)
        seconds = time.perf_counter() - self.started
        recipe = plain
        if self.best is not None:
            changes = dict(self.best.changes)
            if self.given.augmentation != NONE and changes.pop("views", None):
                changes["augmentation"] = replace(self.given.augmentation, horizontal_flip=True)
            recipe = plain.changed(cut=list(self.best.cuts), **changes)
        return Selection(
            recipe, self.best, tuple(self.tried), tuple(self.untried), self.images, seconds
        )

    def _over(self, name: str) -> bool:
        """Whether the time is up; `name` is then what is left untried. One is tried always."""
        if not self.tried or time.perf_counter() - self.started < self.recipe.budget:
            return False
        self.untried.append(name)
        return True

    def _single(self, names: list[str], measured: "_Measured", every_cut: bool) -> None:
        """Each cut by itself, near the strength that served the one before."""
        near, losing = None, 0
        for name in names:
            if self._over(name):
                continue
            scored = measured((name,), near)
            self.tried.append(scored)
            near = scored.strength
            best = min(self.tried, key=lambda found: found.log_loss)
            losing = losing + 1 if scored.loses_to(best) > 1 else 0
            if losing == PATIENCE and not every_cut:
                break
        self.best = cheapest(self.tried)

    def _join(self, measured: "_Measured") -> None:
        """Further cuts beside the best one, as long as each gains more than a standard error."""
        assert self.best is not None
        singles = sorted(self.tried, key=lambda scored: scored.log_loss)
        depths = {name: depth for name, _, depth in self.cuts}
        anchor = singles[0]
        for _ in range(PARTS - 1):
            pairs = []
            for partner in _partners(singles, anchor, depths):
                names = (*anchor.cuts, *partner.cuts)
                if not self._over(" + ".join(names)):
                    pairs.append(measured(names, anchor.strength))
            self.tried += pairs
            better = [pair for pair in pairs if anchor.loses_to(pair) > 1]
            if not better:
                break
            anchor = min(better, key=lambda scored: scored.log_loss)
        if self.best.loses_to(anchor) > 1:
            self.best = anchor

    def _vary(self) -> None:
        """Other ways to feed the chosen cuts, each kept where it gains."""
        assert self.best is not None
        for changes in self._variations():
            name = ", ".join(f"{key} {value}" for key, value in changes.items())
            if self._over(name):
                continue
            changes = {**self.best.changes, **changes}
            features, _ = self._features({"cut": list(self.best.cuts), **changes})
            labels, groups = self._of(features)
            if len(labels) != len(self.best.losses):
                continue  # another geometry refused an image: not the same images
            scored = self._score(
                features.values, labels, groups, self.best.cuts, changes, self.best.depth,
                self.best.strength,
            )  # fmt: skip
            self.tried.append(scored)
            if self.best.loses_to(scored) > 1:
                self.best = scored

    def _variations(self) -> Iterator[dict[str, Any]]:
        """Only of what the recipe leaves at its default; what costs prediction nothing first."""
        recipe = self.recipe
        if recipe.resize == "squash" and self._not_square():
            yield {"resize": "pad"}
            yield {"resize": "crop"}
        if not self.given.augmentation.horizontal_flip:
            yield {"views": 2, "augmentation": "flip"}
        if recipe.size is None:
            yield {"size": round(backbone(recipe.backbone).size * LARGER / 32) * 32}

    def _not_square(self) -> bool:
        """Whether resizing in another way makes other pixels."""
        squash = self.recipe.geometry(64)
        pad = self.recipe.changed(resize="pad").geometry(64)
        for item in self.items[:: max(1, len(self.items) // 8)]:
            try:
                if not np.array_equal(item.prepare(squash), item.prepare(pad)):
                    return True
            except Exception:  # unusable: named where the features are computed
                continue
        return False

    def _features(self, changes: dict[str, Any]) -> tuple[Features, Extractor]:
        recipe = self.recipe.changed(**changes)
        extractor = open_extractor(recipe)
        with FeatureCache() as cache:
            features = extract(
                self.items, extractor, open_space(extractor, cache, self.progress),
                augmentation=recipe.augmentation, views=recipe.cached_views, seed=recipe.seed,
                progress=Silent(),
            )  # fmt: skip
        return features, extractor

    def _of(self, features: Features) -> tuple[np.ndarray, np.ndarray | None]:
        """Labels and groups of the images that could be used."""
        if len(features.items) == len(self.items):
            return self.labels, self.groups
        bad = {id(item) for item, _ in features.bad}
        kept = np.array([i for i, item in enumerate(self.items) if id(item) not in bad], int)
        return self.labels[kept], self.groups[kept] if self.groups is not None else None

    def _score(
        self,
        values: np.ndarray,
        labels: np.ndarray,
        groups: np.ndarray | None,
        cuts: tuple[str, ...],
        changes: dict[str, Any],
        depth: float,
        near: float | None,
    ) -> Scored:
        """Cross-validation of (N, V, D) features; all views of an image are on one side."""
        count, views, dimensions = values.shape
        of_image = np.arange(count) if groups is None else groups
        strengths = linear.STRENGTHS
        if near is not None:
            strengths = tuple(s for s in strengths if near / 11 < s < near * 4)
        found = linear.cross_validate(
            values.reshape(count * views, dimensions),
            np.repeat(labels, views),
            self.classes,
            groups=np.repeat(of_image, views),
            class_weight="balanced" if self.recipe.balanced else None,
            folds=FOLDS,
            seed=self.recipe.seed,
            strengths=strengths,
        )
        self.progress.advance()
        probabilities = found.out_of_fold[::views].astype(np.float64)
        known = ~np.isnan(probabilities[:, 0])
        own = np.clip(probabilities[np.arange(count), labels], 1e-7, 1)
        right = int((probabilities.argmax(axis=1) == labels)[known].sum())
        return Scored(
            cuts=cuts, changes=changes, depth=depth, dimensions=dimensions,
            accuracy=right / int(known.sum()),
            accuracy_interval=interval(right, int(known.sum())) or (0.0, 1.0),
            losses=np.where(known, -np.log(own), 0.0), strength=found.strength,
        )  # fmt: skip


_Measured = Callable[[tuple[str, ...], float | None], Scored]


def cheapest(tried: Sequence[Scored]) -> Scored:
    """Of those within one standard error of the best the earliest; of its poolings the best that
    is at most twice as wide as the narrowest.
    """
    best = min(tried, key=lambda scored: scored.log_loss)
    near = [scored for scored in tried if scored.loses_to(best) <= 1]
    first = min(near, key=lambda scored: (scored.depth, scored.dimensions))
    alike = [s for s in near if s.depth == first.depth and s.dimensions <= 2 * first.dimensions]
    return min(alike, key=lambda scored: scored.log_loss)


def _partners(singles: list[Scored], anchor: Scored, depths: dict[str, float]) -> list[Scored]:
    """The best cuts that see something else: neighbours of the anchor say what it says."""
    taken = [depths[cut] for cut in anchor.cuts]
    found: list[Scored] = []
    for scored in singles:
        if all(abs(scored.depth - depth) >= APART for depth in taken):
            taken.append(scored.depth)
            found.append(scored)
    return found[:PARTNERS]
