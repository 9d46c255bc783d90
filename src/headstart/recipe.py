"""Every choice of a training run, in one validated object, readable as TOML."""

import difflib
import inspect
import math
import os
import re
import textwrap
import tomllib
from collections.abc import Callable, Collection, Sequence
from dataclasses import fields, replace
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, TypeVar, Unpack, get_type_hints

import tomli_w
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from headstart.backbones.cut import AUTO, LAST, Cut, Pooling
from headstart.errors import RecipeError, cannot_read
from headstart.images import augment
from headstart.images.augment import Augmentation
from headstart.images.geometry import Geometry

F = TypeVar("F", bound=Callable[..., Any])
LONG = 200  # letters of a value that a message shows
MOST_VIEWS = 1000  # of an image; more are features that no disk holds
MOST_UNITS = 65_536  # of a dense layer
# What only a neural head looks at, only fine-tuning, or only these two.
OF_NEURAL = ("layers", "dropout", "optimizer", "learning_rate", "schedule", "epochs", "patience")
OF_TUNING = ("boundary", "tune_epochs", "tune_learning_rate", "tune_decay", "tune_budget")
OF_BOTH = ("batch_size", "label_smoothing", "weight_decay")
# The first choice of each kind, in the order of the fields.
SECTIONS = {
    "backbone": "What sees the images",
    "views": "What is learned from",
    "head": "What is trained on the features",
    "layers": "A neural head",
    "finetune": "Fine-tuning",
}
AUGMENTATIONS = {"none": augment.NONE, "flip": augment.FLIP, "lesson": augment.LESSON}


def _whole_path(weights: str) -> str:
    """A file by its whole path, so that a run is understood from any folder."""
    path = Path(os.path.expanduser(weights))  # which leaves an unknown "~name" as it is
    return str(path.absolute()) if path.is_file() else weights


def _augmentation(value: Any) -> Any:
    if isinstance(value, str):
        if value not in AUGMENTATIONS:
            raise ValueError(f"expected one of {', '.join(AUGMENTATIONS)} or a table")
        return AUGMENTATIONS[value]
    return value


def _cuts(value: Any) -> Any:
    if isinstance(value, str):
        return [part for part in value.split("+") if part]
    return [str(part) if isinstance(part, Cut) else part for part in value] if isinstance(
        value, list | tuple) else value  # fmt: skip


class Choices(TypedDict, total=False):
    """What may be chosen by name, as editors and type checkers see it: the fields of `Recipe`, in
    every form in which it takes them.
    """

    name: str
    backbone: str
    weights: str
    size: int | None
    resize: Literal["squash", "crop", "pad"]
    interpolation: Literal["antialias", "nearest", "bilinear", "bicubic"]
    normalisation: Literal["backbone", "0..1", "-1..1", "raw", "caffe", "torch"]
    cut: str | list[str] | tuple[str, ...] | list[Cut] | tuple[Cut, ...]
    fusion: Literal["early", "late"]
    pooling: Pooling
    precision: Literal["auto", "f32", "bf16", "int8"]
    budget: float
    views: int | Literal["fresh"]
    augmentation: Literal["none", "flip", "lesson"] | dict[str, Any] | Augmentation
    validation_fraction: float
    balanced: bool
    groups: str | None
    seed: int
    head: Literal["linear", "neural", "auto"]
    ensemble: bool
    folds: int
    layers: list[str] | tuple[str, ...]
    dropout: float
    optimizer: str
    learning_rate: float
    schedule: Literal["constant", "cosine", "one_cycle", "plateau"]
    epochs: int
    batch_size: int
    label_smoothing: float
    weight_decay: float
    patience: int
    finetune: bool
    boundary: str
    tune_epochs: int
    tune_learning_rate: float
    tune_decay: float
    tune_budget: float


class _Kept:
    """Stands in signatures for a choice that is not given."""

    def __repr__(self) -> str:
        return "the recipe's"


