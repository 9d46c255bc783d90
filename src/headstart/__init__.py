"""headstart: transfer learning for images, fast and honest.

    import headstart
    run = headstart.train("photos/")
    run.classifier.predict("new.jpg")

Names are loaded when first used: `import headstart` itself loads nothing heavy.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Classifier": "classifier",
    "Dataset": "data.dataset",
    "HeadstartError": "errors",
    "ImageClassifier": "estimator",
    "Recipe": "recipe",
    "Run": "runs.folder",
    "evaluate": "runs.evaluate",
    "load": "classifier",
    "train": "runs.training",
}
__all__ = [
    "Classifier",
    "Dataset",
    "HeadstartError",
    "ImageClassifier",
    "Recipe",
    "Run",
    "evaluate",
    "load",
    "train",
]

if TYPE_CHECKING:  # so that editors and type checkers see them
    from headstart.classifier import Classifier, load
    from headstart.data.dataset import Dataset
    from headstart.errors import HeadstartError
    from headstart.estimator import ImageClassifier
    from headstart.recipe import Recipe
    from headstart.runs.evaluate import evaluate
    from headstart.runs.folder import Run
    from headstart.runs.training import train


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"headstart.{_HOME[name]}"), name)
    raise AttributeError(f"module 'headstart' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
