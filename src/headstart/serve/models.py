"""Classifiers by name, ready to answer, and their newer versions as they appear on disk."""

import shlex
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from headstart.classifier import Prediction, check_finished, load
from headstart.errors import BadImage, ClassifierError, HeadstartError
from headstart.explain.maps import Explainer
from headstart.images.decode import decode
from headstart.system.digest import digest
from headstart.system.files import read_regular
from headstart.system.threads import cores

RECORD = "classifier.json"
MOST_RECORD = 2**24  # bytes
VERSION = 12  # letters of the record's digest, which names the digests of all other files


@dataclass(frozen=True)
class Options:
    """What a request may ask of each image. top_k: classes to name; 0 for all. The others as in
    `Classifier.predict`; explain: a map of what spoke for the class.
    """

    top_k: int = 0
    accuracy: float | None = None
    reject: float | None = None
    explain: bool = False


@dataclass(frozen=True)
class Answer:
    """Of one image: what `predict` would say of it, and beside it what was asked for. features:
    (D,) where the classifier knows what it was trained on. picture: a PNG.
    """

    prediction: Prediction
    features: np.ndarray | None = None
    explanation: dict[str, Any] | None = None


class Served:
    """One version of a classifier, compiled. Everything here may run in many threads at once."""

    def __init__(self, name: str, run: Path) -> None:
        self.name, self.run = name, run
        check_finished(run)
        try:
            self.version = read_version(run)
        except FileNotFoundError:
            load(run)  # which says what is expected there
            raise
        self.classifier = load(run)
        self.loaded_at = time.time()
        self.knows_unlike = self.classifier.abstention.novelty is not None
        self._engine = self.classifier.engine(features=self.knows_unlike)
        self._own = threading.local()
        self._explaining = threading.Lock()  # one at a time: each has an engine of its own
        self.silence = lru_cache(maxsize=64)(self.classifier.silence)
        geometry = self.classifier.geometry
        self._infer(np.zeros((geometry.height, geometry.width, 3), np.uint8))  # the first is slow

    def check(self, options: Options) -> None:
        """Raises ClassifierError for what this classifier cannot tell."""
        self.silence(options.accuracy, options.reject)
        if options.explain:
            self._explainer  # noqa: B018

    def answer(self, source: Any, name: str, options: Options) -> Answer:
        """Of a file's bytes or an (H, W, 3) uint8 array; an error in the prediction where it cannot
        be used.
        """
        _, pixels, error = self.classifier.prepare((0, source))
        if pixels is None:
            return Answer(Prediction(name, None, {}, error))
        probabilities, *rest = self._infer(pixels)
        features = rest[0] if rest else None
        prediction = self.classifier.decide(name, probabilities)
        if options.accuracy is not None or options.reject is not None:
            prediction = self.silence(options.accuracy, options.reject)(prediction, features)
        explanation = self._explain(source) if options.explain else None
        return Answer(prediction, features, explanation)

    def _infer(self, pixels: np.ndarray) -> list[np.ndarray]:
        """What every output says, by a request that belongs to this thread."""
        request = getattr(self._own, "request", None)
        if request is None:
            request = self._own.request = self._engine.request()
        return self._engine.infer(request, pixels)

    @cached_property
    def _explainer(self) -> Explainer:
        return Explainer(self.classifier)

    def _explain(self, source: Any) -> dict[str, Any]:
        import base64

        import cv2

        from headstart.explain.overlay import overlay

        with self._explaining:
            (found,) = self._explainer.explain([source])
        evidence = found.evidence
        if evidence is None:
            raise BadImage(found.prediction.error or "cannot be explained")
        geometry = self.classifier.geometry
        image = decode(source, geometry.at_least) if isinstance(source, bytes) else source
        scale = 512 / max(512, *image.shape[:2])
        if scale < 1:
            size = tuple(max(1, round(side * scale)) for side in image.shape[1::-1])
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        drawn = overlay(image, evidence.values, geometry)
        _, png = cv2.imencode(".png", drawn[:, :, ::-1])
        return {
            "class": evidence.label,
            "logit": round(evidence.logit, 4),
            "sum": round(evidence.total, 4),
            "exact": evidence.exact,
            "picture": "data:image/png;base64," + base64.b64encode(png.tobytes()).decode(),
        }

    def describe(self) -> dict[str, Any]:
        """For who asks what is served: plain JSON types, no path."""
        classifier = self.classifier
        novelty = classifier.abstention.novelty
        geometry, about = classifier.geometry, classifier.description
        return {
            "name": self.name,
            "version": self.version,
            "classes": list(classifier.classes),
            "several_classes": classifier.task.multilabel,
            "input": {"height": geometry.height, "width": geometry.width,
                      "resize": geometry.resize},
            "backbone": about.get("backbone"),
            "precision": classifier.precision,
            "not_sure": classifier.abstention.out_of_fold is not None,
            "none_of_these": self.knows_unlike,
            "false_alarms_from": None if novelty is None else 1 / (len(novelty.scores) + 1),
            "loaded_at": round(self.loaded_at, 3),
        }  # fmt: skip


def read_version(run: Path) -> str:
    """Of the classifier in a folder: another one has another. Raises OSError."""
    folder = run / "classifier"
    folder = folder if (folder / RECORD).is_file() else run
    return digest(read_regular(folder / RECORD, MOST_RECORD))[:VERSION]


@dataclass
class Models:
    """The newest version of each. failures: by name, why the version on disk is not the one served.

    What is being answered goes on with the version that it began with.
    """

    served: dict[str, Served]
    changed: Callable[[Served], None] = lambda served: None
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def first(self) -> Served:
        """The one that is asked where none is named."""
        return next(iter(self.served.values()))

    def __iter__(self) -> Iterator[Served]:
        return iter(list(self.served.values()))

    def refresh(self) -> None:
        """Load what has changed on disk. A version that cannot be loaded leaves the old one."""
        for old in self:
            try:
                version = read_version(old.run)
                if version == old.version:
                    self.failures.pop(old.name, None)
                    continue
                new = Served(old.name, old.run)
            except (HeadstartError, OSError) as error:
                self.failures[old.name] = str(error)
                continue
            self.served[old.name] = new
            self.failures.pop(old.name, None)
            self.changed(new)


def open_models(runs: Iterable[str]) -> Models:
    """Of RUN or NAME=RUN each. Raises ClassifierError for one that is none, or a name twice."""
    served: dict[str, Served] = {}
    for text in runs:
        name, _, place = ("", "", text) if Path(text).exists() else text.partition("=")
        name, place = (name, place) if place else ("", name)
        run = Path(place)
        name = name or run.resolve().name
        if name in served:
            raise ClassifierError(
                f"expected a name for each run, found {name!r} twice. Type: headstart serve "
                f"{shlex.quote(str(served[name].run))} NEW={shlex.quote(str(run))}"
            )
        if not name or not name.isprintable() or set("/?#%") & set(name):
            raise ClassifierError(
                f"expected a name that an address can hold, found {name!r}. Type: headstart serve "
                f"NAME={shlex.quote(str(run))}"
            )
        if not place or not run.exists():
            raise ClassifierError(
                f"expected a run, found nothing at {place!r}. Give the folder that headstart train "
                "printed"
            )
        served[name] = Served(name, run)
    return Models(served)


THREADS = 2 * cores()  # while one image is computed the next is decoded
