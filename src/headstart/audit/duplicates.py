"""Copies: exact ones by content, near ones by features or small pictures that propose, and by
correlation of the pictures laid over each other, which decides.

A re-encoded, resized or darkened copy looks the same when it is small; a mirrored one when it is
mirrored back; a cropped one at a place and scale that are sought. Fine structure alone is compared:
two photos of one scene share their large shapes.
Shapes: N images; pictures are (N, THUMB, THUMB).
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from headstart.audit.findings import Finding, Severity
from headstart.audit.neighbours import blocks, top
from headstart.audit.pixels import THUMB, Looks
from headstart.data.item import Item, list_first
from headstart.system.threads import cores

SMALL, COARSE = 16, 32  # pixels of a side, for proposals and for the first look
# Correlations of fine structure, measured on copies of images of four sets and on the likest other
# pairs. As they lie: copies 0.93 to 1, others 0.86 at most. Laid over each other: copies 0.96 to 1,
# others 0.92 at most. To be looked at further: of small pictures, on the first look, on the second.
SURE, SURE_LAID_OVER = 0.9, 0.94
POSSIBLE, PERHAPS, LIKELY = 0.3, 0.68, 0.8
SCALES = (0.83, 0.92)
FINER = (0.8, 0.825, 0.85, 0.875, 0.9, 0.925, 0.95, 0.975)
EDGE = 2  # pixels of a picture that may come from beyond the other
KEPT = 20_000  # pictures in memory
LEAST = 32  # pixels of the shorter side: of fewer, different images look the same (digits of 8x8)
FLAT = 2.0  # levels of 255: pictures with less contrast have no structure to compare


@dataclass(frozen=True)
class Pair:
    """Two images that show the same. first, second: their numbers. likeness: 0..1."""

    first: int
    second: int
    likeness: float
    how: str


def find_pairs(looks: Looks, near: np.ndarray, contents: Sequence[bytes]) -> list[Pair]:
    """Near-duplicates among the images, each pair once. near: (N, K) numbers of the nearest by
    features. Copies of one content are no pair.
    """
    return compare_pairs(looks, _propose(looks, near, contents))


def propose_nearest(
    vectors: np.ndarray, near: np.ndarray, contents: Sequence[bytes], most: int
) -> list[tuple[int, int]]:
    """Of images that are nearest to each other by their (N, D) vectors the `most` nearest pairs.
    near: (N,) the nearest of each.
    """
    own = np.arange(len(near))
    first = np.flatnonzero((near[near] == own) & (own < near))
    second = near[first]
    distance = 1 - np.einsum("nd,nd->n", vectors[first], vectors[second])
    order = np.argsort(distance, kind="stable")
    pairs = zip(first[order].tolist(), second[order].tolist(), strict=True)
    return [(i, j) for i, j in pairs if contents[i] != contents[j]][:most]


def compare_pairs(looks: Looks, proposed: Sequence[tuple[int, int]]) -> list[Pair]:
    """Those of the proposed pairs that show the same."""
    usable = _usable(looks)
    proposed = [(i, j) for i, j in proposed if usable[i] and usable[j]]
    pictures = _Pictures(looks.thumbs)
    with ThreadPoolExecutor(cores(), "compare") as pool:
        found = pool.map(pictures.compare, proposed, chunksize=64)
        return [pair for pair in found if pair is not None]


def _propose(looks: Looks, near: np.ndarray, contents: Sequence[bytes]) -> list[tuple[int, int]]:
    """Each image with those that are nearest to it by features or as small pictures."""
    small = np.stack([cv2.resize(t, (SMALL, SMALL), interpolation=cv2.INTER_AREA)
                      for t in looks.thumbs])  # fmt: skip
    plain, mirrored = _unit(small), _unit(small[:, :, ::-1])
    most = near.shape[1]
    by_features: set[tuple[int, int]] = set()
    by_looks: set[tuple[int, int]] = set()
    for rows in blocks(len(small), len(small)):
        alike = np.maximum(plain[rows] @ plain.T, plain[rows] @ mirrored.T)
        own = np.arange(rows.start, rows.stop)
        alike[np.arange(len(own)), own] = -2
        for found, others in ((by_features, near[rows]), (by_looks, top(alike, most))):
            likely = np.take_along_axis(alike, others, axis=1) > POSSIBLE
            first = np.broadcast_to(own[:, None], others.shape)[likely]
            found.update(zip(first.tolist(), others[likely].tolist(), strict=True))
    pairs = {(min(pair), max(pair)) for pair in by_features | by_looks}
    return sorted((i, j) for i, j in pairs if contents[i] != contents[j])


def _usable(looks: Looks) -> np.ndarray:
    """(N,) whether a picture has structure enough to be compared."""
    known = np.flatnonzero(looks.known)
    usable = np.zeros(len(looks.known), bool)
    usable[known] = looks.thumbs[known].std(axis=tuple(range(1, looks.thumbs.ndim))) > FLAT
    return usable & (looks.of("height", "width").min(axis=1) >= LEAST)


def _unit(pictures: np.ndarray) -> np.ndarray:
    rows = pictures.reshape(len(pictures), -1).astype(np.float32)
    rows = rows - rows.mean(axis=1, keepdims=True)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


class _Pictures:
    """The fine structure of small pictures, compared in pairs, by several threads at once."""

    def __init__(self, thumbs: np.ndarray) -> None:
        self.thumbs = thumbs
        self.kept: dict[tuple[int, int, bool], np.ndarray] = {}

    def compare(self, pair: tuple[int, int]) -> Pair | None:
        """The pair if it shows the same."""
        first, second = pair
        for mirrored in (False, True):
            word = ", mirrored" if mirrored else ""
            likeness = _correlate(self.fine(first, THUMB), self.fine(second, THUMB, mirrored))
            if likeness >= SURE:
                return Pair(first, second, likeness, f"the same picture{word}")
            likeness = max(self.lay_over(first, second, mirrored),
                           self.lay_over(second, first, mirrored))  # fmt: skip
            if likeness >= SURE_LAID_OVER:
                return Pair(first, second, likeness, f"one is part of the other{word}")
        return None

    def lay_over(self, whole: int, part: int, mirrored: bool) -> float:
        """How like `part` is to a part of `whole`; 0 where it is plainly none."""
        coarse, _, _ = _seek(self.fine(whole, COARSE), self.fine(part, COARSE, mirrored), SCALES)
        if coarse < PERHAPS:
            return 0.0
        likeness, scale, (x, y) = _seek(
            self.fine(whole, THUMB), self.fine(part, THUMB, mirrored), FINER
        )
        if likeness < LIKELY:
            return 0.0
        half = (scale - 1) / 2  # pixel centres
        warp = np.array([[scale, 0, x + half], [0, scale, y + half]], np.float32)
        shown = self.thumbs[part]
        return _refine(self.thumbs[whole], shown[:, ::-1] if mirrored else shown, warp)

    def fine(self, number: int, side: int, mirrored: bool = False) -> np.ndarray:
        """(side, side) float32 without what is smooth in it, and without noise."""
        kept = self.kept.get((number, side, mirrored))
        if kept is not None:
            return kept
        picture = self.thumbs[number]
        if side != THUMB:
            picture = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
        picture = _sharpen(picture, 3 if side == THUMB else 2)
        if mirrored:
            picture = np.ascontiguousarray(picture[:, ::-1])
        if len(self.kept) < KEPT:
            self.kept[number, side, mirrored] = picture
        return picture


def _soften(picture: np.ndarray) -> np.ndarray:
    result: np.ndarray = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), 0.8)
    return result


def _sharpen(picture: np.ndarray, sigma: float) -> np.ndarray:
    softened = _soften(picture)
    result: np.ndarray = softened - cv2.GaussianBlur(softened, (0, 0), sigma)
    return result


def _correlate(a: np.ndarray, b: np.ndarray) -> float:
    return float(cv2.matchTemplate(a, b, cv2.TM_CCOEFF_NORMED)[0, 0])


def _seek(
    whole: np.ndarray, part: np.ndarray, scales: Sequence[float]
) -> tuple[float, float, tuple[int, int]]:
    """The highest correlation of `part`, at any of the scales, with any place of `whole`; its scale
    and (x, y).
    """
    best: tuple[float, float, tuple[int, int]] = (0.0, 1.0, (0, 0))
    for scale in scales:
        side = round(scale * len(whole))
        smaller = cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA)
        _, likeness, _, place = cv2.minMaxLoc(
            cv2.matchTemplate(whole, smaller, cv2.TM_CCOEFF_NORMED)
        )
        if likeness > best[0]:
            best = float(likeness), side / len(whole), place
    return best


def _refine(whole: np.ndarray, part: np.ndarray, warp: np.ndarray) -> float:
    """The correlation once `whole` is laid over `part` to a fraction of a pixel (Evangelidis and
    Psarakis 2008, https://doi.org/10.1109/TPAMI.2008.113). warp: (2, 3), from where it begins.
    """
    enough = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 1e-4)
    try:
        _, warp = cv2.findTransformECC(
            _soften(part), _soften(whole), warp, cv2.MOTION_AFFINE, enough, None, 1
        )
    except cv2.error:  # it found no way to it
        return 0.0
    if not 0.5 < abs(float(np.linalg.det(warp[:, :2]))) < 1.1:
        return 0.0
    laid = cv2.warpAffine(whole, warp, part.shape[::-1], borderMode=cv2.BORDER_REPLICATE,
                          flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)  # fmt: skip
    inside = slice(EDGE, -EDGE), slice(EDGE, -EDGE)
    a, b = (np.ascontiguousarray(_sharpen(p, 3)[inside]) for p in (laid, part))
    return _correlate(a, b)


def join(count: int, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """(count,) numbers, alike for what pairs tie together: the least of each set."""
    above = list(range(count))

    def top_of(number: int) -> int:
        while above[number] != number:
            above[number] = above[above[number]]
            number = above[number]
        return number

    for pair in pairs:
        first, second = sorted(map(top_of, pair))
        above[second] = first
    return np.array([top_of(number) for number in range(count)], int)


def find_copies(items: Sequence[Item]) -> list[Finding]:
    """Exact copies, a finding for each content that several files have."""
    sets: dict[bytes, list[Item]] = {}
    for item in items:
        sets.setdefault(item.content_hash, []).append(item)
    return [
        _describe("duplicate", members, 1.0, "the same bytes")
        for members in sets.values()
        if len(members) > 1
    ]


def find_near_copies(items: Sequence[Item], pairs: Sequence[Pair]) -> list[Finding]:
    """Near-duplicates, a finding for each set that pairs tie together, the likest first."""
    top_of = join(len(items), [(pair.first, pair.second) for pair in pairs])
    sets: dict[int, list[Pair]] = {}
    for pair in pairs:
        sets.setdefault(int(top_of[pair.first]), []).append(pair)
    findings = []
    for number, tied in sets.items():
        members = [items[i] for i in np.flatnonzero(top_of == number).tolist()]
        how = ", ".join(dict.fromkeys(pair.how for pair in tied))
        least = min(pair.likeness for pair in tied)
        findings.append(_describe("near_duplicate", members, least, f"{how} ({least:.0%} alike)"))
    return sorted(findings, key=lambda finding: -finding.score)


def _describe(kind: str, members: list[Item], score: float, how: str) -> Finding:
    labels = list(dict.fromkeys(item.label for item in members))
    severity: Severity = "note"
    evidence, advice = how, "keep one of them"
    if len(labels) > 1:
        severity = "error"
        evidence += f", under {len(labels)} labels: {list_first(labels)}"
        advice = "one of the labels is wrong: relabel or drop it"
    elif _sides(members):
        severity = "warning"
    return Finding(kind, severity, tuple(members), score, evidence, advice)


def _sides(items: Sequence[Item]) -> bool:
    """Whether some are for training and others are to judge it."""
    splits = {item.split for item in items}
    return "train" in splits and len(splits) > 1


def find_leaks(
    items: Sequence[Item], pairs: Sequence[Pair], judged: Callable[[], Mapping[Item, bool]]
) -> list[Finding]:
    """Sets of copies, exact or near, on both sides of the split. judged: of validation and test
    images, whether a head that was trained on the training images is right; asked only if there
    are such sets.
    """
    number: dict[bytes, int] = {}
    tied = [(i, number.setdefault(item.content_hash, i)) for i, item in enumerate(items)]
    top_of = join(len(items), [*tied, *((pair.first, pair.second) for pair in pairs)])
    sets: dict[int, list[Item]] = {}
    for item, key in zip(items, top_of.tolist(), strict=True):
        sets.setdefault(key, []).append(item)
    leaking = [members for members in sets.values() if _sides(members)]
    leaked = {item for members in leaking for item in members if item.split != "train"}
    right = judged() if leaked else {}
    kept = [good for item, good in right.items() if item not in leaked]
    details: dict[str, float] = {}
    told = ""
    if kept:
        accuracy, without = float(np.mean(list(right.values()))), float(np.mean(kept))
        details = {"accuracy": round(accuracy, 4), "accuracy_without": round(without, 4)}
        told = (f"; of validation and test images {accuracy:.1%} are right, "
                f"{without:.1%} without the {len(leaked):,} that leak")  # fmt: skip
    return [
        Finding(
            "leak", "error", tuple(members), 1.0,
            f"{sum(item.split == 'train' for item in members)} in training, "
            f"{sum(item.split != 'train' for item in members)} among those that judge it{told}",
            "the figures are flattered: drop one side, or put them into one group (--groups)",
            details,
        )
        for members in leaking
    ]  # fmt: skip
