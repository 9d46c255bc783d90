"""headstart: transfer learning for images, fast and honest.

    >>> import headstart
    >>> run = headstart.train("photos/")
    >>> run.classifier.predict("photos/red/0.jpg").label
    'red'

train, resume, finetune                    images become a Run, the folder of a training
evaluate, compare, remedies                what it is worth; each takes a run or its folder
measure_cuts, learning_curve               what images tell before anything is trained on them
write_features                             many images as files of features, which train takes
load                                       the Classifier of a run, to predict with
ImageClassifier                            the same for scikit-learn
Recipe                                     every choice; each function takes them by name
HeadstartError                             everything raised on purpose

Names are loaded when first used: `import headstart` itself loads nothing heavy.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

# `import openvino` reports each use to its makers, from a fork of a process with threads, if this
# package of theirs is there. Nothing here uses a network unasked; without it OpenVINO goes on.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

__version__ = "0.1.0"

_HOME = {
    "Classifier": "classifier",
    "HeadstartError": "errors",
    "ImageClassifier": "estimator",
    "Recipe": "recipe",
    "Run": "runs.folder",
    "compare": "runs.compare",
    "evaluate": "runs.evaluate",
    "finetune": "runs.training",
    "learning_curve": "runs.studies",
    "load": "classifier",
    "measure_cuts": "runs.studies",
    "remedies": "runs.remedies",
    "resume": "runs.training",
    "train": "runs.training",
    "write_features": "store.job",
}
__all__ = [
    "Classifier",
    "HeadstartError",
    "ImageClassifier",
    "Recipe",
    "Run",
    "compare",
    "evaluate",
    "finetune",
    "learning_curve",
    "load",
    "measure_cuts",
    "remedies",
    "resume",
    "train",
    "write_features",
]

if TYPE_CHECKING:  # so that editors and type checkers see them
    from headstart.classifier import Classifier, load
    from headstart.errors import HeadstartError
    from headstart.estimator import ImageClassifier
    from headstart.recipe import Recipe
    from headstart.runs.compare import compare
    from headstart.runs.evaluate import evaluate
    from headstart.runs.folder import Run
    from headstart.runs.remedies import remedies
    from headstart.runs.studies import learning_curve, measure_cuts
    from headstart.runs.training import finetune, resume, train
    from headstart.store.job import write_features


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"headstart.{_HOME[name]}"), name)
    raise AttributeError(f"module 'headstart' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
