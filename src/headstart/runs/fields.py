"""The fields of a run's files that somebody reads, and what they may be."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from headstart.system.reading import Count, Names, Share, Table, Written, format_up_to

FORMAT = 1
Figure = Annotated[float, Field(ge=-1e300, le=1e300)]  # whose differences are finite
Interval = tuple[Figure, Figure]


class Cache(Written):
    """Images whose features were there, and those whose were not."""

    hits: Count
    misses: Count


class Seconds(Written):
    """By stage, and all of them."""

    total: Figure


class Choices(Written):
    """What was tried where the recipe had left something open."""

    selection: Table | None = None
    heads: Table | None = None


class Record(Choices):
    """run.json."""

    format: format_up_to(FORMAT)  # type: ignore[valid-type]
    source: str
    validation: str | None = None
    test: str | None = None
    classes: Names
    images: dict[str, Count]
    multi: bool
    cache: Cache
    verdict: str | None
    tuning: Table | None
    linear: Table | None = None
    versions: dict[str, str] | None = None
    history: dict[str, list[Figure | None]]
    warnings: list[str]
    seconds: Seconds
    dataset: str | None = None
    stored: bool = False  # whether it was given features in files in the place of images
    before: Table | None = None  # the run before on the same images, what has changed since


class Started(Written):
    """started.json."""

    source: str
    validation: str | None = None
    test: str | None = None
    strict: bool
    dataset: str
    choices: Choices


class OfClass(Written):
    """Of one class, whatever the task."""

    name: str
    support: Count
    predicted: Count
    precision: Share | None
    recall: Share | None
    recall_interval: Interval | None
    f1: Share | None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.support and (self.recall is None or self.f1 is None):
            raise ValueError("figures of a class that has images")
        return self


class OfLabel(OfClass):
    """Of one class where an image may be in several."""

    threshold: Figure
    average_precision: Share | None


class Bin(Written):
    """Of images whose top probabilities are alike."""

    count: Count
    confidence: Figure
    accuracy: Share


class OfSplit(Written):
    """Of one split, whatever the task."""

    n: Count
    accuracy: Share | None
    accuracy_interval: Interval | None
    macro_f1: Share | None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.n and (self.accuracy is None or self.accuracy_interval is None):
            raise ValueError("figures of a split that has images")
        return self


class OneClass(OfSplit):
    """A split of metrics.json where an image is in one class."""

    balanced_accuracy: Share | None
    balanced_accuracy_interval: Interval | None
    top_5_accuracy: Share | None
    log_loss: Figure | None
    brier: Figure | None
    roc_auc: Share | None
    expected_calibration_error: Figure | None
    reliability: list[Bin]
    classes: list[OfClass]
    confusion: list[list[Count]]
    calibration_error_by_chance: tuple[Figure, Figure] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        sizes = [len(row) for row in self.confusion]  # none where there are very many classes
        if sizes and sizes != [len(self.classes)] * len(self.classes):
            raise ValueError("a row and a column of the confusion for each class")
        if self.n != sum(row.support for row in self.classes):
            raise ValueError("as many images as its classes have")
        return self


class SeveralClasses(OfSplit):
    """A split of metrics.json where an image may be in several classes."""

    mean_average_precision: Share | None
    mean_average_precision_interval: Interval | None
    micro_f1: Share | None
    micro_f1_interval: Interval | None
    macro_f1_interval: Interval | None
    hamming_loss: Share | None
    classes: list[OfLabel]


class MetricsOfOne(Written):
    """metrics.json: by split."""

    __pydantic_extra__: dict[str, OneClass]


class MetricsOfSeveral(Written):
    """metrics.json: by split."""

    __pydantic_extra__: dict[str, SeveralClasses]
