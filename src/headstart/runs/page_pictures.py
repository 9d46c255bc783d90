"""The images that a page shows: found again where the run had them, made small, explained.

A page shows few of many: whoever asks first is served first, and what an image may take of the page
is limited in number and in bytes.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from headstart.data.dataset import list_items
from headstart.data.item import Item, content_hash
from headstart.errors import BadImage, HeadstartError
from headstart.explain.maps import Explainer
from headstart.explain.overlay import overlay
from headstart.images.decode import decode
from headstart.report.thumbnails import SIDE, encode, shrink, thumbnail
from headstart.runs.folder import Run
from headstart.system.threads import cores, map_ahead

MOST = 420  # pictures in a page
MOST_BYTES = 3_200_000  # of pictures in a page


@dataclass
class Gallery:
    """Pictures by the identity under which the page refers to them.

    places: by image name, where the file is. wanted: by identity, name and content. pictures: the
    data URIs of those that were found. missing: how many wanted ones were not there any more.
    """

    places: Mapping[str, Item]
    wanted: dict[str, tuple[str, str]] = field(default_factory=dict)
    pictures: dict[str, str] = field(default_factory=dict)
    missing: int = 0

    def want(self, name: str, content: str) -> str | None:
        """The identity of an image's picture; None where the page has pictures enough."""
        identity = f"i{content}"
        if identity not in self.wanted and len(self.wanted) >= MOST:
            return None
        self.wanted.setdefault(identity, (name, content))
        return identity

    def fetch(self) -> None:
        """Make all that were wanted."""
        size = 0
        with ThreadPoolExecutor(cores()) as pool:
            made = map_ahead(pool, self._make, self.wanted.values())
            for identity, picture in zip(self.wanted, made, strict=True):
                if picture is None:
                    self.missing += 1
                elif size < MOST_BYTES:
                    self.pictures[identity] = picture
                    size += len(picture)

    def _make(self, wanted: tuple[str, str]) -> str | None:
        name, content = wanted
        data = read_image(self.places.get(name), content)
        try:
            return None if data is None else thumbnail(data)
        except BadImage:
            return None


def find_images(run: Run) -> dict[str, Item]:
    """By name the images of the run's source; none where it has moved or gone."""
    try:
        items = list_items(run.source, run.recipe.groups)
    except (HeadstartError, OSError):
        return {}
    return {item.name: item for item in items}


def read_image(item: Item | None, content: str) -> bytes | None:
    """The file's bytes, if they are those that the run has seen."""
    if item is None:
        return None
    try:
        data = item.read()
    except OSError:
        return None
    return data if content_hash(data).hex() == content else None


def explain_images(
    explainer: Explainer, items: Sequence[Item], classes: Sequence[str], until: float
) -> dict[int, str]:
    """By place the picture of what spoke for a class in an image; those that could be made.

    until: when no further one is begun, by time.perf_counter(): of a head of many weights each may
    take half a second.
    """
    drawn = {}
    geometry = explainer.classifier.geometry
    explained = explainer.explain(items, classes)
    for number, (item, explanation) in enumerate(zip(items, explained, strict=True)):
        if time.perf_counter() > until:
            break
        if explanation.evidence is None:
            continue
        try:
            small = shrink(decode(item.read(), (SIDE, SIDE)))
        except (BadImage, OSError):
            continue
        drawn[number] = encode(overlay(small, explanation.evidence.values, geometry))
    return drawn


def average_maps(
    explainer: Explainer, of_class: Iterable[tuple[str, Sequence[Item]]], until: float
) -> list[tuple[str, int, str]]:
    """By class how many images and the picture of where the classifier looks, on their mean.

    until: as `explain_images` has it.
    """
    rows = []
    geometry = explainer.classifier.geometry
    for name, items in of_class:
        values = np.zeros((geometry.height, geometry.width))
        mean = np.zeros((geometry.height, geometry.width, 3))
        count = 0
        if time.perf_counter() > until:
            break
        explained = explainer.explain(items, [name] * len(items))
        for item, explanation in zip(items, explained, strict=True):
            if time.perf_counter() > until:
                break
            if explanation.evidence is None:
                continue
            try:
                pixels = item.prepare(geometry)
            except (BadImage, OSError):
                continue
            evidence = explanation.evidence.values
            values += evidence / (float(np.abs(evidence).max()) or 1.0)
            mean += pixels
            count += 1
        if count:
            picture = overlay((mean / count).astype(np.uint8), values / count)
            rows.append((name, count, encode(shrink(picture, 144))))
    return rows


def open_explainer(run: Run) -> Explainer | None:
    """None for a classifier of which nothing can be explained."""
    try:
        return Explainer(run.classifier)
    except HeadstartError:
        return None
