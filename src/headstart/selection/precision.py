"""Whether eight bits serve, measured on training images: where images are many and the processor
has nothing quicker than f32.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from headstart.features import eight_bits
from headstart.features.engine import resolve_precision
from headstart.features.extract import extract_features
from headstart.features.extractor import Extractor
from headstart.heads.examples import Labels
from headstart.images.augment import NONE
from headstart.recipe import Recipe
from headstart.selection.score import CutScore, are_enough, sample, score_cut
from headstart.system.progress import Progress

# Of so many views and more, 8 bits win back what quantising (4 to 20 s) and measuring (3 to 6 s)
# take: in f32 an image takes 8 ms of two cores, in 8 bits half of that.
PAYS = 10_000
SAMPLE = 400  # training images measured on
DROP = 0.005  # of accuracy, at most, beside a standard error of log loss


def may_pay(recipe: Recipe, images: int) -> bool:
    """Whether 8 bits are worth measuring: the precision is left open, this processor computes in
    f32, and there are many images.
    """
    return (
        recipe.precision == "auto"
        and not recipe.finetune
        and images * recipe.cached_views >= PAYS
        and eight_bits.is_there()
        and resolve_precision("auto") == "f32"
    )


def weigh(
    items: Sequence[Any],
    labels: Labels,
    recipe: Recipe,
    extractor: Extractor,
    parts: tuple[slice, ...],
    progress: Progress,
) -> tuple[CutScore, CutScore] | None:
    """What linear heads on features of `extractor` and on those of 8 bits are worth, by
    cross-validation on a sample of the N training images; None where these are too few.

    parts: which features each of several averaged heads sees.
    """
    rows = sample(labels.task.kinds(labels.targets), SAMPLE)
    items, labels = [items[i] for i in rows], labels.take(rows)
    plain = recipe.changed(views=1, augmentation=NONE)
    scores = []
    for each in (extractor, eight_bits.open_eight_bits(extractor, items)):
        with progress.stage("features", len(items), "images"):
            features = extract_features(items, each, plain, progress)
        usable = {id(item) for item in features.items}
        kept = labels.take(np.flatnonzero([id(item) in usable for item in items]))
        if not are_enough(kept, 1):
            return None
        examples = kept.with_features(features.values, parts)
        precision = each.description["precision"]
        scores.append(score_cut(examples, each.cuts, {"precision": precision}, 1.0, recipe.seed))
    return scores[0], scores[1]


def serves(full: CutScore, eight: CutScore) -> bool:
    """Whether 8 bits lose nothing that these images can tell."""
    return eight.loses_to(full) <= 1 and eight.accuracy >= full.accuracy - DROP


def describe(full: CutScore, eight: CutScore) -> dict[str, Any]:
    """For run.json."""
    return {
        "images": full.images,
        "chosen": "int8" if serves(full, eight) else full.changes["precision"],
        "tried": [
            {"precision": score.changes["precision"], "accuracy": score.accuracy,
             "interval": list(score.accuracy_interval), "log_loss": score.log_loss}
            for score in (full, eight)
        ],
    }  # fmt: skip