def show_choices(function: F) -> F:
    """Spell the `**choices` of a function out in its signature, for `help` and for notebooks, which
    complete what they find there.
    """
    signature = inspect.signature(function)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    choices = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=_Kept(), annotation=hint)
        for name, hint in get_type_hints(Choices).items()
    ]
    vars(function)["__signature__"] = signature.replace(parameters=[*own, *choices])
    return function


class Recipe(BaseModel):
    """Every choice of a training run. Frozen; `changed` gives a copy with other choices.

    `Recipe()` is the recipe `quick`. What each choice means: `headstart recipe quick --describe`.

    >>> recipe = headstart.Recipe(views=2, augmentation="flip")
    >>> recipe.changed(head="neural", epochs=5).settings(recipe)
    ['head=neural', 'epochs=5']
    >>> recipe.changed(pooling="mean")
    Traceback (most recent call last):
    headstart.errors.RecipeError: pooling: expected 'avg', 'max', 'avg+max', ...
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )

    name: str = Field(default="quick", description="What the recipe is called.")
    backbone: str = Field(
        default="efficientnet_lite0",
        description="The pre-trained network that sees the images; all: headstart backbones.",
    )
    weights: Annotated[str, AfterValidator(_whole_path)] = Field(
        default="default", description="Its weights: default, imagenet, none (random) or a file."
    )
    size: int | None = Field(
        default=None, ge=8, le=2048, examples=[224],
        description="Pixels of its input, height and width; not set: what it was trained on.",
    )  # fmt: skip
    resize: Literal["squash", "crop", "pad"] = Field(
        default="squash",
        description="How an image becomes a square: squashed, its middle, or all of it in black.",
    )
    interpolation: Literal["antialias", "nearest", "bilinear", "bicubic"] = Field(
        default="antialias",
        description="How its pixels are made; antialias averages those it shrinks.",
    )
    normalisation: Literal["backbone", "0..1", "-1..1", "raw", "caffe", "torch"] = Field(
        default="backbone", description="What numbers pixels become; backbone: as it was trained."
    )
    cut: Annotated[tuple[str, ...], BeforeValidator(_cuts)] = Field(
        default=(AUTO,), min_length=1,
        description="Layers whose output serves as features, each perhaps with a pooling of its "
        "own (mixed7:grid); last: the last one; auto: measured on the training images.",
    )  # fmt: skip
    fusion: Literal["early", "late"] = Field(
        default="early",
        description="Of several cuts: one head on all features, or the mean of a linear head each.",
    )
    pooling: Pooling = Field(
        default="avg",
        description="How a feature map becomes a vector: averages, maxima, both, averages over "
        "2 x 2 fields (grid) or all of it (flatten).",
    )
    precision: Literal["auto", "f32", "bf16", "int8"] = Field(
        default="auto",
        description="Of the backbone's arithmetic; auto: bf16 where the processor has it; where it "
        "has not and images are many, int8 (extra [int8]) if training images lose nothing by it.",
    )
    budget: float = Field(
        default=60.0, ge=0, allow_inf_nan=True,
        description="Seconds that measuring what is left open (auto) may take.",
    )  # fmt: skip
    views: int | Literal["fresh"] = Field(
        default=1,
        json_schema_extra={"anyOf": [{"minimum": 1, "maximum": MOST_VIEWS}, {"const": "fresh"}]},
        description="Views of each training image, itself among them; fresh: drawn anew every "
        "epoch, for a neural head.",
    )  # fmt: skip
    augmentation: Annotated[Augmentation, BeforeValidator(_augmentation)] = Field(
        default=augment.NONE,
        description="What further views are drawn from: a name, or these ranges.",
    )
    validation_fraction: float = Field(
        default=0.2, gt=0, lt=1,
        description="Share of the images held back to measure on, where no split is given.",
    )  # fmt: skip
    balanced: bool = Field(
        default=False, description="Weigh classes so that rare ones count as much as frequent ones."
    )
    groups: str | None = Field(
        default=None, examples=["patient"],
        description="A table's column, or a pattern on file names: images of one group (patient, "
        "camera) are never on both sides of a split.",
    )  # fmt: skip
    seed: int = Field(
        default=0,
        ge=0,
        le=2**32 - 1,
        description="Seed of every draw: split, folds, views, weights.",
    )
    head: Literal["linear", "neural", "auto"] = Field(
        default="linear",
        description="What is trained on features: logistic regression, layers in Keras; auto: "
        "measured.",
    )
    ensemble: bool = Field(
        default=False,
        description="The mean of heads that each leave one fold out, in place of one head.",
    )
    folds: int = Field(
        default=5, ge=2, le=20, description="Of cross-validation inside the training images."
    )
    layers: tuple[str, ...] = Field(
        default=("dense 256 relu", "dropout"), max_length=100,
        description="Between the features and the last Dense, which is added by itself: dense "
        "UNITS [ACTIVATION], dropout [RATE], batchnorm, activation NAME.",
    )  # fmt: skip
    dropout: float = Field(
        default=0.2, ge=0, lt=1, description="Rate of every dropout without one of its own."
    )
    optimizer: str = Field(default="adam", description="Any Keras optimizer by name.")
    learning_rate: float = Field(
        default=1e-3, gt=0, description="Of the optimizer; its highest where a schedule changes it."
    )
    schedule: Literal["constant", "cosine", "one_cycle", "plateau"] = Field(
        default="constant", description="How the learning rate moves from step to step."
    )
    epochs: int = Field(
        default=20,
        ge=1,
        le=100_000,
        description="Passes over the training images; at most, with patience.",
    )
    batch_size: int = Field(default=32, ge=1, le=65_536, description="Images a step.")
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="Share of a label that is given to all classes alike."
    )
    weight_decay: float = Field(
        default=0.0,
        ge=0,
        description="How much weights shrink at each step, times the learning rate.",
    )
    patience: int = Field(
        default=0,
        ge=0,
        description="Stop after so many epochs without gain, keep the best; 0: never.",
    )
    finetune: bool = Field(
        default=False, description="Train the layers above a boundary too, stage by stage."
    )
    boundary: str = Field(
        default=AUTO,
        description="The layer above which is fine-tuned; auto: as far down as it pays.",
    )
    tune_epochs: int = Field(
        default=4, ge=1, le=10_000, description="Epochs of each stage, at most."
    )
    tune_learning_rate: float = Field(
        default=1e-3, gt=0, description="Of the head; each block below has less."
    )
    tune_decay: float = Field(
        default=0.85,
        gt=0,
        le=1,
        description="What the learning rate is multiplied by, a block down.",
    )
    tune_budget: float = Field(
        # of which stages.DESCENT is for measuring how far down it pays
        default=600.0,
        ge=0,
        allow_inf_nan=True,
        description="Seconds that fine-tuning may take.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        for cut in self.cut:
            try:
                Cut.parse(cut)
            except ValueError as error:
                raise ValueError(f"cut: {error}") from None
        if "auto" in self.cut and len(self.cut) > 1:
            raise ValueError("cut: expected layers or 'auto', found both")
        pooled = [replace(cut, pooling=cut.pooling or self.pooling) for cut in self.cuts]
        twice = [str(cut) for cut in pooled if pooled.count(cut) > 1]
        if twice:
            raise ValueError(f"cut: expected each layer once, found {twice[0]} twice")
        if isinstance(self.views, int) and not 1 <= self.views <= MOST_VIEWS:
            raise ValueError(f"views: expected 1 to {MOST_VIEWS:,}, or 'fresh', found {self.views}")
        for layer in self.layers:
            kind, _, rest = layer.partition(" ")
            units = rest.split(" ")[0]
            if kind == "dense" and units.isdecimal() and not 1 <= int(units) <= MOST_UNITS:
                raise ValueError(f"layers: expected 1 to {MOST_UNITS:,} units, found {layer!r}")
        if self.views == "fresh" and self.head != "neural":
            raise ValueError("views = 'fresh' needs head = 'neural'; a linear head takes a number")
        if self.views == "fresh" and self.ensemble:
            raise ValueError("ensemble = true needs a number of views, found 'fresh'")
        if self.finetune and self.head != "linear":
            raise ValueError("finetune = true begins from a linear head: set head = 'linear'")
        if self.finetune and self.precision == "int8":
            raise ValueError(
                "finetune = true needs another precision than 'int8'. Type: --set precision=auto"
            )
        return self

    @show_choices
    def changed(self, **choices: Unpack[Choices]) -> "Recipe":
        """A copy with other choices. Raises RecipeError for unknown names and bad values."""
        return _validated({**self._given(), **choices})

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """The cuts, as values; a choice left to measuring is the last layer."""
        return tuple(Cut.parse(LAST if cut == AUTO else cut) for cut in self.cut)

    @property
    def fresh(self) -> bool:
        """Whether views are drawn anew every epoch."""
        return self.views == "fresh" and self.distinct is None

    @property
    def cached_views(self) -> int:
        """V, how many views of a training image are computed and kept, the image itself among
        them: no more than the augmentation has distinct ones.
        """
        wanted = self.views if isinstance(self.views, int) else (self.distinct or 1)
        return min(wanted, self.distinct or wanted)

    @property
    def distinct(self) -> int | None:
        """How many different views the augmentation has; None where every draw is another."""
        return augment.distinct_views(self.augmentation)

    def geometry(self, size: int) -> Geometry:
        """How an image becomes the input, for a backbone trained on `size` pixels."""
        side = self.size or size
        return Geometry(side, side, self.resize, self.interpolation)

    def to_toml(self, *, comments: bool = True) -> str:
        """The recipe as TOML, each choice on its line, the augmentation last; with comments, what
        each means, and how those that are not set would be.
        """
        values = self.model_dump(mode="json")
        table = values.pop("augmentation")
        lines = []
        for name, value in values.items():
            about = type(self).model_fields[name]
            if comments and name in SECTIONS:
                lines += ["", f"# {SECTIONS[name]}", ""]
            lines += _toml_lines(name, value, about.description, about.examples, comments)
        about = type(self).model_fields["augmentation"]
        lines += ["", *_toml_lines("", None, about.description, (), comments), "[augmentation]"]
        for range_ in fields(Augmentation):
            lines += _toml_lines(
                range_.name, table[range_.name], **range_.metadata, comments=comments
            )
        return "\n".join(lines) + "\n"

    def settings(self, base: "Recipe") -> list[str]:
        """`key=value` of each choice that is not as in `base`, as `parse_setting` reads it."""
        mine, theirs = (r.model_dump(mode="json", exclude={"name"}) for r in (self, base))
        settings = []
        for key, value in mine.items():
            if value is None or value == theirs[key]:
                continue
            if isinstance(value, dict):
                rows = [f"{k} = {to_toml_value(v)}" for k, v in value.items() if v is not None]
                settings.append(f"{key}={{{', '.join(rows)}}}")
            elif isinstance(value, str) and _reads_bare(value):
                settings.append(f"{key}={value}")
            else:
                settings.append(f"{key}={to_toml_value(value)}")
        return settings

    def _given(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in type(self).model_fields}


def _toml_lines(
    name: str, value: Any, description: str | None, examples: Sequence[Any] | None, comments: bool
) -> list[str]:
    """A choice in TOML, under a comment that says what it means; as a comment if it is not set."""
    lines = []
    if comments:
        lines += textwrap.wrap(f"# {description}", 80, subsequent_indent="# ")
    if value is not None:
        lines.append(f"{name} = {to_toml_value(value)}")
    elif comments:
        lines += [f"# {name} = {to_toml_value(example)}" for example in examples or ()]
    return lines


def to_toml_value(value: Any) -> str:
    """A value in TOML, on one line, which the library's own arrays are not."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(to_toml_value(part) for part in value) + "]"
    return tomli_w.dumps({"value": value}).removeprefix("value = ").rstrip("\n")


