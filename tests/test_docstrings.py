"""Every public name has an example in its docstring, which runs as it stands."""

import doctest
import importlib.util
import inspect
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import headstart

METHODS = [
    headstart.Classifier.predict, headstart.Classifier.predict_proba, headstart.Classifier.stream,
    headstart.Classifier.extract_features, headstart.Classifier.save,
]  # fmt: skip
PUBLIC = [headstart, *(getattr(headstart, name) for name in headstart.__all__), *METHODS]
FLAGS = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL


@pytest.fixture(scope="module", autouse=True)
def here(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with photos/ and runs/photos-1, as the examples have it."""
    folder = tmp_path_factory.mktemp("examples")
    shutil.copytree(tiny, folder / "photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        headstart.train("photos", out="runs/photos-1")
        yield folder


def name_of(thing: Any) -> str:
    return str(getattr(thing, "__qualname__", thing.__name__))


@pytest.mark.parametrize("thing", PUBLIC, ids=name_of)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # TensorFlow's
def test_the_example_runs_as_it_stands(thing: Any, capsys: pytest.CaptureFixture[str]) -> None:
    if thing is headstart.finetune and importlib.util.find_spec("tensorflow") is None:
        pytest.skip("needs TensorFlow: pip install 'headstart[tensorflow]'")
    examples = doctest.DocTestParser().get_doctest(
        inspect.getdoc(thing) or "", {"headstart": headstart, "Path": Path}, name_of(thing),
        None, None,
    )  # fmt: skip
    assert examples.examples, f"{name_of(thing)} has no example"
    result = doctest.DocTestRunner(optionflags=FLAGS).run(examples)
    assert result.failed == 0, capsys.readouterr().out
