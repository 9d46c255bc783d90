"""The structure the design promises: imports along the arrow, a page of public names."""

import ast
from pathlib import Path

import headstart

SOURCE = Path(headstart.__file__).parent

# package or module of the root -> what it may import beside itself and errors.
LEFT = {"errors", "system", "images", "data", "backbones", "recipe", "features", "metrics", "heads"}
ARROW: dict[str, set[str]] = {
    "errors": set(),
    "metrics": set(),
    "system": set(),
    "images": set(),
    "data": {"images", "metrics", "system"},
    "backbones": {"system"},
    "recipe": {"images", "backbones"},
    "features": {"backbones", "images", "system", "recipe", "data"},
    "heads": {"metrics", "recipe", "system"},
    "abstention": {"metrics", "system"},
    "report": {"metrics", "images"},
    "selection": {"heads", "features", "backbones", "images", "metrics", "recipe", "system"},
    "tuning": {"data", "heads", "features", "backbones", "metrics", "recipe", "system"},
    "audit": {*LEFT} - {"errors"},
    "saved": {"backbones", "heads", "features", "images", "system"},
    "classifier": {*LEFT, "abstention", "saved"} - {"errors", "backbones", "recipe"},
    "explain": {"classifier", "features", "heads", "images", "system"},
    "predictions": {"classifier", "data", "images", "store", "system"},
    "serve": {"abstention", "classifier", "explain", "images", "system"},
    "store": {"backbones", "data", "features", "images", "recipe", "system"},
    "runs": {
        *LEFT,
        "store",
        "predictions",
        "report",
        "selection",
        "tuning",
        "audit",
        "saved",
        "classifier",
        "explain",
    }
    | {"abstention"},
    "export": {
        "metrics",
        "classifier",
        "saved",
        "explain",
        "backbones",
        "features",
        "heads",
        "images",
        "system",
        "tuning",
    },
    "estimator": {*LEFT, "abstention", "report", "selection", "tuning", "classifier", "runs"},
    "demo": {*LEFT, "report", "selection", "tuning", "classifier", "runs"},
    "cli": {
        *LEFT,
        "abstention",
        "report",
        "selection",
        "tuning",
        "audit",
        "classifier",
        "explain",
        "predictions",
        "serve",
        "store",
        "runs",
        "export",
        "demo",
    },
    "__main__": {"cli"},
}
# Where only some modules of a package may be imported.
ONLY = {
    ("recipe", "backbones"): {"cut"},
    ("features", "data"): {"item"},
    ("tuning", "data"): {"item"},
    ("data", "metrics"): {"task"},
    ("classifier", "metrics"): {"task"},
    ("saved", "backbones"): {"cut"},
    ("saved", "heads"): {"head"},
    ("saved", "features"): {"engine"},
    ("classifier", "heads"): {"head"},
    ("classifier", "features"): {"engine"},
    ("export", "tuning"): {"keras_model"},
    ("store", "backbones"): {"cut"},
    ("explain", "heads"): {"head"},
    ("explain", "features"): {"engine"},
}


def _place(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def _imported(tree: ast.AST) -> list[tuple[str, str]]:
    """Package and module of every import of our own, also of those inside functions; not of those
    that only type checkers see.
    """
    names: list[str] = []
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "headstart":
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names if alias.name.startswith("headstart.")]
    split = [name.split(".")[1:] for name in names if name != "headstart.__version__"]
    return [(parts[0], parts[1] if len(parts) > 1 else "") for parts in split]


def test_imports_run_only_along_the_arrow() -> None:
    wrong = []
    for path in sorted(SOURCE.rglob("*.py")):
        place = _place(path)
        if place == "__init__":
            continue
        assert place in ARROW, f"{place} has no place in the arrow"
        for package, module in _imported(ast.parse(path.read_text(encoding="utf-8"))):
            only = ONLY.get((place, package))
            if package not in {place, "errors", *ARROW[place]} or (only and module not in only):
                wrong.append(f"{path.relative_to(SOURCE)} imports {package}.{module}")
    assert not wrong


def test_the_public_names_are_few_and_known() -> None:
    assert headstart.__all__ == [
        "Classifier", "HeadstartError", "ImageClassifier", "Recipe", "Run", "compare", "evaluate",
        "finetune", "learning_curve", "load", "measure_cuts", "remedies", "resume", "train",
        "write_features",
    ]  # fmt: skip
    for name in headstart.__all__:
        assert getattr(headstart, name).__doc__, name
