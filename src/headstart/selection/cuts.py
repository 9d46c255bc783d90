"""What the recipe leaves open, measured: which cuts, which size, how to resize, which views.

Everything is scored inside the training images (see score). One pass of the backbone gives the
features of every candidate cut. Cuts that plainly lose on half of the images are not looked at
again; a change that makes training or prediction dearer must gain more than one standard error.
Letters: N images, V views, D features.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from headstart import __version__
from headstart.backbones.catalogue import backbone
from headstart.backbones.cut import AUTO, LAST, Cut
from headstart.backbones.layers import Layer
from headstart.backbones.weights import resolve
from headstart.features.cost import count_costs
from headstart.features.engine import version
from headstart.features.extract import Features, extract_features
from headstart.features.extractor import Extractor, layers, open_extractor
from headstart.heads.examples import Labels
from headstart.images.augment import NONE
from headstart.recipe import Recipe
from headstart.selection.board import Board
from headstart.selection.price import Worth
from headstart.selection.rules import MeanOfCuts, OneCut
from headstart.selection.score import (
    PARTS,
    CutScore,
    are_enough,
    choose_joined,
    choose_partners,
    sample,
    score_cut,
)
from headstart.selection.variations import LEAST, Variations
from headstart.system.atomic import write_atomically
from headstart.system.digest import is_sealed, seal
from headstart.system.json import dumps, loads
from headstart.system.places import cache_folder
from headstart.system.progress import Progress

FORMAT = 6  # of kept outcomes; raised when the search changes
SAMPLE, OF_EACH = 800, 6  # training images that a choice is measured on; of each class at least
AVERAGED = 400  # where heads are averaged: what each is worth is measured again when it is trained
HEAT = 200  # images that half of them must be, to be told apart on half of them first
SIDES, CHANNELS = (4, 28), 512  # of maps worth a 2x2 grid
PATIENCE = 8  # cuts in a row, from the last to the first, that lose to the best
FIRST = 0.5  # share of the time that the features of all cuts may take


@dataclass(frozen=True)
class Selection:
    """The recipe with every open choice made, and how it came about.

    tried: everything scored. untried: what time did not allow. images: N measured on. worth: what
    was chosen, with what the choice flatters taken off.
    """

    recipe: Recipe
    chosen: CutScore | None
    tried: tuple[CutScore, ...] = ()
    untried: tuple[str, ...] = ()
    images: int = 0
    seconds: float = 0.0
    worth: Worth | None = None
    before: dict[str, Any] | None = None  # what `to_dict` gave, where all this was measured before

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return self.before or {
            "images": self.images,
            "seconds": round(self.seconds, 2),
            "chosen": self.chosen.name if self.chosen else None,
            "accuracy": self.worth.accuracy if self.worth else None,
            "interval": list(self.worth.interval) if self.worth else None,
            "last": self.worth.default if self.worth else None,
            "tried": [score.to_dict() for score in self.tried],
            "untried": list(self.untried),
        }


def select(
    items: Sequence[Any],
    labels: Labels,
    recipe: Recipe,
    progress: Progress,
    *,
    every_cut: bool = False,
    variations: bool = True,
    most: int | None = None,
) -> Selection:
    """Make the choices that `recipe` leaves open (cut = "auto") on training images.

    items, labels: the N training images and what they are. every_cut: no cut is passed over, nor
    judged on fewer images. variations: whether size, resizing and views are tried too. most: images
    measured on, SAMPLE or AVERAGED by default. With too few images, no time, or nothing to choose,
    the default is the answer; Ctrl-C ends the search with the best so far.
    """
    plain = recipe.changed(cut=LAST) if recipe.cut == (AUTO,) else recipe
    if recipe.cut != (AUTO,) or not are_enough(labels, LEAST):
        return Selection(plain, None)
    total = len(items)
    if most is None:
        most = AVERAGED if can_average(recipe) and not every_cut else SAMPLE
    rows = sample(labels.task.kinds(labels.targets), max(most, OF_EACH * len(labels.task.classes)))
    items, labels = [items[i] for i in rows], labels.take(rows)
    outcome = _outcome_file(items, labels, recipe, total) if variations and not every_cut else None
    known = _read_outcome(outcome, plain, progress) if outcome is not None else None
    if known is not None:
        return known
    search = _Search(items, labels, recipe, progress, every_cut, total)
    stopped = False
    with progress.stage("selection", None, "candidates"):
        try:
            search.run(variations)
        except KeyboardInterrupt:
            stopped = True
            progress.warn("the search is stopped: going on with the best so far")
    selection = _conclude(search, plain)
    if outcome is not None and not stopped and not selection.untried:
        _keep(outcome, selection)
    return selection


def _conclude(search: "_Search", plain: Recipe) -> Selection:
    """What the board says, also where the search was stopped half way."""
    board, given = search.board, search.given
    if board.best is None and board.scores:
        board.choose_cut()
    recipe = plain
    if board.best is not None:
        changes = dict(board.best.changes)
        if board.best.averaged:
            changes["fusion"] = "late"
        if given.augmentation != NONE and changes.pop("views", None):
            changes["augmentation"] = replace(given.augmentation, horizontal_flip=True)
        recipe = plain.changed(cut=board.best.cuts, **changes)
    images = max((score.images for score in board.scores), default=0)
    return Selection(
        recipe, board.best, board.scores, tuple(board.untried), images, board.seconds,
        board.judge(search.labels.groups),
    )  # fmt: skip


def _outcome_file(items: Sequence[Any], labels: Labels, recipe: Recipe, total: int) -> Path:
    """Where the outcome of a whole search is kept: same images, labels and recipe, same answer."""
    weights = resolve(backbone(recipe.backbone), recipe.weights).digest
    head = f"{FORMAT} {__version__} {version()} {weights} {recipe!r} {total}"
    digest = hashlib.sha256(head.encode())
    for item, target in zip(items, labels.targets, strict=True):
        digest.update(item.content_hash + np.asarray(target, np.int32).tobytes())
    if labels.groups is not None:
        digest.update(labels.groups.astype(np.int64).tobytes())
    return cache_folder() / "selections" / f"{digest.hexdigest()[:24]}.json"


def _read_outcome(file: Path, plain: Recipe, progress: Progress) -> Selection | None:
    """What `_keep` wrote; None if there is nothing or it is damaged: it is measured again."""
    try:
        known = loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        known = None
    if is_sealed(known):
        return Selection(plain.changed(**known["recipe"]), None, before=known["selection"])
    progress.warn(f"measured again, for it was damaged: the outcome in {file}")
    return None


def _keep(file: Path, selection: Selection) -> None:
    choices = {"cut", "fusion", "size", "resize", "views", "augmentation"}
    fields = selection.recipe.model_dump(mode="json", include=choices)
    text = dumps({"recipe": fields, "selection": selection.to_dict()}).encode()
    with suppress(OSError):  # it can be measured again
        write_atomically(file, json.dumps(seal(loads(text))).encode())


def can_average(recipe: Recipe) -> bool:
    """Whether each cut is to have a head of its own: linear ones cost nothing more together, but
    flattened maps are too many numbers to have several.
    """
    return recipe.head == "linear" and not recipe.finetune and recipe.pooling != "flatten"


def list_candidates(recipe: Recipe) -> list[tuple[Cut, Layer, float]]:
    """Cut, layer and depth of every cut worth measuring, the deepest first."""
    outputs = [layer for layer in layers(recipe) if layer.candidate]
    result = []
    for number, layer in reversed(list(enumerate(outputs, 1))):
        poolings: list[str] = [recipe.pooling]
        if recipe.pooling == "avg" and len(layer.shape) == 3:  # not the user's own choice
            side, _, channels = layer.shape
            if SIDES[0] <= side <= SIDES[1] and channels <= CHANNELS:
                poolings.insert(0, "grid")
            if number == len(outputs):
                poolings.append("max")
        depth = number / len(outputs)
        result += [(Cut(layer.name, pooling), layer, depth) for pooling in poolings]
    return result


class _Search:
    """One search: the images, their features at every cut, and the board that it fills."""

    def __init__(
        self,
        items: Sequence[Any],
        labels: Labels,
        recipe: Recipe,
        progress: Progress,
        thorough: bool,
        total: int = 0,
    ) -> None:
        self.total = total  # training images that these are a sample of
        self.items, self.labels, self.thorough = items, labels, thorough
        # Views are the slow part and tell little about cuts: the images themselves serve.
        self.given, self.recipe = recipe, recipe.changed(views=1, augmentation=NONE)
        self.averages = can_average(recipe)
        self.depths = {cut: depth for cut, _, depth in list_candidates(recipe)}
        self.last = next(cut for cut in self.depths if cut.pooling == recipe.pooling)
        self.board = Board(recipe.budget, progress, OneCut(self.last))
        self.costs: dict[Cut, float] = {}
        self.widths: dict[Cut, int] = {}
        self.extractor: tuple[Recipe, Extractor] | None = None

    def run(self, variations: bool) -> None:
        """Cuts by themselves, then joined, then other ways to feed them."""
        features, extractor = self._extract({"cut": tuple(self.depths)}, len(self.items), FIRST)
        self.costs = count_costs(extractor)
        self.widths = {cut: part.stop - part.start for cut, part in extractor.slices.items()}
        self._keep_usable(features)
        if self.averages:
            self.board.rule = MeanOfCuts(self.last, self.labels, max(self.total, len(self.labels)))
        if not are_enough(self.labels, LEAST):  # the time was up, or too many could not be used
            self.board.untried += map(str, self.depths)
            return

        def values_of(cuts: Iterable[Cut]) -> np.ndarray:
            parts = [features.values[:, :, extractor.slices[cut]] for cut in cuts]
            return np.concatenate(parts, axis=2)

        self._score_singles(values_of)
        if not self.averages:
            self._join(values_of)
        assert self.board.best is not None
        if variations:
            values = values_of(self.board.best.cuts)
            del features
            Variations(
                self.items, self.labels, self.given, self.thorough,
                max(self.total, len(self.items)),
                lambda changes, count: self._extract(changes, count)[0],
                lambda each, best, changes: self._score(each, best.cuts, changes, best.strengths),
            ).search(self.board, values)  # fmt: skip

    def _score(
        self,
        values: np.ndarray,
        cuts: tuple[Cut, ...],
        changes: dict[str, Any],
        near: Sequence[float],
    ) -> CutScore:
        """Of the first images, as many as there are values."""
        parts: tuple[slice, ...] = ()
        if self.averages and len(cuts) > 1:
            ends = np.cumsum([self.widths[cut] for cut in cuts]).tolist()
            parts = tuple(map(slice, [0, *ends], ends))
        examples = self.labels.take(np.arange(len(values))).with_features(values, parts)
        cost = max(self.costs[cut] for cut in cuts)
        score = score_cut(examples, cuts, changes, cost, self.given.seed, near)
        self.board.progress.advance()
        return score

    def _score_singles(self, values_of: Callable[[Iterable[Cut]], np.ndarray]) -> None:
        """Each cut by itself: on half of the images first, where there are enough of them."""
        half = len(self.labels) // 2
        board, cuts = self.board, list(self.depths)
        if not self.thorough and are_enough(self.labels.take(np.arange(half)), HEAT):
            self._score_each(cuts, lambda cut: values_of([cut])[:half], board.on_half)
            cuts = [score.cuts[0] for score in board.rule.narrow(board.on_half)]
        self._score_each(cuts, lambda cut: values_of([cut]), board.on_all)
        board.choose_cut()

    def _score_each(
        self, cuts: Sequence[Cut], values_of: Callable[[Cut], np.ndarray], scores: list[CutScore]
    ) -> None:
        """Add each cut to `scores`, sought near the strength that served the one before."""
        near: tuple[float, ...] = ()
        losing = 0
        for cut in cuts:
            if self.board.skips(str(cut)):
                continue
            score = self._score(values_of(cut), (cut,), {}, near)
            scores.append(score)
            near = score.strengths
            best = min(scores, key=lambda each: each.log_loss)
            losing = losing + 1 if score.loses_to(best) > 1 else 0
            if losing == PATIENCE and not self.thorough:
                break

    def _join(self, values_of: Callable[[Iterable[Cut]], np.ndarray]) -> None:
        """Further cuts beside the best one, as long as each gains more than a standard error."""
        board = self.board
        if not board.on_all:  # no time
            return
        singles = sorted(board.on_all, key=lambda score: score.log_loss)
        anchor = singles[0]
        # A cut that loses by itself may still know what the best one does not.
        seen = {score.cuts for score in singles}
        losers = [score for score in board.on_half if score.cuts not in seen]
        singles += sorted(losers, key=lambda score: score.log_loss)
        for _ in range(PARTS - 1):
            pairs: list[CutScore] = []
            for partner in choose_partners(singles, anchor, self.depths):
                cuts = (*anchor.cuts, *partner.cuts)
                if not board.skips(" + ".join(map(str, cuts))):
                    pairs.append(self._score(values_of(cuts), cuts, {}, anchor.strengths))
            board.on_all += pairs
            joined = choose_joined(pairs, anchor)
            if joined is None:
                break
            anchor = joined
        board.choose_cut()

    def _extract(
        self, changes: dict[str, Any], count: int, share: float = 1.0
    ) -> tuple[Features, Extractor]:
        """Of the first `count` images, or as many of them as the time allows."""
        recipe = self.recipe.changed(**changes)
        if self.extractor is None or self.extractor[0] != recipe:
            # The next half of the images needs it too.
            self.extractor = recipe, open_extractor(recipe)
            for warning in self.extractor[1].warnings:
                self.board.progress.warn(warning)
        extractor = self.extractor[1]
        progress, items = self.board.progress, self.items[:count]
        with progress.stage("features", len(items) * recipe.cached_views, "images"):
            features = extract_features(
                items, extractor, recipe, progress, over=lambda: self.board.is_over(share)
            )
        return features, extractor

    def _keep_usable(self, features: Features) -> None:
        """Go on with the images that could be used and were reached in time."""
        places = {id(item): place for place, item in enumerate(self.items)}
        rows = np.array([places[id(item)] for item in features.items], int)
        self.items, self.labels = list(features.items), self.labels.take(rows)
