"""The structure the design promises: imports along the arrow, a page of public names."""

import ast
from pathlib import Path

import headstart

SOURCE = Path(headstart.__file__).parent

# A module may import what stands left of it (above, here), never what stands below.
ARROW = [
    "errors", "folders", "files", "ahead", "progress", "images", "transform", "augment",
    "contact_sheet", "recipe", "archives", "tables", "items",
    "splits", "dataset", "backbones", "engines",
    "extractor", "store", "cache", "features", "views", "heads", "keras_model", "report",
    "evaluation", "evaluation_multi", "scoring", "selection", "head_selection", "learning_curve",
    "finetune",
    "verdict", "audit", "classifier", "run", "steps", "record", "studies",
    "pipeline", "comparison",
    "remedies", "estimator", "demo", "export",
    "serve", "cli", "__main__",
]  # fmt: skip


def _module(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def _imported(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "headstart":
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("headstart."):
            found.append((node.module or "").split(".")[1])
        elif isinstance(node, ast.Import):
            found += [a.name.split(".")[1] for a in node.names if a.name.startswith("headstart.")]
    return [name for name in found if name != "__version__"]


def test_imports_run_only_with_the_arrow() -> None:
    wrong = []
    for path in sorted(SOURCE.rglob("*.py")):
        name = _module(path)
        if name == "__init__":
            continue
        assert name in ARROW, f"{name} has no place in the arrow"
        for imported in _imported(ast.parse(path.read_text(encoding="utf-8"))):
            if imported != name and ARROW.index(imported) > ARROW.index(name):
                wrong.append(f"{path.relative_to(SOURCE)} imports {imported}")
    assert not wrong


def test_the_public_names_are_few_and_known() -> None:
    assert headstart.__all__ == [
        "Classifier", "Dataset", "HeadstartError", "ImageClassifier", "Recipe", "Run", "evaluate",
        "load", "train",
    ]  # fmt: skip
    for name in headstart.__all__:
        assert getattr(headstart, name).__doc__, name


def test_the_main_flow_fits_on_a_page() -> None:
    page = (SOURCE / "pipeline.py").read_text(encoding="utf-8")
    assert len(page.splitlines()) < 150
    tree = ast.parse(page)
    (train,) = (
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "train"
    )
    assert (train.end_lineno or 0) - train.lineno < 40
