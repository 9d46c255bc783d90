"""The result of a training: save, load, predict.

A classifier is a folder (see `saved.folder`). Nothing in it is code; loading one runs none.
"""

import hashlib
import json
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from headstart.abstention.abstention import Abstention, from_arrays
from headstart.abstention.selective import check_accuracy
from headstart.data.address import hide, read_address
from headstart.data.frames import is_table, list_images
from headstart.data.item import Item, content_hash
from headstart.data.places import images_in
from headstart.errors import BadImage, ClassifierError
from headstart.features.engine import OpenVinoEngine
from headstart.heads.head import Head
from headstart.images import augment
from headstart.images.geometry import Geometry, draw_canary, prepare, prepare_pixels
from headstart.metrics.task import MultiLabel, SingleLabel, Task
from headstart.saved import folder as saved
from headstart.system.threads import cores, map_ahead

if TYPE_CHECKING:
    from headstart.features.extractor import Extractor


NOT_SURE, NONE_OF_THESE = "not sure", "none of these"


@dataclass(frozen=True)
class Prediction:
    """What the classifier says of one image; `error` is why it could not say anything.

    probabilities: by class name, all classes, most probable first. labels: where an image may be in
    several classes, those above their thresholds (`label` is then "a;b").
    silence: NOT_SURE or NONE_OF_THESE where the classifier was asked not to answer then: there is
    no label. typicality: where "none of these" was asked for, the share of training images that
    are as far from all others as this image is.
    """

    name: str
    label: str | None
    probabilities: dict[str, float]
    error: str | None = None
    labels: tuple[str, ...] | None = None
    silence: str | None = None
    typicality: float | None = None

    @property
    def probability(self) -> float | None:
        """Of the label; None where an image may have several."""
        return self.probabilities.get(self.label) if self.label is not None else None

    def top(self, k: int) -> list[tuple[str, float]]:
        """The k most probable classes with their probabilities."""
        return list(self.probabilities.items())[:k]


