"""The audit in brief that every training has: of what the training knows anyway, and of how a
sample of the images and the nearest pairs look.

Who shows the same is seen before a head is trained, so that copies are in one fold. Then a linear
head's own out-of-fold probabilities judge the labels. Other heads take minutes, so their images are
judged before them, by a linear head of the audit's own.
"""

from dataclasses import dataclass, replace

import numpy as np

from headstart.audit.audit import Audit, judge, relative_paths
from headstart.audit.evidence import Evidence, Opinions, ask_heads, examine_in_brief
from headstart.audit.findings import KINDS
from headstart.audit.neighbours import MOST as WIDE
from headstart.audit.neighbours import normalise
from headstart.data.given import Source
from headstart.data.item import Item
from headstart.heads.fit import Trained
from headstart.runs.steps import Inputs, find_deepest
from headstart.system.progress import Progress

MOST = 5000  # images; a whole audit of more takes more than a tenth of their training
UNPLAIN = ("outlier",)  # kinds whose evidence is figures
TOLD = ("error", "warning")  # severities that a training tells; audit.json has all


@dataclass(frozen=True)
class Examined:
    """What is known of the N images of a training before anything is said of them. values: (N, D)
    features, as heads of the audit's own are asked on.
    """

    evidence: Evidence
    values: np.ndarray

    def hold_together(self, inputs: Inputs) -> Inputs:
        """With training images that show the same in one group, as those of one content are: a head
        that has seen the copy of an image has seen the image.
        """
        training = np.array([item.split == "train" for item in self.evidence.items])
        groups = self.evidence.groups[training]
        if not self.evidence.pairs or len(np.unique(groups)) < 2:
            return inputs
        return replace(inputs, groups=groups)


def examine(inputs: Inputs, progress: Progress) -> Examined | None:
    """Who shows the same as whom, seen on a sample; None for too many images."""
    parts = list(inputs.features.values())
    if (count := sum(len(part.items) for part in parts)) > MOST:
        progress.say(f"{count:,} images are not looked through here. Type: headstart audit")
        return None
    items = [item for part in parts for item in part.items]
    with progress.stage("audit"):
        deepest = find_deepest(inputs.extractor) or slice(None)
        values = [part.values[:, 0, deepest] for part in parts]
        if values[0].shape[1] > WIDE:  # they lie in a file: projected they fit in memory
            values = [normalise(part) for part in values]
        vectors = np.concatenate(values)
        return Examined(examine_in_brief(items, inputs.task, vectors, progress), vectors)


def review(
    inputs: Inputs,
    source: Source,
    examined: Examined,
    progress: Progress,
    trained: Trained | None = None,
) -> Audit:
    """What is wrong with the images of a training, told in a line a kind.

    trained: a head with out-of-fold probabilities of all images, if there is one already.
    """
    evidence = examined.evidence
    bad = [row for part in inputs.features.values() for row in part.bad]
    with progress.stage("audit"):
        if trained is None or trained.out_of_fold is None or trained.judged is not None:
            opinions = ask_heads(evidence, examined.values, inputs.recipe.folds, inputs.recipe.seed)
        else:
            opinions = _ask(inputs, evidence, trained, trained.out_of_fold)
        findings, ranking = judge(inputs.dataset, evidence, opinions, bad)
    audit = Audit(
        len(inputs.dataset.items), findings, relative_paths(inputs.dataset, source), ranking
    )
    _tell(audit, progress)
    return audit


def _ask(inputs: Inputs, evidence: Evidence, trained: Trained, out_of_fold: np.ndarray) -> Opinions:
    """What the trained head says: of training images out of fold, of the others as it is."""
    rows = [
        out_of_fold if split == "train" else trained.head.probabilities(part.values[:, 0])
        for split, part in inputs.features.items()
    ]
    probabilities = np.concatenate(rows)

    def right() -> dict[Item, bool]:
        hits = inputs.task.are_right(probabilities, evidence.targets)
        return {item: bool(hit) for item, hit in zip(evidence.items, hits, strict=True)
                if item.split != "train"}  # fmt: skip

    return Opinions(probabilities, right)


def _tell(audit: Audit, progress: Progress) -> None:
    for kind in dict.fromkeys(finding.kind for finding in audit.findings):
        findings = [finding for finding in audit.of(kind) if finding.severity in TOLD]
        if kind == "unreadable" or not findings:  # told already; no reason to stop
            continue
        first = findings[0]
        names = " = ".join(audit.paths[item] for item in first.items[:2])
        one, many = KINDS[kind]
        count, evidence = len(findings), first.evidence.partition("; of ")[0]
        told = f"audit: {count:,} {one if count == 1 else many}"
        if kind in UNPLAIN:
            progress.say(f"{told}, the first {names}")
            progress.detail(f"  {names}: {evidence}")
        else:
            progress.say(f"{told}; {names + ': ' if names else ''}{evidence}")
