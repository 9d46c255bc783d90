"""Order, repeated contents, and what is done already."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from headstart.classifier import Prediction
from headstart.data.item import Item
from headstart.predictions import once
from headstart.predictions.once import Done, predict_once


class Asked:
    """Says of each file what is in it, twenty images behind, as a pipeline does."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, items: Iterable[Item]) -> Iterator[Prediction]:
        waiting: list[Prediction] = []
        for item in items:
            self.count += 1
            waiting.append(Prediction(item.name, item.path.read_text(), {}))
            if len(waiting) > 20:
                yield waiting.pop(0)
        yield from waiting


def make(folder: Path, contents: Iterable[str]) -> list[Item]:
    items = []
    for number, content in enumerate(contents):
        path = folder / f"{number}.txt"
        path.write_text(content)
        items.append(Item(path, path.name))
    return items


def test_equal_contents_are_asked_once_and_come_in_order(tmp_path: Path) -> None:
    contents = [str(number % 7) for number in range(300)]
    ask = Asked()
    answers = list(predict_once(ask, make(tmp_path, contents)))
    assert [item.name for item, _ in answers] == [f"{n}.txt" for n in range(300)]
    assert [prediction.name for _, prediction in answers] == [f"{n}.txt" for n in range(300)]
    assert [prediction.label for _, prediction in answers] == contents
    assert ask.count == 7


def test_few_rows_wait_and_few_answers_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand rows of one content would else wait for the end of the input."""
    monkeypatch.setattr(once, "MOST_WAITING", 50)
    monkeypatch.setattr(once, "REMEMBERED", 3)
    items = make(tmp_path, [str(number % 5) for number in range(10)])
    taken = 0

    def many() -> Iterator[Item]:
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield items[0] if number < 800 else items[number % 10]

    given = 0
    for item, prediction in predict_once(ask := Asked(), many()):
        given += 1
        assert prediction.label == item.path.read_text()
        assert taken - given < 150
    assert given == 1000
    assert ask.count < 600


def test_done_counts_each_name_as_often_as_it_is_there() -> None:
    done = Done(["a", "b", "a", "two\nlines"])
    assert [done.take(name) for name in ("a", "c", "a", "a", "b", "two\\nlines")] == [
        True, False, True, False, True, True
    ]  # fmt: skip
    assert not Done().take("a")