class Classifier:
    """Says which class an image belongs to.

    classes: the C names, in the order of the probabilities. task: whether an image is in one of
    them or in several, with (C,) thresholds. geometry: how an image becomes the
    network's input. Use `load` to get one from a folder.

    >>> classifier = headstart.load("runs/photos-1")
    >>> classifier
    Classifier(2 classes: blue, red)
    >>> classifier.predict("photos/red/0.jpg").label
    'red'
    """

    def __init__(
        self,
        classes: Sequence[str],
        geometry: Geometry,
        precision: str,
        head: Head,
        model: Any,
        description: dict[str, Any] | None = None,
        abstention: Abstention | None = None,
    ) -> None:
        self.classes = tuple(classes)
        self.geometry = geometry
        self.precision = precision
        self.head = head
        self.description = description or {}
        self.abstention = abstention or Abstention()
        self._model = model
        thresholds = self.description.get("thresholds")
        self.thresholds = None if thresholds is None else np.array(thresholds)
        kind: type[Task] = SingleLabel if thresholds is None else MultiLabel
        self.task = kind(self.classes)

    def __repr__(self) -> str:
        return f"Classifier({len(self.classes)} classes: {', '.join(self.classes[:8])}" + (
            ", ...)" if len(self.classes) > 8 else ")"
        )

    @overload
    def predict(
        self, source: "list[Any] | tuple[Any, ...]", views: int = 1, *,
        accuracy: float | None = None, reject: float | None = None,
    ) -> list[Prediction]: ...  # fmt: skip

    @overload
    def predict(
        self, source: Any, views: int = 1, *, accuracy: float | None = None,
        reject: float | None = None,
    ) -> Any: ...  # fmt: skip

    def predict(
        self, source: Any, views: int = 1, *, accuracy: float | None = None,
        reject: float | None = None,
    ) -> Any:  # fmt: skip
        """One Prediction for one image; a list for a list, a folder, an archive, a (N, H, W, 3)
        array, a data frame or a data set.

        source: a path, bytes, PIL image, (H, W[, 1, 3 or 4]) uint8 array, or any number of these,
        one after the other, or in the column `image` or `path`. views: probabilities
        are averaged over the image and views - 1 of its views. One image that cannot be used
        raises BadImage; among many it gives a Prediction with `error` set.
        accuracy: answer only where so many answers are right, such as 0.99. reject: do not answer
        where an image is unlike all that was trained on, at this share of false alarms, such as
        0.05. Raises ClassifierError where the classifier cannot tell.

        >>> classifier = headstart.load("runs/photos-1")
        >>> classifier.predict("photos/red/0.jpg").probability > 0.9
        True
        >>> [prediction.label for prediction in classifier.predict("photos/blue/")][:3]
        ['blue', 'blue', 'blue']
        """
        images, alone = _images(source)
        predictions = list(self.stream(images, views, accuracy=accuracy, reject=reject))
        if not alone:
            return predictions
        (prediction,) = predictions
        if prediction.error is not None:
            raise BadImage(prediction.error)
        return prediction

    def predict_proba(self, source: Any) -> np.ndarray:
        """(N, C) float32 probabilities, columns in the order of `classes`.

        source: as `predict` takes it; one image gives one row. Raises BadImage, naming the image,
        if one cannot be used.

        >>> headstart.load("runs/photos-1").predict_proba("photos/").shape
        (48, 2)
        """
        images, _ = _images(source)
        rows = []
        for prediction in self.stream(images):
            if prediction.error is not None:
                raise BadImage(f"{prediction.name}: {prediction.error}")
            rows.append([prediction.probabilities[name] for name in self.classes])
        return np.array(rows, np.float32).reshape(-1, len(self.classes))

    def extract_features(self, source: Any) -> np.ndarray:
        """(N, D) float32 features, what the network says of each image before the head.

        source: as `predict` takes it; one image gives one row. Raises BadImage, naming the image,
        if one cannot be used.

        >>> headstart.load("runs/photos-1").extract_features("photos/red/0.jpg").shape
        (1, 1280)
        """
        images, _ = _images(source)
        rows = []
        for name, error, _, features in self.look(images, features=True):
            if features is None:
                raise BadImage(f"{name}: {error}")
            rows.append(features)
        return np.array(rows, np.float32).reshape(-1, self.head.dimensions)

    def stream(
        self,
        sources: Iterable[Any],
        views: int = 1,
        *,
        accuracy: float | None = None,
        reject: float | None = None,
    ) -> Iterator[Prediction]:
        """A Prediction for each source, in order, decoding ahead in threads; memory stays flat.

        Arguments and errors as of `predict`.

        >>> folder = Path("photos/red")
        >>> for prediction in headstart.load("runs/photos-1").stream(folder.glob("*.jpg")):
        ...     assert prediction.label == "red"
        """
        silence = self.silence(accuracy, reject)
        for name, error, rows, features in self.look(sources, views, features=reject is not None):
            if rows is None:
                yield Prediction(name, None, {}, error)
            else:
                prediction = self.decide(name, rows.mean(axis=0))
                yield silence(prediction, features)

    def silence(
        self, accuracy: float | None, reject: float | None
    ) -> Callable[[Prediction, np.ndarray | None], Prediction]:
        """What takes an answer back where it had better not be given, told the image's (D,)
        features where `reject` is not None. Raises ClassifierError where the classifier cannot
        tell.
        """
        thresholds = novelty = None
        if accuracy is not None:
            check_accuracy(accuracy)
            if self.thresholds is not None:
                raise ClassifierError(
                    "expected a classifier of one class an image, found one of several, which is "
                    "never asked how sure it is of them together. Type: it without --accuracy"
                )
            thresholds = self.abstention.answers().answer(accuracy).thresholds
        if reject is not None:
            novelty = self.abstention.unlike()
            novelty.check_rate(reject)

        def judge(prediction: Prediction, features: np.ndarray | None) -> Prediction:
            if thresholds is not None:
                label, probability = prediction.top(1)[0]
                if probability < thresholds[self.classes.index(label)]:
                    prediction = replace(prediction, label=None, silence=NOT_SURE)
            if novelty is not None and features is not None and reject is not None:
                typicality = float(novelty.typicality(novelty.distances(features[None]))[0])
                prediction = replace(prediction, typicality=typicality)
                if typicality <= reject:
                    labels = None if prediction.labels is None else ()
                    prediction = replace(
                        prediction, label=None, labels=labels, silence=NONE_OF_THESE
                    )
            return prediction

        return judge

    def by_view(
        self, sources: Iterable[Any], views: int = 1
    ) -> Iterator[tuple[str, str | None, np.ndarray | None]]:
        """Name, error and (V, C) probabilities of each source, the image itself first.

        The further views are those of the augmentation that the classifier was trained with, of
        flipping where there was none; V is no more than there are different ones.
        """
        for name, error, rows, _ in self.look(sources, views):
            yield name, error, rows

    def look(
        self, sources: Iterable[Any], views: int = 1, *, features: bool = False
    ) -> Iterator[tuple[str, str | None, np.ndarray | None, np.ndarray | None]]:
        """As `by_view`, and the (D,) features of the image itself where they are asked for."""
        engine = self.engine(features=features)
        augmentation = _read_augmentation(self.description.get("augmentation"))
        count = min(views, augment.distinct_views(augmentation) or views)
        names: list[tuple[str, str | None]] = []

        def good(pool: ThreadPoolExecutor) -> Iterator[np.ndarray]:
            for name, pixels, error in map_ahead(pool, self.prepare, enumerate(sources)):
                names.append((name, error))
                if pixels is not None:
                    yield pixels
                    own = content_hash(pixels.tobytes()) if count > 1 else b""
                    for k in range(1, count):
                        yield augment.make_view(
                            pixels, augmentation, seed=0, image_hash=own, view=k
                        )

        with ThreadPoolExecutor(cores()) as pool:
            given = 0
            rows: list[list[np.ndarray]] = []
            for outputs in engine.run_all(good(pool)):
                rows.append(outputs)
                if len(rows) < count:
                    continue
                while names[given][1] is not None:
                    yield *names[given], None, None
                    given += 1
                seen = rows[0][1] if features else None
                yield names[given][0], None, np.stack([row[0] for row in rows]), seen
                rows = []
                given += 1
            for name, error in names[given:]:
                yield name, error, None, None

    def fingerprint(self) -> str:
        """Of all that decides what it says: classes, preprocessing, network's description, head."""
        told = [self.classes, str(self.geometry), self.precision, self.description]
        content = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode())
        for name, array in sorted(self.head.arrays().items()):
            content.update(name.encode() + np.ascontiguousarray(array).data)
        return content.hexdigest()[:24]

    def canary(self) -> np.ndarray:
        """(D + C,) features and probabilities of one fixed image, the latter alone where the graph
        does not name its features: they change when what is said of images would.
        """
        try:
            engine = self.engine(features=True)
        except ClassifierError:
            engine = self.engine()
        (rows,) = engine.run_all([draw_canary(self.geometry)])
        return np.concatenate(rows[::-1])

    def graph(self) -> Any:
        """An OpenVINO model of its own for who asks, from uint8 image to probabilities.

        Raises ClassifierError if there is no network behind this classifier.
        """
        if self._model is None:
            raise ClassifierError(
                "expected a classifier with a network, found a head alone. Open one with load"
            )
        return self._model.clone()

    def engine(self, *, features: bool = False) -> OpenVinoEngine:
        """What runs the network, compiled once: (1, C) probabilities, and (1, D) features if asked.

        Raises ClassifierError where the graph does not name its features.
        """
        return self._watched if features else self._engine

    @cached_property
    def _engine(self) -> OpenVinoEngine:
        return OpenVinoEngine(self._model, self.precision)

    @cached_property
    def _watched(self) -> OpenVinoEngine:
        """The same network, which gives its features too."""
        graph = self.graph()
        graph.add_outputs([find_features(graph)])
        return OpenVinoEngine(graph, self.precision)

    def prepare(self, numbered: tuple[int, Any]) -> tuple[str, np.ndarray | None, str | None]:
        """Name, (H, W, 3) network's input and error of an image with its number."""
        index, source = numbered
        name = f"image {index + 1}"
        try:
            if isinstance(source, str | Path):
                source = Item(Path(source), str(source))
            if isinstance(source, Item):
                name = source.name
                return name, source.prepare(self.geometry), None
            if isinstance(source, bytes | bytearray | memoryview):
                return name, prepare(bytes(source), self.geometry), None
            return name, prepare_pixels(source, self.geometry), None
        except BadImage as error:
            return name, None, error.reason
        except OSError as error:
            return name, None, f"cannot be read: {error.strerror or error}"

    def decide(self, name: str, probabilities: np.ndarray) -> Prediction:
        """What the (C,) probabilities of an image say of it."""
        order = np.argsort(-probabilities, kind="stable")
        ranked = {self.classes[i]: float(probabilities[i]) for i in order}
        labels = self.task.decide(probabilities, self.thresholds)
        if self.task.multilabel:
            return Prediction(name, ";".join(labels), ranked, labels=labels)
        return Prediction(name, labels[0], ranked)

    def save(self, folder: str | Path) -> Path:
        """Write the classifier to `folder`, whole or not at all; an older one is replaced.

        Raises StorageError if there is no room.

        >>> copy = headstart.load("runs/photos-1").save("copy")
        >>> headstart.load(copy).classes
        ('blue', 'red')
        """
        folder = Path(folder)
        record = {
            "classes": list(self.classes),
            "geometry": asdict(self.geometry),
            "precision": self.precision,
            **self.description,
        }
        saved.write(folder, record, self.head, self._model, self.abstention.arrays())
        return folder


