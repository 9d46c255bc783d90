"""The product's own search for the best cut, on kept features: draws of a real set are small
trainings whose remainder serves as new images.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from headstart.backbones.cut import LAST, Cut
from headstart.data.dataset import load
from headstart.features.cost import count_costs
from headstart.features.extract import Features, extract_features
from headstart.features.extractor import open_extractor
from headstart.heads import linear
from headstart.heads.examples import Examples, Labels
from headstart.metrics.task import SingleLabel
from headstart.recipe import load_recipe
from headstart.selection import cuts
from headstart.selection.cuts import Selection, list_candidates
from headstart.system.progress import Silent

RECIPE = load_recipe("quick", budget=1e9)
KEPT = ("resize", "size")  # changes of which features are kept; others count as having no time


@dataclass
class Kept:
    """A set, one image of each content, with its features of every candidate cut by change."""

    folder: Path
    features: dict[str, Features] = field(default_factory=dict)

    @cached_property
    def items(self) -> list[Any]:
        """Whatever their split."""
        dataset = load(self.folder, split=False)
        return list({item.content_hash: item for item in dataset.items}.values())

    @cached_property
    def labels(self) -> Labels:
        """What they are."""
        task = SingleLabel(tuple(sorted({item.label for item in self.items})))
        return Labels(targets=task.targets([item.labels for item in self.items]), task=task)

    @cached_property
    def cuts(self) -> tuple[Cut, ...]:
        """All candidates."""
        return tuple(cut for cut, _, _ in list_candidates(RECIPE))

    @cached_property
    def extractor(self) -> Any:
        """Of all candidates."""
        return open_extractor(RECIPE.changed(cut=self.cuts))

    @cached_property
    def costs(self) -> dict[Cut, float]:
        """Multiplications up to each cut."""
        return count_costs(self.extractor)

    def width(self, cut: Cut) -> int:
        """How many features it has."""
        part = self.extractor.slices[cut]
        return int(part.stop - part.start)

    def values(self, wanted: Sequence[Cut], changes: dict[str, Any]) -> np.ndarray:
        """(N, 1, D) of some cuts."""
        name = str(sorted(changes.items()))
        if name not in self.features:
            recipe = RECIPE.changed(cut=self.cuts, **changes)
            self.features[name] = extract_features(self.items, open_extractor(recipe), recipe)
            assert not self.features[name].bad
        kept = self.features[name].values
        slices = self.extractor.slices
        return np.concatenate([kept[:, :, slices[cut]] for cut in wanted], axis=2)


class _KeptSearch(cuts._Search):
    """The search with features that are there already."""

    def __init__(self, kept: Kept, rows: np.ndarray, seed: int) -> None:
        items = [kept.items[row] for row in rows]
        recipe = RECIPE.changed(seed=seed)
        super().__init__(items, kept.labels.take(rows), recipe, Silent(), thorough=False)
        self.kept, self.rows = kept, rows

    def _extract(self, changes: dict[str, Any], count: int, share: float = 1.0) -> tuple[Any, Any]:
        wanted = [Cut.parse(str(cut)) for cut in changes["cut"]]
        fed = {key: value for key, value in changes.items() if key != "cut"}
        if not set(fed) <= set(KEPT) or fed.get("resize") == "pad":
            return Features(np.empty((0, 1, 0), "f4"), (), (), 0, 0), None
        values = self.kept.values(wanted, fed)[self.rows[:count]]
        places = np.cumsum([0, *map(self.kept.width, wanted)])
        slices = {
            cut: slice(a, b) for cut, a, b in zip(wanted, places, places[1:], strict=False)
        }  # fmt: skip
        return Features(values, tuple(self.items[:count]), (), 0, 0), SimpleNamespace(slices=slices)


def search(kept: Kept, rows: np.ndarray, seed: int) -> Selection:
    """What the product chooses by these images, and what it says of it."""
    known = kept.costs
    one = _KeptSearch(kept, rows, seed)
    counted, cuts.count_costs = cuts.count_costs, lambda extractor: known
    try:
        one.run(variations=True)
    finally:
        cuts.count_costs = counted
    return cuts._conclude(one, RECIPE.changed(cut=LAST))


def accuracy(kept: Kept, rows: np.ndarray, chosen: Selection | None, seed: int) -> float:
    """On all other images, of a head on what was chosen, or on the last layer."""
    wanted, changes, parts = [default(kept)], {}, ()
    if chosen is not None and chosen.chosen is not None:
        wanted, changes = list(chosen.chosen.cuts), chosen.chosen.changes
        if chosen.chosen.averaged:
            ends = np.cumsum([kept.width(cut) for cut in wanted]).tolist()
            parts = tuple(map(slice, [0, *ends], ends))
    values, targets = kept.values(wanted, changes), kept.labels.targets
    new = np.setdiff1d(np.arange(len(targets)), rows)
    given: Examples = kept.labels.take(rows).with_features(values[rows], parts)
    head = linear.fit(given, seed=seed).head()
    return float((head.probabilities(values[new, 0]).argmax(axis=1) == targets[new]).mean())


def default(kept: Kept) -> Cut:
    """The last layer, as it is pooled without a choice."""
    return next(cut for cut in kept.cuts if cut.pooling == RECIPE.pooling)
