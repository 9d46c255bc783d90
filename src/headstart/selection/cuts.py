"""What the recipe leaves open, measured: which cuts, which size, how to resize, which views.

Everything is scored inside the training images (see scoring). One pass of the backbone gives the
features of every candidate cut. Cuts that plainly lose on half of the images are not looked at
again; a change that makes training or prediction dearer must gain more than one standard error.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from headstart import __version__
from headstart.backbones.catalogue import backbone
from headstart.backbones.weights import resolve
from headstart.features.cache import FeatureCache
from headstart.features.cost import costs
from headstart.features.engine import version
from headstart.features.extract import Features, extract, open_space
from headstart.features.extractor import Extractor, Layer, layers, open_extractor
from headstart.images.augment import NONE
from headstart.recipe import Recipe
from headstart.selection.score import PARTNERS, Scored, Truth, cheapest, partners, sample
from headstart.system.atomic import write_atomically
from headstart.system.places import cache_folder
from headstart.system.progress import Progress, Silent

FORMAT = 2  # of kept outcomes; raised when the search changes
SAMPLE, OF_EACH = 800, 6  # training images that a choice is measured on; of each class at least
VARIED = 400  # of them for what needs another pass of the backbone
LEAST = 100  # images below which measuring tells nothing, and the default stays
HEAT = 200  # images that half of them must be, to be told apart on half of them first
PROMISING = 0.5  # standard errors that something dear must gain on half of the images to go on
PLAINLY = 2  # standard errors by which a cut must lose there to be out
SIDES, CHANNELS = (4, 28), 512  # of maps worth a 2x2 grid
PATIENCE = 8  # cuts in a row, from the last to the first, that lose to the best
PARTS = 3  # cuts joined at most
LARGER = 9 / 7  # of the size that the backbone was trained on
FIRST = 0.5  # share of the time that the features of all cuts may take


@dataclass(frozen=True)
class Selection:
    """The recipe with every open choice made, and how it came about.

    tried: everything scored. untried: what time did not allow. images: N measured on.
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
            "tried": [scored.to_dict() for scored in self.tried],
            "untried": list(self.untried),
        }


def select(
    items: Sequence[Any],
    truth: Truth,
    recipe: Recipe,
    progress: Progress,
    *,
    every_cut: bool = False,
    variations: bool = True,
    most: int = SAMPLE,
) -> Selection:
    """Make the choices that `recipe` leaves open (cut = "auto") on training images.

    items, truth: the N training images and what they are. every_cut: no cut is passed over, nor
    judged on fewer images. variations: whether size, resizing and views are tried too. most: images
    measured on. With too few images, no time, or nothing to choose, the default is the answer;
    Ctrl-C ends the search with the best so far.
    """
    plain = recipe.changed(cut="last") if recipe.cut == ("auto",) else recipe
    if recipe.cut != ("auto",) or not truth.told_apart(LEAST):
        return Selection(plain, None)
    chosen = sample(truth.kinds, max(most, OF_EACH * truth.classes))
    items, truth = [items[i] for i in chosen], truth.of(chosen)
    kept = _kept(items, truth, recipe) if variations and not every_cut else None
    if kept is not None and kept.is_file():
        known = json.loads(kept.read_text(encoding="utf-8"))
        return Selection(plain.changed(**known["recipe"]), None, before=known["selection"])
    search = _Search(items, truth, recipe, progress, every_cut)
    stopped = False
    with progress.stage("selection", search.steps(variations), "candidates"):
        try:
            search.run(variations)
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


