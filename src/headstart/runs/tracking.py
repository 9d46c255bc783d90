"""Trainings told to TensorBoard and to MLflow: of every one its choices and what came of it, of a
neural head its epochs too.
"""

import importlib.util
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from headstart.errors import HeadstartError, MissingExtra
from headstart.recipe import LONG, Recipe
from headstart.runs.folder import Run


def open_trackers(recipe: Recipe, tensorboard: Path | None, mlflow: bool) -> list[Any]:
    """What follows the epochs of the recipe's head, where it has some: Keras' own callbacks.

    tensorboard: the folder to log to, if any. mlflow: whether to log to MLflow, to the place that
    MLFLOW_TRACKING_URI names. Raises MissingExtra, before anything slow is done.
    """
    if tensorboard is not None and importlib.util.find_spec("tensorboard") is None:
        raise MissingExtra("logging to TensorBoard", "tensorboard")
    if mlflow:
        _open_mlflow()
    if recipe.head != "neural" or recipe.ensemble:
        return []
    callbacks: list[Any] = []
    if tensorboard is not None or mlflow:
        from headstart.heads.neural import prepare_keras

        prepare_keras()
    if tensorboard is not None:
        import keras

        callbacks.append(keras.callbacks.TensorBoard(str(tensorboard)))
    if mlflow:
        try:
            from mlflow.keras import MlflowCallback
        except ImportError as error:
            raise MissingExtra("logging to MLflow", "mlflow") from error
        callbacks.append(MlflowCallback())
    return callbacks


def track(run: Run, tensorboard: Path | None, mlflow: bool) -> None:
    """Log the run's choices and figures. Raises HeadstartError where MLflow does not take them: the
    run is whole without it.
    """
    if tensorboard is not None:
        _track_in_tensorboard(run, tensorboard)
    if mlflow:
        try:
            _track_in_mlflow(run)
        except Exception as error:  # a server that is away, a data base that is locked
            reason = (str(error).splitlines() or [type(error).__name__])[0][:LONG]
            raise HeadstartError(
                f"expected MLflow to take the figures of {run.folder}, found: {reason}. The run "
                f"itself is whole. Type: headstart info {run.folder}"
            ) from error


def list_figures(run: Run) -> Iterator[tuple[str, float, int]]:
    """Name, value and step of each figure: by split with the ends of its interval, and of a linear
    head, by strength tried, what cross-validation said.
    """
    for split, metrics in run.metrics.items():
        for name, value in metrics.to_dict().items():
            if isinstance(value, int | float):
                yield f"{split}/{name}", float(value), 0
            elif name.endswith("_interval") and value is not None:
                for end, bound in zip(("low", "high"), value, strict=True):
                    yield f"{split}/{name.removesuffix('_interval')}_{end}", float(bound), 0
    for step, trial in enumerate((run.record.get("linear") or {}).get("trials", [])):
        for name, value in trial.items():
            yield f"strengths/{name}", float(value), step
    yield "seconds", float(run.record["seconds"]["total"]), 0


def _track_in_tensorboard(run: Run, folder: Path) -> None:
    """One file of events, written without TensorFlow, whose import takes seconds."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING
    from tensorboard.summary.writer.record_writer import RecordWriter

    now = time.time()
    text = "".join(f"    {line}\n" for line in run.recipe.to_toml().splitlines())  # as code
    recipe = Summary.Value(
        tag="recipe",
        metadata=SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text")),
        tensor=TensorProto(dtype=DT_STRING, string_val=[text.encode()]),
    )
    events = [Event(wall_time=now, file_version="brain.Event:2")]
    events.append(Event(wall_time=now, summary=Summary(value=[recipe])))
    for name, value, step in list_figures(run):
        scalar = Summary.Value(tag=name, simple_value=value)
        events.append(Event(wall_time=now, step=step, summary=Summary(value=[scalar])))
    place = folder / run.folder.name
    place.mkdir(parents=True, exist_ok=True)
    name = f"events.out.tfevents.{int(now)}.{socket.gethostname()}.{os.getpid()}"
    with (place / name).open("wb") as file:
        writer = RecordWriter(file)
        for event in events:
            writer.write(event.SerializeToString())


def _open_mlflow() -> Any:
    """MLflow, which without an address and without a data base logs to ./mlruns."""
    try:
        import mlflow
    except ImportError as error:
        raise MissingExtra("logging to MLflow", "mlflow") from error
    if not mlflow.is_tracking_uri_set() and importlib.util.find_spec("sqlalchemy") is None:
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        mlflow.set_tracking_uri(Path("mlruns").absolute().as_uri())
    return mlflow


def _track_in_mlflow(run: Run) -> None:
    """In the run that followed the epochs, if one did."""
    mlflow = _open_mlflow()
    if mlflow.active_run() is None:
        mlflow.start_run(run_name=run.folder.name)
    chosen = run.recipe.model_dump(mode="json")
    mlflow.log_params({f"recipe.{name}": str(value) for name, value in chosen.items()})
    mlflow.set_tags(
        {
            "mlflow.runName": run.folder.name,
            "run": str(run.folder.resolve()),
            "source": run.record["source"],
        }
    )
    for name, value, step in list_figures(run):
        mlflow.log_metric(name, value, step=step)
    mlflow.end_run()
