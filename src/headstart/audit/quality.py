"""Images that look wrong by themselves or beside the others: unlike all, blank, dark, bright,
blurred, tiny, of an odd shape.

No limit is fixed alone: what is dark beside the others must be dark, and what is dark must be so
beside the others: a set of X-rays or of night scenes is no list of findings.
Letters: N images.
"""

from collections.abc import Callable, Sequence

import numpy as np

from headstart.audit.findings import Finding
from headstart.audit.neighbours import count_far
from headstart.audit.pixels import Looks
from headstart.data.item import Item

DEVIATIONS = 3.0  # from the median, in units of the median deviation, that are unlike the others
# The same of distances, above which an image is unlike the others (20 images of another set in any
# of four sets are so in 90% or more) and plainly so; of a set at most so many, and a few beside.
OUTLIERS, PLAINLY, MOST_OUTLIERS, BESIDE = 1.75, 5.0, 0.04, 20
DARK, BRIGHT = 0.32, 0.75  # the 99th percentile of the brightness at most; the 5th at least
BLURRED = 0.03  # the sharpness at most; ordinary photos have 0.05 to 0.5
BLANK = 0.015  # the standard deviation of the brightness at most
TINY, ODD = 32, 3.0  # pixels of the shorter side at most; longer side to shorter one at least


def find_outliers(items: Sequence[Item], remote: np.ndarray) -> list[Finding]:
    """Images unlike all others, by the (N,) distances that `neighbours` gives."""
    if len(items) < 20:
        return []
    distance = deviate(np.log(np.maximum(remote, 1e-6)))
    order = np.argsort(-distance, kind="stable")[: round(MOST_OUTLIERS * len(items)) + BESIDE]
    return [
        Finding(
            "outlier", "warning" if distance[i] > PLAINLY else "note", (items[i],),
            float(remote[i]),
            f"its {count_far(len(items))} nearest images are up to "
            f"{remote[i]:.2f} away, in an ordinary place up to {np.median(remote):.2f}",
            "look whether it belongs here; if not, drop it in headstart-decisions.csv",
        )
        for i in order.tolist()
        if distance[i] > OUTLIERS
    ]  # fmt: skip


def deviate(values: np.ndarray) -> np.ndarray:
    """(N,) how far above the median, in units of the median deviation (of a bell curve: sigma)."""
    middle = np.median(values)
    spread = 1.4826 * np.median(np.abs(values - middle))
    deviation: np.ndarray = (values - middle) / max(float(spread), 1e-6)
    return deviation


def find_flaws(items: Sequence[Item], looks: Looks) -> list[Finding]:
    """Blank, dark, bright, blurred images and those of odd sizes; blank ones are nothing else."""
    known = np.flatnonzero(looks.known)
    if not len(known):
        return []
    rows = Looks(looks.numbers[known], looks.thumbs[known], looks.known[known])
    blank = rows.of("contrast") <= BLANK
    findings: list[Finding] = []

    def add(kind: str, wrong: np.ndarray, score: np.ndarray, tell: Callable[[int], str],
            advice: str) -> None:  # fmt: skip
        order = np.argsort(-score, kind="stable")
        findings.extend(
            Finding(kind, "warning" if kind == "blank" else "note", (items[known[i]],),
                    float(score[i]), tell(i), advice)
            for i in order.tolist() if wrong[i]
        )  # fmt: skip

    contrast, low, high = rows.of("contrast"), rows.of("p5"), rows.of("p99")
    sharpness, sides = rows.of("sharpness"), rows.of("height", "width")
    drop = "drop it in headstart-decisions.csv if nothing can be seen in it"
    add("blank", blank, 1 - contrast, lambda i: "all of it has one brightness", drop)
    add("dark", ~blank & (high <= DARK) & (deviate(-high) > DEVIATIONS), 1 - high,
        lambda i: f"99% of it is darker than {high[i]:.0%} of white", drop)  # fmt: skip
    add("bright", ~blank & (low >= BRIGHT) & (deviate(low) > DEVIATIONS), low,
        lambda i: f"95% of it is brighter than {low[i]:.0%} of white", drop)  # fmt: skip
    soft = -np.log(np.maximum(sharpness, 1e-4))
    add("blurred", ~blank & (sharpness <= BLURRED) & (deviate(soft) > DEVIATIONS / 2),
        1 - sharpness,
        lambda i: f"even where it is sharpest its edges are faint ({sharpness[i]:.3f}, in the "
                  f"median image {np.median(sharpness):.3f})", drop)  # fmt: skip
    shorter, longer = sides.min(axis=1), sides.max(axis=1)
    shape = np.abs(np.log(sides[:, 1] / sides[:, 0]) - np.median(np.log(sides[:, 1] / sides[:, 0])))
    small = np.log(np.median(shorter) / shorter)
    tiny = (shorter <= TINY) & (small > np.log(2))
    odd = (longer / shorter >= ODD) & (shape > np.log(2))
    add("odd_size", tiny | odd, np.maximum(small, shape),
        lambda i: f"{sides[i, 1]:.0f}x{sides[i, 0]:.0f} pixels, "
                  + ("much smaller than the others" if tiny[i] else "a shape unlike the others'"),
        "look whether the subject can be seen in it")  # fmt: skip
    return findings