def _kept(items: Sequence[Any], truth: Truth, recipe: Recipe) -> Path:
    """Where the outcome of a whole search is kept: same images, labels and recipe, same answer."""
    weights = resolve(backbone(recipe.backbone), recipe.weights).digest
    digest = hashlib.sha256(f"{FORMAT} {__version__} {version()} {weights} {recipe!r}".encode())
    for item, label in zip(items, truth.labels, strict=True):
        digest.update(item.content_hash + np.asarray(label, np.int32).tobytes())
    if truth.groups is not None:
        digest.update(truth.groups.astype(np.int64).tobytes())
    return cache_folder() / "selections" / f"{digest.hexdigest()[:24]}.json"


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
        truth: Truth,
        recipe: Recipe,
        progress: Progress,
        every_cut: bool,
    ) -> None:
        self.items, self.truth, self.every_cut = items, truth, every_cut
        # Views are the slow part and tell little about cuts: the images themselves serve.
        self.given, self.recipe = recipe, recipe.changed(views=1, augmentation=NONE)
        self.progress = progress
        self.started = time.perf_counter()
        self.cuts = candidates(recipe)
        self.depths = {name: depth for name, _, depth in self.cuts}
        self.costs: dict[str, float] = {}
        self.heats: list[Scored] = []  # on half of the images
        self.whole: list[Scored] = []  # cuts, by themselves and joined, on all of them
        self.varied: list[Scored] = []  # other ways to feed the best of those
        self.untried: list[str] = []
        self.best: Scored | None = None
        self.opened: tuple[Recipe, Extractor] | None = None
        self.cropped = 0.0  # standard errors that cropping gained
        self.features = np.empty((0, 1, 0), np.float32)  # (N, V, D) of the best

    def steps(self, variations: bool) -> int:
        """How many candidates there may be."""
        return len(self.cuts) + (PARTS - 1) * PARTNERS + (4 if variations else 0)

    def run(self, variations: bool) -> None:
        """Cuts by themselves, then joined, then other ways to feed them."""
        found, extractor = self._features({"cut": list(self.depths)}, len(self.items), FIRST)
        self.costs = costs(extractor)
        self._only(found)
        if not self.truth.told_apart(LEAST):  # the time was up, or too many could not be used
            self.untried += list(self.depths)
            return

        def of(names: Sequence[str]) -> np.ndarray:
            parts = [found.values[:, :, extractor.slices[name]] for name in names]
            return np.concatenate(parts, axis=2)

        self._single(of)
        self._join(of)
        assert self.best is not None
        if variations:
            self.features = of(self.best.cuts)
            del found
            self._vary()

    def result(self, plain: Recipe) -> Selection:
        """What has been found, also where the search was stopped half way."""
        tried = (*self.whole, *self.heats, *self.varied)
        if self.best is None and tried:
            self.best = cheapest(self.whole or self.heats)
        recipe = plain
        if self.best is not None:
            changes = dict(self.best.changes)
            if self.given.augmentation != NONE and changes.pop("views", None):
                changes["augmentation"] = replace(self.given.augmentation, horizontal_flip=True)
            recipe = plain.changed(cut=list(self.best.cuts), **changes)
        seconds = time.perf_counter() - self.started
        images = max((scored.images for scored in tried), default=0)
        return Selection(recipe, self.best, tried, tuple(self.untried), images, seconds)

    def _over(self, share: float = 1.0) -> bool:
        """Whether that share of the time is up."""
        return time.perf_counter() - self.started > share * self.recipe.budget

    def _skipped(self, name: str) -> bool:
        """Whether there is no time for `name`, which is then told. One is tried always."""
        if not (self.heats or self.whole) or not self._over():
            return False
        self.untried.append(name)
        return True

    def _score(self, values: np.ndarray, cuts: tuple[str, ...], changes: dict[str, Any],
               near: float | None) -> Scored:  # fmt: skip
        truth = self.truth.of(np.arange(len(values)))
        cost = max(self.costs[name] for name in cuts)
        scored = truth.score(values, cuts, changes, cost, near)
        self.progress.advance()
        return scored

    def _single(self, of: Callable[[Sequence[str]], np.ndarray]) -> None:
        """Each cut by itself: on half of the images first, where there are enough of them."""
        count = len(self.truth.labels)
        half = self.truth.of(np.arange(count // 2))
        names = list(self.depths)
        if not self.every_cut and half.told_apart(HEAT):
            self._each(names, lambda name: of([name])[: count // 2], self.heats)
            best = min(self.heats, key=lambda scored: scored.log_loss)
            near = [scored for scored in self.heats if scored.loses_to(best) <= PLAINLY]
            names = [scored.cuts[0] for scored in near]
        self._each(names, lambda name: of([name]), self.whole)
        self.best = cheapest(self.whole or self.heats)

    def _each(
        self, names: Sequence[str], values: Callable[[str], np.ndarray], scores: list[Scored]
    ) -> None:
        """Add each cut to `scores`, sought near the strength that served the one before."""
        near, losing = None, 0
        for name in names:
            if self._skipped(name):
                continue
            scored = self._score(values(name), (name,), {}, near)
            scores.append(scored)
            near = scored.strength
            best = min(scores, key=lambda found: found.log_loss)
            losing = losing + 1 if scored.loses_to(best) > 1 else 0
            if losing == PATIENCE and not self.every_cut:
                break

    def _join(self, of: Callable[[Sequence[str]], np.ndarray]) -> None:
        """Further cuts beside the best one, as long as each gains more than a standard error."""
        assert self.best is not None
        if not self.whole:  # no time
            return
        singles = sorted(self.whole, key=lambda scored: scored.log_loss)
        anchor = singles[0]
        # A cut that loses by itself may still know what the best one does not.
        seen = {scored.cuts for scored in singles}
        losers = [scored for scored in self.heats if scored.cuts not in seen]
        singles += sorted(losers, key=lambda scored: scored.log_loss)
        for _ in range(PARTS - 1):
            pairs: list[Scored] = []
            for partner in partners(singles, anchor, self.depths):
                names = (*anchor.cuts, *partner.cuts)
                if not self._skipped(" + ".join(names)):
                    pairs.append(self._score(of(names), names, {}, anchor.strength))
            self.whole += pairs
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
            if "pad" in changes.values() and not self._padded():
                continue
            name = ", ".join(f"{key} {value}" for key, value in changes.items())
            if not self._skipped(name) and not self._varies({**self.best.changes, **changes}):
                self.untried.append(name)

    def _varies(self, changes: dict[str, Any]) -> bool:
        """Try one; False if there was no time for it. Half of the images tell of most changes that
        they are not worth the other half.
        """
        assert self.best is not None
        best = self.best
        count = len(self.features) if self.every_cut else min(VARIED, len(self.features))
        half = count // 2
        if self.every_cut or not self.truth.of(np.arange(half)).told_apart(LEAST):
            half = count
        for number in (half, count):
            reference = self._score(self.features[:number], best.cuts, best.changes, best.strength)
            found, _ = self._features({"cut": list(best.cuts), **changes}, number)
            if len(found.items) < number:
                # Another geometry refuses an image: not the same images, nothing to compare.
                return bool(found.bad)
            scored = self._score(found.values, best.cuts, changes, best.strength)
            gained = reference.loses_to(scored)
            # Resizing in another way costs nothing, a larger size or more views do.
            dearer = bool({"size", "views"} & (changes.keys() - best.changes.keys()))
            if number == count or gained <= (PROMISING if dearer else 0):
                self.varied.append(scored)
                if changes.get("resize") == "crop":
                    self.cropped = gained
                if number == count and gained > (1 if dearer else 0):
                    self.best, self.features = scored, found.values
                return True
        return True

    def _padded(self) -> bool:
        """Whether padding is worth a try: where cropping plainly loses what is at the border."""
        return self.every_cut or self.cropped < -1

    def _variations(self) -> Iterator[dict[str, Any]]:
        """Only of what the recipe leaves at its default; what costs prediction nothing first."""
        recipe = self.recipe
        if recipe.resize == "squash" and self._not_square():
            yield {"resize": "crop"}
            yield {"resize": "pad"}
        if recipe.size is None:
            yield {"size": round(backbone(recipe.backbone).size * LARGER / 32) * 32}
        # The more images, the less there is to gain from views, and the more they cost.
        few = self.every_cut or len(self.items) <= VARIED
        if few and not self.given.augmentation.horizontal_flip:
            yield {"views": 2, "augmentation": "flip"}

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

    def _features(
        self, changes: dict[str, Any], count: int, share: float = 1.0
    ) -> tuple[Features, Extractor]:
        """Of the first `count` images, or as many of them as the time allows."""
        recipe = self.recipe.changed(**changes)
        if self.opened is None or self.opened[0] != recipe:
            self.opened = recipe, open_extractor(recipe)  # the next half of the images needs it too
        extractor = self.opened[1]
        with FeatureCache() as cache:
            features = extract(
                self.items[:count], extractor, open_space(extractor, cache, self.progress),
                augmentation=recipe.augmentation, views=recipe.cached_views, seed=recipe.seed,
                progress=Silent(), over=lambda: self._over(share),
            )  # fmt: skip
        return features, extractor

    def _only(self, features: Features) -> None:
        """Go on with the images that could be used and were reached in time."""
        places = {id(item): place for place, item in enumerate(self.items)}
        rows = np.array([places[id(item)] for item in features.items], int)
        self.items, self.truth = list(features.items), self.truth.of(rows)