def _reads_bare(text: str) -> bool:
    """Whether `parse_setting` reads the text as itself without quotes: not so of "5" and "true"."""
    return not re.search(r"[\s'\"\[{#]", text) and parse_setting(f"key={text}")[1] == text


def recipes() -> list[str]:
    """Names of the recipes that come with headstart."""
    folder = resources.files("headstart") / "recipes"
    return sorted(file.name[:-5] for file in folder.iterdir() if file.name.endswith(".toml"))


def load_recipe(recipe: "str | Path | Recipe" = "quick", **choices: Any) -> Recipe:
    """A recipe by name, from a TOML file, or as it is; `choices` override single fields.

    Raises RecipeError for an unknown name, an unreadable file or choices that do not fit.
    """
    if isinstance(recipe, Recipe):
        return recipe.changed(**choices) if choices else recipe
    return _validated({**_table(recipe), **choices})


def list_unheeded(recipe: Recipe) -> dict[str, str]:
    """The choices that the recipe passes over, each with the setting that it would need."""
    neural, tuned = recipe.head != "linear", recipe.finetune
    unheeded = {} if tuned else dict.fromkeys(OF_TUNING, "finetune=true")
    unheeded |= {"fusion": "head=linear"} if neural else dict.fromkeys(OF_NEURAL, "head=neural")
    return unheeded | ({} if neural or tuned else dict.fromkeys(OF_BOTH, "head=neural"))


