"""What a Python program sees: a run or its folder alike, choices that editors know, no inner
module in what users read.
"""

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Unpack, get_args, get_type_hints

import pytest

import headstart
from headstart.recipe import Choices

ROOT = Path(__file__).parents[1]
READ = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")),
        *sorted((ROOT / "examples").glob("*.ipynb"))]  # fmt: skip


@pytest.fixture(scope="module")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> headstart.Run:
    out = tmp_path_factory.mktemp("surface") / "run"
    return headstart.train(tiny, out=out, cut="block1a_project_bn", size=64)


FORMS: dict[str, Callable[[headstart.Run], Any]] = {
    "run": lambda run: run,
    "path": lambda run: run.folder,
    "text": lambda run: str(run.folder),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_run_and_its_folder_are_taken_alike(form: str, run: headstart.Run, tiny: Path) -> None:
    given = FORMS[form](run)
    assert headstart.Run(given) == run
    assert headstart.load(given).classes == ("blue", "red")
    assert headstart.resume(given) == run  # which is finished
    assert headstart.evaluate(given, tiny)["all"].n == 48
    assert headstart.compare(given, run).runs == (run, run)
    assert headstart.remedies(given, budget=0).tried[0].name == "as it was"


def test_a_run_tells_of_itself(run: headstart.Run) -> None:
    n = run.metrics["validation"].n
    assert re.search(rf"^validation +100\.0% of {n} images right", run.summary(), re.M)


def test_studies_take_choices_as_train_does(tiny: Path) -> None:
    selection = headstart.measure_cuts(tiny, "quick", size=64, budget=0, seed=3)
    assert selection.recipe.size == 64
    assert selection.recipe.seed == 3
    with pytest.raises(headstart.HeadstartError, match=r"no choice 'dropouts'\. Near: dropout"):
        headstart.measure_cuts(tiny, dropouts=1)  # type: ignore[call-arg]
    with pytest.raises(headstart.HeadstartError, match="no choice 'dropouts'"):
        headstart.learning_curve(tiny, dropouts=1)  # type: ignore[call-arg]


@pytest.mark.parametrize("name", ["train", "finetune", "learning_curve", "measure_cuts"])
def test_editors_see_the_choices(name: str) -> None:
    assert get_type_hints(getattr(headstart, name))["choices"] == Unpack[Choices]


@pytest.mark.parametrize("name", ["train", "finetune", "learning_curve", "measure_cuts"])
def test_help_and_notebooks_show_the_choices_by_name(name: str) -> None:
    parameters = inspect.signature(getattr(headstart, name)).parameters
    assert set(Choices.__annotations__) <= set(parameters)
    assert parameters["pooling"].kind is inspect.Parameter.KEYWORD_ONLY
    assert set(get_args(parameters["fusion"].annotation)) == {"early", "late"}
    assert "choices" not in parameters
    assert (
        "views: Union" in (text := str(inspect.signature(headstart.train))) or "views: int" in text
    )


def inner_imports(text: str) -> list[str]:
    """Modules inside the package that a text imports, but for what `headstart` itself gives."""
    return re.findall(r"(?:from|import)\s+headstart\.[\w.]+", text)


def test_what_users_read_imports_the_package_alone() -> None:
    assert inner_imports("x = 1\nfrom headstart.recipe import Recipe") == ["from headstart.recipe"]
    texts = {}
    for path in READ:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".ipynb":
            text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
        texts[path.name] = text
    assert {name: inner_imports(text) for name, text in texts.items() if inner_imports(text)} == {}
    used = set(re.findall(r"\bheadstart\.(\w+)\(", "\n".join(texts.values())))
    used |= set(re.findall(r"from headstart import (\w+)", "\n".join(texts.values())))
    assert used >= {"train", "ImageClassifier", "compare"}
    assert used <= set(headstart.__all__)


def test_importing_openvino_reports_to_nobody() -> None:
    script = "import headstart, openvino, sys; print('openvino_telemetry.main' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
