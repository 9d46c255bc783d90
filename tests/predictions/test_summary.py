"""What a folder of predictions comes to, by hand."""

import pytest

from headstart.classifier import NOT_SURE, Prediction
from headstart.cli.predicted import describe
from headstart.predictions.summary import MOST, NAMED, Summary, measure_sureness
from headstart.system.json import dumps, loads


def predicted(name: str, share: float, label: str = "bees", **more: object) -> Prediction:
    shares = {label: share, "others": 1 - share}
    return Prediction(name, label, shares, **more)  # type: ignore[arg-type]


def test_how_sure() -> None:
    assert measure_sureness(predicted("a", 0.6)) == 0.6
    assert measure_sureness(Prediction("a", None, {}, error="empty file")) == -1
    unsure = Prediction("a", None, {"bees": 0.9, "ants": 0.1}, silence=NOT_SURE)
    assert -1 < measure_sureness(unsure) == pytest.approx(-0.1)
    several = Prediction("a", "bees", {"bees": 0.9, "ants": 0.3}, labels=("bees",))
    assert measure_sureness(several) == 0.7  # that there are no ants


def test_classes_are_counted_and_the_least_sure_remembered() -> None:
    summary = Summary()
    for number in range(20):
        summary.add(predicted(f"{number}.jpg", 0.5 + number / 50))
    summary.add(Prediction("broken.jpg", None, {}, error="empty file"))
    summary.add(Prediction("odd.jpg", None, {"bees": 0.99}, silence=NOT_SURE))
    summary.add(Prediction("both.jpg", "ants;bees", {"ants": 1.0, "bees": 1.0},
                           labels=("ants", "bees")))  # fmt: skip
    summary.add(Prediction("none.jpg", None, {"ants": 0.0, "bees": 0.0}, labels=()))
    assert str(summary) == "24 images: 21 bees, 1 left out, 1 not sure, 1 ants, 1 no class"
    names = [prediction.name for prediction in summary.least_sure]
    assert names == ["odd.jpg", "0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    assert len(names) == MOST


def test_of_very_many_classes_the_largest_are_named() -> None:
    summary = Summary()
    for number in range(NAMED + 2):
        for _ in range(NAMED + 2 - number):
            summary.add(predicted("a", 0.9, f"c{number}"))
    assert str(summary).startswith("253 images: 22 c0, 21 c1, ")
    assert str(summary).endswith("3 c19, 3 of 2 other classes")


def test_a_line_that_comes_again_is_named_once() -> None:
    summary = Summary()
    for _ in range(3):
        summary.add(predicted("twice.jpg", 0.5))
    assert [prediction.name for prediction in summary.least_sure] == ["twice.jpg"]
    assert str(summary) == "3 images: 3 bees"


def test_parts_come_to_the_same_as_the_whole() -> None:
    several = {"labels": ("bees", "others")}
    said = [predicted(f"{n}.jpg", 0.5 + (n * 7 % 20) / 50, **(several if n % 5 else {}))
            for n in range(20)]  # fmt: skip
    said += [Prediction("odd.jpg", None, {"bees": 0.6, "ants": 0.4}, silence=NOT_SURE)]
    whole, merged = Summary(), Summary()
    for start in (0, 6, 15):
        part = Summary()
        for prediction in said[start : {0: 6, 6: 15}.get(start)]:
            whole.add(prediction)
            part.add(prediction)
        merged.merge(Summary.parse(loads(dumps(part.to_dict()).encode())))
    assert (merged.images, merged.counts) == (whole.images, whole.counts)
    assert [p.name for p in merged.least_sure] == [p.name for p in whole.least_sure]
    assert merged.least_sure[0].silence == NOT_SURE
    assert [describe(p) for p in merged.least_sure] == [describe(p) for p in whole.least_sure]