def assemble(
    extractor: "Extractor",
    head: Head,
    classes: Sequence[str],
    description: dict[str, Any],
    abstention: Abstention | None = None,
) -> Classifier:
    """Extractor and head as one classifier, one OpenVINO model from image to probabilities."""
    import openvino

    model = None
    if extractor.network is not None:
        graph = extractor.graph()
        features = graph.get_results()[0].input_value(0)
        probabilities = head.to_openvino(features)
        probabilities.output(0).tensor.set_names({"probabilities"})
        model = openvino.Model([probabilities.output(0)], graph.get_parameters(), "classifier")
        model.set_rt_info(json.dumps(list(classes), ensure_ascii=False), ["headstart", "classes"])
    precision = extractor.description.get("precision", "f32")
    return Classifier(classes, extractor.geometry, precision, head, model, description, abstention)


def find_features(graph: Any) -> Any:
    """The port of a classifier's graph that holds its features.

    Raises ClassifierError where it does not name them.
    """
    for node in graph.get_ordered_ops():
        if "features" in node.output(0).get_names():
            return node.output(0)
    raise ClassifierError(
        "expected a classifier whose graph names its features, found another make. Train again: "
        "headstart train PHOTOS"
    )


def load(path: "str | os.PathLike[str]") -> Classifier:
    """The classifier in a folder, or in the `classifier` folder of a run (also a Run itself).

    Raises ClassifierError if there is none, if it is damaged, if a newer headstart wrote it, or if
    its training was stopped before its end.

    >>> headstart.load("runs/photos-1").predict("photos/blue/1.png").label
    'blue'
    """
    folder = Path(path)
    check_finished(folder)
    if (folder / "classifier" / saved.RECORD).is_file():
        folder = folder / "classifier"
    found = saved.read(folder)
    record = found.record
    geometry = Geometry(
        **{field.name: record["geometry"][field.name] for field in fields(Geometry)}
    )
    description = {key: value for key, value in record.items() if key not in _OWN}
    precision = _able(record["precision"])
    abstention = from_arrays(found.abstention, len(record["classes"]))
    return Classifier(
        record["classes"], geometry, precision, found.head, found.model, description, abstention
    )  # fmt: skip


