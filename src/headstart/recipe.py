"""Every choice of a training run, in one validated object, readable as TOML."""

import difflib
import math
import os
import re
import tomllib
from collections.abc import Collection
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

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

LONG = 200  # letters of a value that a message shows
MOST_VIEWS = 1000  # of an image; more are features that no disk holds
MOST_UNITS = 65_536  # of a dense layer
# What only a neural head looks at, only fine-tuning, or only these two.
OF_NEURAL = ("layers", "dropout", "optimizer", "learning_rate", "schedule", "epochs", "patience")
OF_TUNING = ("boundary", "tune_epochs", "tune_learning_rate", "tune_decay", "tune_budget")
OF_BOTH = ("batch_size", "label_smoothing", "weight_decay")
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
    cut: str | list[str] | tuple[str, ...]
    fusion: Literal["early", "late"]
    pooling: Pooling
    precision: Literal["auto", "f32", "bf16"]
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


class Recipe(BaseModel):
    """Every choice of a training run. Frozen; `changed` gives a copy with other choices.

    The defaults are those of the recipe `quick`.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )

    name: str = "quick"
    # What sees the images.
    backbone: str = "efficientnet_lite0"
    weights: Annotated[str, AfterValidator(_whole_path)] = "default"
    size: int | None = Field(None, ge=8, le=2048)  # pixels; None: what the backbone was trained on
    resize: Literal["squash", "crop", "pad"] = "squash"
    interpolation: Literal["antialias", "nearest", "bilinear", "bicubic"] = "antialias"
    normalisation: Literal["backbone", "0..1", "-1..1", "raw", "caffe", "torch"] = "backbone"
    # Layers, each perhaps with a pooling of its own ("mixed7:grid"); "auto": to be measured.
    cut: Annotated[tuple[str, ...], BeforeValidator(_cuts)] = Field(("last",), min_length=1)
    # Of several cuts: one head on all features ("early"), or a linear head for each, averaged.
    fusion: Literal["early", "late"] = "early"
    pooling: Pooling = "avg"
    precision: Literal["auto", "f32", "bf16"] = "auto"
    # Seconds that measuring choices ("auto") may take.
    budget: float = Field(60.0, ge=0, allow_inf_nan=True)
    # What is learned from.
    views: int | Literal["fresh"] = 1
    augmentation: Annotated[Augmentation, BeforeValidator(_augmentation)] = augment.NONE
    validation_fraction: float = Field(0.2, gt=0, lt=1)
    balanced: bool = False
    groups: str | None = None  # column, or pattern on names: whole groups are split
    seed: int = Field(0, ge=0, lt=2**32)
    # The head.
    head: Literal["linear", "neural", "auto"] = "linear"  # "auto": to be measured
    ensemble: bool = False  # the mean of heads that each leave one fold out
    folds: int = Field(5, ge=2, le=20)
    # A neural head: layers between the features and the last Dense, which is added by itself.
    layers: tuple[str, ...] = Field(("dense 256 relu", "dropout"), max_length=100)
    dropout: float = Field(0.2, ge=0, lt=1)  # of every "dropout" without a rate of its own
    optimizer: str = "adam"  # any Keras optimizer by name
    learning_rate: float = Field(1e-3, gt=0)
    schedule: Literal["constant", "cosine", "one_cycle", "plateau"] = "constant"
    epochs: int = Field(20, ge=1, le=100_000)
    batch_size: int = Field(32, ge=1, le=65_536)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    patience: int = Field(0, ge=0)  # early stopping after so many epochs without gain; 0: never
    # Fine-tuning: the layers above a boundary, stage by stage, from cached boundary activations.
    finetune: bool = False
    boundary: str = "auto"  # a layer, or as far down as it pays
    tune_epochs: int = Field(4, ge=1, le=10_000)  # of each stage, at most
    tune_learning_rate: float = Field(1e-3, gt=0)  # of the head; each block below has less
    tune_decay: float = Field(0.85, gt=0, le=1)  # of the learning rate, a block down
    tune_budget: float = Field(600.0, ge=0, allow_inf_nan=True)  # seconds; see stages.DESCENT

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
        return self

    def changed(self, **choices: Any) -> "Recipe":
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

    def to_toml(self) -> str:
        """The recipe as TOML, each choice on its line, the augmentation last."""
        simple = self.model_dump(mode="json", exclude={"augmentation"}, exclude_none=True)
        lines = [f"{key} = {_toml(value)}" for key, value in simple.items()]
        lines += ["", "[augmentation]"]
        table = self.model_dump(mode="json", include={"augmentation"})["augmentation"]
        lines += [f"{key} = {_toml(value)}" for key, value in table.items() if value is not None]
        return "\n".join(lines) + "\n"

    def settings(self, base: "Recipe") -> list[str]:
        """`key=value` of each choice that is not as in `base`, as `parse_setting` reads it."""
        mine, theirs = (r.model_dump(mode="json", exclude={"name"}) for r in (self, base))
        settings = []
        for key, value in mine.items():
            if value is None or value == theirs[key]:
                continue
            if isinstance(value, dict):
                rows = [f"{k} = {_toml(v)}" for k, v in value.items() if v is not None]
                settings.append(f"{key}={{{', '.join(rows)}}}")
            elif isinstance(value, str) and _reads_bare(value):
                settings.append(f"{key}={value}")
            else:
                settings.append(f"{key}={_toml(value)}")
        return settings

    def _given(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in type(self).model_fields}


def _toml(value: Any) -> str:
    """A value on one line, which the library's own arrays are not."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(part) for part in value) + "]"
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