def check_heeded(recipe: Recipe, typed: Collection[str]) -> None:
    """Raises RecipeError for choices that were `typed`, though the recipe passes over them. One
    that merely carries them, as the file of a run does, is well.
    """
    for name, needed in list_unheeded(recipe).items():
        if name in typed:
            raise RecipeError(
                f"expected {needed} with {name}, for nothing else looks at it, found head = "
                f"{recipe.head!r}. Type: --set {needed}, or leave {name} out"
            )


def _table(recipe: str | Path) -> dict[str, Any]:
    path = Path(recipe)
    if path.suffix == ".toml":
        advice = "For one to begin with, type: headstart recipe quick"
        try:
            return tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:  # tomllib's own are ValueErrors
            raise RecipeError(cannot_read(path, error, "a recipe in TOML", advice)) from error
    if str(recipe) in recipes():
        file = resources.files("headstart") / "recipes" / f"{recipe}.toml"
        return tomllib.loads(file.read_text(encoding="utf-8"))
    raise RecipeError(
        f"no recipe is called {str(recipe)[:LONG]!r}. Expected one of {', '.join(recipes())}, "
        "or a .toml file. Type: headstart recipe quick"
    )


def seconds(text: str) -> float:
    """A time such as "90", "60s", "5m" or "1h" in seconds. Raises RecipeError for anything else."""
    unit = {"s": 1, "m": 60, "h": 3600}.get(text[-1:].lower())
    try:
        value = float(text[:-1]) * unit if unit else float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise RecipeError(f"expected a time such as 60s or 5m, found {text!r}. Type: --budget 60s")
    return value


def parse_setting(text: str) -> tuple[str, Any]:
    """`key=value` from the command line; the value is read as TOML, else taken as text."""
    key, sign, value = text.partition("=")
    if not sign or not key.strip():
        raise RecipeError(
            f"expected --set key=value, found {text[:LONG]!r}. Type: headstart recipe"
        )
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):  # no TOML, or numbers and nesting beyond all measure
        return key.strip(), value.strip()


def _validated(table: dict[str, Any]) -> Recipe:
    try:
        return Recipe(**table)
    except ValidationError as error:
        text = "; ".join(_explained(detail) for detail in error.errors())
        advice = "" if "Type: " in text else ". For every choice, type: headstart recipe"
        raise RecipeError(f"{text}{advice}") from error
    except TypeError as error:
        raise RecipeError(str(error)) from error


def _explained(detail: Any) -> str:
    field = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(field, list(Recipe.model_fields), n=3)
        hint = f"Near: {', '.join(near)}. " if near else ""
        return f"a recipe has no choice {field!r}. {hint}Type: headstart recipe"
    message = detail["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    found = repr(detail["input"])
    found = found if len(found) <= LONG else f"{found[:LONG]}..."
    return f"{field}: {message}, found {found}" if field else message