STARTED = "started.json"  # in a run's folder until run.json says that it is whole


def is_unfinished(folder: Path) -> bool:
    """Whether a training began there that has not come to its end."""
    return (folder / STARTED).is_file() and not (folder / "run.json").exists()


def check_finished(folder: Path) -> None:
    """Raises ClassifierError if the training there has not come to its end."""
    if is_unfinished(folder):
        raise ClassifierError(
            f"expected a finished run, found one in {folder} that was stopped or is still "
            f"training. Type: {resume_command(folder)}"
        )


def resume_command(folder: Path) -> str:
    """What to type to go on with a training that was stopped."""
    return f"headstart train --resume {shlex.quote(str(folder))}"


_OWN = {"format", "classes", "geometry", "precision", "head", "parts", "digest"}


def _able(precision: str) -> str:
    """A classifier trained in bf16 also runs, in f32, on a processor without it."""
    from headstart.features.engine import resolve_precision

    return resolve_precision("auto") if precision == "bf16" else precision


def _images(source: Any) -> tuple[Iterable[Any], bool]:
    """The images that a source stands for, and whether it is one image by itself."""
    if isinstance(source, str | Path):
        items = images_in([source])
        place = hide(address) if (address := read_address(source)) else None
        alone = Path(os.path.expanduser(source)).is_file() if place is None else (
            [place] == [item.name for item in items])  # fmt: skip
        return items, len(items) == 1 and alone
    if isinstance(source, np.ndarray) and source.dtype.kind not in "OUST":  # not of paths
        return (list(source), False) if source.ndim == 4 else ([source], True)
    if is_table(source):
        return list_images(source), False
    single = isinstance(source, bytes | bytearray | memoryview | Item)
    if single or not isinstance(source, Iterable):
        return [source], True
    return _expand(source), False


def _expand(sources: Iterable[Any]) -> Iterator[Any]:
    """Folders and archives in a list stand for the images in them."""
    for source in sources:
        if isinstance(source, str | Path):
            yield from images_in([source])
        else:
            yield source


def _read_augmentation(table: dict[str, Any] | None) -> augment.Augmentation:
    """What it was trained with, from its JSON; flips where there was none."""
    if not table:
        return augment.FLIP
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}
    return augment.Augmentation(**values)
