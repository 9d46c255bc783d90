"""train(): the whole story on one page."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from headstart.data.given import Source, settle
from headstart.data.rows import index_names
from headstart.errors import HeadstartError, RecipeError
from headstart.heads.fit import Trained
from headstart.images.augment import NONE
from headstart.recipe import Choices, Recipe, check_heeded, load_recipe, show_choices
from headstart.runs import folder as runs
from headstart.runs import record, steps
from headstart.runs.changes import check_same, check_there, look_back
from headstart.runs.folder import Run, as_run
from headstart.runs.review import examine, review
from headstart.runs.sampled import extract_on_ray
from headstart.store.store import find_store
from headstart.system.progress import Progress, Recorder, choose_progress


@show_choices
def train(
    source: Any,
    recipe: str | Path | Recipe = "quick",
    *,
    labels: Any = None,
    validation: Any = None,
    test: Any = None,
    out: str | Path | None = None,
    strict: bool = False,
    on: str | None = None,
    features: str | Path | None = None,
    progress: Progress | bool | None = None,
    callbacks: Sequence[Any] = (),
    **choices: Unpack[Choices],
) -> Run:
    """Train a classifier on labelled images and save it as a run.

    source: a folder with one folder per class, a table, an archive of these, or Parquet whose
    cells are images. Also what is in memory: a list of (image, label), where an image is a path,
    bytes, a PIL image or a uint8 array; N images with as many `labels`; a data frame or a data set
    with columns for both; a dict of any of these under "train", "validation" and "test".
    labels: of the N images; of a table the name of the column. validation, test: a source of images
    on that side alone. recipe: a name, a TOML file or a Recipe; `choices` override single fields of
    it (`backbone="inception_v3"`).
    out: the run's folder, new; by default runs/NAME-N. strict: stop at an unusable image.
    on: "ray", or the address of a Ray cluster, whose computers make the features, as Parquet files
    in the folder or at the address `features`; the cut is then chosen on a sample.
    progress: False to say nothing; by default a terminal or a notebook shows how it goes.
    callbacks: Keras callbacks for a neural head, such as TensorBoard or EarlyStopping; the model
    that they see is the head. A RecipeError says which are not served.
    Raises a HeadstartError that says what was expected, what was found and what to type next.

    >>> run = headstart.train("photos/", out="runs/flipped", views=2, augmentation="flip")
    >>> run.metrics["validation"].accuracy
    1.0
    """
    recipe = load_recipe(recipe, **choices)
    check_heeded(recipe, choices)
    runs.check_new(out)
    source, progress = settle(source, labels, validation, test), choose_progress(progress)
    with ExitStack() as held:
        if on is not None:
            source = extract_on_ray(source, recipe, on, features, strict, progress, held)
            choices = {}  # they have shaped the features
        elif features is not None:
            raise RecipeError(
                f"expected --on ray with --features, found --features {features} alone. Type: "
                "--on ray, or headstart features PHOTOS --to DEST"
            )
        if (store := find_store(source)) is not None:
            recipe = store.adopt(recipe, choices)
        return _carry_out(source, recipe, strict, Recorder(progress), callbacks, held, out=out)


@show_choices
def finetune(
    run: "Run | str | os.PathLike[str]",
    *,
    out: str | Path | None = None,
    progress: Progress | bool | None = None,
    changed_data: bool = False,
    **choices: Unpack[Choices],
) -> Run:
    """Train the run's recipe again with fine-tuning; its features are already there.

    Where the run has no augmentation, that of the recipe `thorough` is used. `choices` override
    single fields. The images must still be where they were. changed_data: go on where they are
    others than the run was trained on; without it that is a DatasetError, which says what has
    changed. Raises as `train` does.

    >>> tuned = headstart.finetune("runs/photos-1", out="runs/tuned", tune_epochs=1, tune_budget=10)
    >>> tuned.record["tuning"]["kept"]  # whether it was better than the linear head
    False
    """
    run = as_run(run)
    recipe, thorough = run.recipe, load_recipe("thorough")
    changes: dict[str, Any] = {"finetune": True, "head": "linear"}
    for name in ("label_smoothing", "batch_size"):
        changes[name] = getattr(thorough, name)
    if recipe.augmentation == NONE or recipe.views == "fresh":
        changes["views"] = thorough.views
    if recipe.augmentation == NONE:
        changes["augmentation"] = thorough.augmentation
    if recipe.precision == "int8":  # whose rounded weights cannot be trained
        changes["precision"] = "auto"
    recipe = recipe.changed(**{**changes, **choices})
    check_heeded(recipe, choices)
    runs.check_new(out)
    check_there(run)
    with ExitStack() as held:
        recorder = Recorder(choose_progress(progress))
        return _carry_out(run.source, recipe, False, recorder, (), held, out=out, base=run,
                          changed_data=changed_data)  # fmt: skip


def resume(
    run: "str | os.PathLike[str]",
    *,
    progress: Progress | bool | None = None,
    callbacks: Sequence[Any] = (),
) -> Run:
    """Go on with a training that was stopped: from the features and the last epoch it kept.

    The result is that of a training that was never stopped; what callbacks noted of the epochs
    before is theirs to keep. A finished run is returned as it is.
    Raises ClassifierError if `run` is not the folder of a training.

    >>> headstart.resume("runs/photos-1").folder.name  # which has ended already
    'photos-1'
    """
    folder = Path(run)
    if (folder / "run.json").is_file():
        return _finished(folder)
    runs.started(folder)
    with ExitStack() as held:
        held.enter_context(runs.alone_in(folder))
        if (folder / "run.json").is_file():  # the process that held it until now has finished it
            return _finished(folder)
        runs.clear(folder)
        started = runs.started(folder)
        recipe = load_recipe(folder / "recipe.toml")
        source, strict = Source.from_dict(started), started["strict"]
        recorder = Recorder(choose_progress(progress))
        return _carry_out(source, recipe, strict, recorder, callbacks, held, folder=folder)


def _finished(folder: Path) -> Run:
    runs.finish(folder)  # it may have been killed just before
    return Run(folder)


def _carry_out(
    source: Source,
    recipe: Recipe,
    strict: bool,
    progress: Recorder,
    callbacks: Sequence[Any],
    held: ExitStack,
    *,
    out: str | Path | None = None,
    folder: Path | None = None,
    base: Run | None = None,
    changed_data: bool = False,
) -> Run:
    """The whole story; with `folder`, of a training that had begun there. held: what keeps others
    out of the folder until it is told. base: the run whose images these are, of which others may
    be there only with `changed_data`.
    """
    store = find_store(source)
    dataset = steps.read_dataset(source, recipe, progress, store)
    if base is not None:
        changes = check_same(base, dataset, recipe, changed=changed_data)
    else:
        changes = look_back(source, dataset, runs.place_beside(folder or out), but=folder)
    if changes is not None:
        progress.say(f"since {changes.run.folder}: {changes}")
    steps.check_suits(dataset.task, recipe, callbacks)
    resumed = folder is not None
    if folder is not None:
        runs.check_unchanged(folder, dataset.fingerprint())
    if store is not None:
        store.check_needs(recipe)
    selection = steps.choose_cut(dataset, recipe, progress)
    inputs = steps.prepare(dataset, selection.recipe, progress, strict, store)
    inputs = steps.thin_judged(inputs, progress)
    examined = examine(inputs, progress)
    if examined is not None:
        inputs = examined.hold_together(inputs)
    inputs, heads = steps.choose_head(inputs, progress)
    if folder is not None:
        choices = runs.started(folder)["choices"]
    else:
        choices = record.describe_choices(selection, heads, inputs.precision)
        folder = runs.start(source, inputs.recipe, strict, out, dataset.fingerprint(), choices)
        held.enter_context(runs.alone_in(folder))
    linear, found = inputs.recipe.head == "linear", None
    if examined is not None and not linear:  # it takes minutes: what is wrong is told before
        found = review(inputs, source, examined, progress)
    trained = steps.train_head(inputs, folder, progress, resumed=resumed, callbacks=callbacks)
    if examined is not None and linear:
        found = review(inputs, source, examined, progress, trained)
    tuning = steps.tune(inputs, folder, progress, resumed=resumed)
    if tuning is not None and tuning.head is not None:
        trained = Trained(tuning.head, history=tuning.history, tuned=True)
        # Measured by the network as it is delivered, from the weights in the run's folder.
        inputs = steps.prepare(dataset, tuning.recipe.changed(views=1), progress, strict)
        inputs = replace(inputs, recipe=tuning.recipe)
    results = steps.measure(inputs, trained, progress)
    doubts = steps.learn_abstention(inputs, trained, progress)
    before = steps.compare_with_before(inputs, results, changes, progress) if changes else None
    with progress.stage("save"):
        record.write_classifier(folder, inputs, trained, doubts.abstention)
        studies = {**choices, "tuning": tuning.to_dict() if tuning else None,
                   "abstention": doubts.told, "before": before,
                   "stored": store is not None}  # fmt: skip
        record.write_audit(folder, found)
        record.write_run(folder, source, inputs, trained, results, progress, studies)
        runs.finish(folder)
    _write_page(Run(folder), inputs, progress)
    return Run(folder)


def _write_page(run: Run, inputs: steps.Inputs, progress: Recorder) -> None:
    """The run as a page; a run is whole without it."""
    from headstart.runs.page import BRIEF, write_page

    places = index_names([part.items for part in inputs.features.values()])
    try:
        with progress.stage("report"):
            write_page(run, places=places, effort=BRIEF)
    except (HeadstartError, OSError) as error:
        progress.warn(f"no report.html: {error}")
