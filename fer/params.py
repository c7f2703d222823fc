"""params.yaml as frozen models: an unknown key or a value that is not allowed is an error."""

import os
import re
import reprlib
from collections.abc import Mapping
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    field_validator,
    model_validator,
)
from ruamel.yaml import YAML, YAMLError

from fer.errors import FerError
from fer.faces import INPUT_SIZE
from fer.files import atomic_path

Count = Annotated[int, Field(ge=1, le=1_000_000)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Value = int | float | str


def _count_or_auto(value: object) -> int | str:
    if value == "auto" or (type(value) is int and 1 <= value <= 1_000_000):
        return value
    raise ValueError(f"is {_show(value)}: a number from 1 to 1,000,000, or auto")


CountOrAuto = Annotated[Any, PlainValidator(_count_or_auto)]

SCRATCH = "models/scratch"
"""`train.init` for random weights: a file that is always there, as DVC needs one."""

RESERVED = ("raw", "headlines", "speeds", "default", "scratch")
"""Names that no data set can have, because folders or sections have them."""


class Section(BaseModel):
    """What all sections have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Sample(Section):
    """The built-in faces: how many of them, and how hard."""

    train: Annotated[Count, Field(ge=7)]
    val: Annotated[Count, Field(ge=7)]
    test: Annotated[Count, Field(ge=7)]
    label_noise: Fraction
    seed: Seed


class Split(Section):
    """Shares of the faces for splits that a data set does not have, each 0 to 1."""

    val: Annotated[float, Field(gt=0, lt=1)]
    test: Annotated[float, Field(gt=0, lt=1)]

    @model_validator(mode="after")
    def _leaves_some_to_train(self) -> "Split":
        if self.val + self.test >= 1:
            raise ValueError(f"has val {self.val} and test {self.test}: nothing is left to train")
        return self


class Prepare(Section):
    """From a data set as the user has it to arrays of faces."""

    on_bad_row: Literal["fail", "skip"]
    face: Literal["crop", "detect"]
    votes: Literal["majority", "soft"]
    split: Split
    drop_blank: bool
    drop_leaks: bool
    balance: Literal["none", "oversample", "undersample", "cap"]
    cap: dict[str, Count]
    seed: Seed

    @model_validator(mode="after")
    def _cap_has_classes(self) -> "Prepare":
        if self.balance == "cap" and not self.cap:
            raise ValueError("has balance: cap, but its cap names no class")
        return self


class Benchmark(Section):
    """Which ways of loading to time."""

    workers: Annotated[list[Annotated[int, Field(ge=0, le=256)]], Field(min_length=1)]
    batch_size: Count

    @model_validator(mode="after")
    def _workers_differ(self) -> "Benchmark":
        if len(set(self.workers)) < len(self.workers):
            raise ValueError(f"has workers {self.workers}: each number once")
        return self


class Settings(Section):
    """Where and how to run: no result changes but by roundings, and no stage depends on them."""

    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d{1,3})?)$")]
    wandb: Literal["offline", "online", "disabled"]
    storage: str


class Model(Section):
    """The network: its name in `fer.training.networks`, and a factor on its channels."""

    name: Literal["compact", "deep", "mini-xception"]
    width: Annotated[float, Field(gt=0, le=32)]


class Augment(Section):
    """Strengths of the random changes, each drawn anew for each face."""

    flip: Fraction = 0.0
    shift: Annotated[int, Field(ge=0, le=24)] = 0
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    contrast: Annotated[float, Field(ge=0, le=1)] = 0.0


class Distill(Section):
    """How to learn from a teacher: its share of the loss, and how many views it is asked about."""

    weight: Fraction = 0.0
    temperature: Annotated[float, Field(gt=0, le=100)] = 1.0
    views: Annotated[int, Field(ge=1, le=1000)] = 1


class Train(Section):
    """The recipe."""

    batch_size: Annotated[Count, Field(ge=2)]
    optimizer: Literal["sgd", "adamw"]
    lr: Annotated[float, Field(gt=0, le=1e30)]  # beyond, float32 does not hold it
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0, le=10)]
    schedule: Literal["one-cycle", "cosine", "step"]
    warmup: Annotated[float, Field(gt=0, lt=1)] = 0.15
    decay_start: Annotated[int, Field(ge=0, le=1_000_000)] = 80
    decay_every: Count = 5
    decay_rate: Annotated[float, Field(gt=0, le=1)] = 0.9
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    # From 24 pixels on, the smallest maps of the networks have more than one.
    sizes: Annotated[list[Annotated[int, Field(ge=24, le=INPUT_SIZE)]], Field(min_length=1)]
    augment: Augment
    distill: Distill = Distill()
    refine: Annotated[int, Field(ge=0)] = 0
    seed: Seed = 0
    num_workers: Annotated[int, Field(ge=0, le=256)] = 0
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    deterministic: bool = False
    init: Annotated[str, Field(min_length=1)] = SCRATCH

    @field_validator("sizes")
    @classmethod
    def _ends_at_full_size(cls, sizes: list[int]) -> list[int]:
        if sizes[-1] != INPUT_SIZE:
            raise ValueError(f"ends with {sizes[-1]}: the last size is {INPUT_SIZE}, as in use")
        return sizes


class Recipe(Section):
    """All that decides what a training run results in: the network, and how it is trained."""

    model: Model
    train: Train

    def get(self, name: str) -> Value:
        """The parameter called `name`, such as "train.lr" or "model.width"."""
        return reduce(getattr, name.split("."), self)

    def changed(self, values: Mapping[str, Value]) -> "Recipe":
        """The recipe with other values of the parameters named, which are checked.

        >>> recipe.changed({"train.lr": 0.1, "train.augment.flip": 0.0})
        """
        data = self.model_dump()
        for name, value in values.items():
            *section, last = name.split(".")
            reduce(getitem, section, data)[last] = value
        return Recipe.model_validate(data)

    def names(self) -> list[str]:
        """The parameters that a search may vary, as `get` takes them: all of a single value."""
        sections = {
            **{"model": Model, "train": Train},
            **{"train.augment": Augment, "train.distill": Distill},
        }
        every = [f"{path}.{name}" for path, one in sections.items() for name in one.model_fields]
        # Trials have no teacher and are not refined, finals have seeds of their own, and the others
        # change time, and no more than roundings.
        without = (
            *("train.distill.", "train.refine", "train.seed", "train.init"),
            *("train.num_workers", "train.deterministic"),
        )
        return [n for n in every if isinstance(self.get(n), Value) and not n.startswith(without)]


class Dimension(Section):
    """Where the search looks for one parameter: between low and high, or among choices."""

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: list[Value] | None = None

    @model_validator(mode="after")
    def _range_or_choices(self) -> "Dimension":
        if self.choices is not None:
            if self.low is not None or self.high is not None or self.log:
                raise ValueError("has choices, and so can have no low, high or log")
            if not self.choices:
                raise ValueError("has no choices")
        elif self.low is None or self.high is None:
            raise ValueError("takes low and high, or choices")
        elif self.low > self.high:
            raise ValueError(f"has a low of {self.low}, above its high of {self.high}")
        elif self.log and self.low <= 0:
            raise ValueError(f"has a low of {self.low}: with log, it must be above 0")
        return self

    def including(self, value: Value) -> "Dimension":
        """The same with `value` in it."""
        if self.choices is None:
            ends = {"low": min(self.low, value), "high": max(self.high, value)}
            return self.model_copy(update=ends)
        choices = {*self.choices, value}
        numbers = not any(isinstance(choice, str) for choice in choices)
        return self.model_copy(update={"choices": sorted(choices, key=None if numbers else str)})


class Tune(Section):
    """The search."""

    seed: Seed
    space: dict[str, Dimension]

    @field_validator("space")
    @classmethod
    def _space_has_parameters(cls, space: dict) -> dict:
        if not space:
            raise ValueError("is empty: name the parameters to search, such as train.lr")
        return space


class Quantize(Section):
    """From float32 to int8, by the ranges that so many training faces show."""

    calibration: Literal["minmax", "entropy", "percentile"]
    faces: Count
    max_loss: Fraction
    seed: Seed


class Evaluate(Section):
    """What to show of the test split."""

    calibration_bins: Count
    shown_seed: Seed


class Search(Section):
    """How long to search: short trials, then longer runs of the best.

    Attributes:
        trials: Number of trials in all.
        epochs: Epochs of a trial.
        minutes: Minutes of one run of the stage, after which no trial begins.
        finalists: Number of trials that are trained again for `final_epochs`.
        final_epochs: Epochs of a finalist with one seed.
        seeds: Number of seeds of each finalist.
    """

    trials: Count
    epochs: Count
    minutes: Annotated[float, Field(gt=0, le=1_000_000)]
    finalists: Count
    final_epochs: Count
    seeds: Annotated[int, Field(ge=2)]


class Timings(Section):
    """How often to time each way to load faces, and each to run the models."""

    loaders: Count
    runtimes: Count


class Budget(Section):
    """How long to train and search on a data set, and how often to time."""

    epochs: Count
    teacher_epochs: Annotated[int, Field(ge=0)]
    timings: Timings
    search: Search


class AutoSearch(Search):
    """A search whose epochs may follow from those of the training."""

    epochs: CountOrAuto
    final_epochs: CountOrAuto


class AutoBudget(Budget):
    """A budget of params.yaml, in which "auto" stands for what fits the size of the data set."""

    epochs: CountOrAuto
    search: AutoSearch

    def resolve(self, faces: int) -> Budget:
        """The budget for a training split of so many `faces`, with a number for each "auto".

        Epochs: as many as pass 600,000 faces, but 20 to 100. A trial has a sixth of them, a
        finalist a third.
        """
        epochs = self.epochs
        if epochs == "auto":
            epochs = min(max(round(600_000 / faces), 20), 100)
        data = self.model_dump() | {"epochs": epochs}
        for key, share in (("epochs", 6), ("final_epochs", 3)):
            if data["search"][key] == "auto":
                data["search"][key] = max(1, epochs // share)
        return Budget.model_validate(data)


class Params(Section):
    """All of params.yaml."""

    dataset: str
    settings: Settings
    sample: Sample
    prepare: Prepare
    benchmark: Benchmark
    model: Model
    train: Train
    teach: Recipe
    tune: Tune
    quantize: Quantize
    evaluate: Evaluate
    budget: dict[str, AutoBudget]

    @field_validator("dataset", mode="before")
    @classmethod
    def _dataset_may_be_a_number(cls, dataset: object) -> object:
        return str(dataset) if type(dataset) is int else dataset  # of a folder such as 2024

    @field_validator("dataset")
    @classmethod
    def _dataset_is_a_name(cls, dataset: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", dataset):
            raise ValueError(
                f"is {dataset!r}: the name of a folder in data/raw, of A to Z, a to z, 0 to 9, _ "
                "and -; rename the folder"
            )
        if dataset in RESERVED:
            raise ValueError(f"is {dataset!r}, which no data set can be called; rename the folder")
        return dataset

    @field_validator("budget", mode="before")
    @classmethod
    def _sections_have_defaults(cls, budget: object) -> object:
        if not isinstance(budget, dict) or not isinstance(budget.get("default"), dict):
            raise ValueError("has no section default, which holds for every data set")
        default = budget["default"]
        return {name: _merged(default, section) for name, section in budget.items()}

    @model_validator(mode="after")
    def _teacher_has_no_teacher(self) -> "Params":
        if self.teach.train.distill != Distill():
            raise ValueError("teach.train.distill: the teacher learns from the labels alone")
        if self.teach.train.init != SCRATCH:
            raise ValueError("teach.train.init: the teacher starts from random weights")
        return self

    @model_validator(mode="after")
    def _starts_from_another_data_set(self) -> "Params":
        if Path(self.train.init).parts[:2] == ("models", self.dataset):
            raise ValueError(
                f"train.init is {self.train.init}, which this data set's training replaces; copy "
                "the file to another place"
            )
        return self

    @model_validator(mode="after")
    def _search_keeps_initial_network(self) -> "Params":
        varied = [name for name in self.tune.space if name.startswith("model.")]
        if varied and self.train.init != SCRATCH:
            raise ValueError(
                f"tune.space.{varied[0]}: cannot vary, as train.init holds weights of one network"
            )
        return self

    @model_validator(mode="after")
    def _space_fits_recipe(self) -> "Params":
        recipe = self.recipe
        for name, dimension in self.tune.space.items():
            if name not in recipe.names():
                known = ", ".join(recipe.names())
                raise ValueError(f"tune.space.{name}: no such parameter to search; known: {known}")
            own = recipe.get(name)
            if dimension.choices is None and isinstance(own, str | bool):
                raise ValueError(f"tune.space.{name} takes choices")
            if dimension.log and not own > 0:
                raise ValueError(
                    f"tune.space.{name} has log, but {name}, where the search starts, is {own}"
                )
            for value in dimension.choices or (dimension.low, dimension.high):
                try:
                    recipe.changed({name: value})
                except ValidationError as error:
                    raise ValueError(f"tune.space.{name}: {_say(error.errors()[0])}") from error
        return self

    @property
    def recipe(self) -> Recipe:
        """What the search starts from, and `train` trains."""
        return Recipe(model=self.model, train=self.train)

    def budget_for(self, faces: int) -> Budget:
        """The budget of the data set, for a training split of so many `faces`."""
        return self.budget.get(self.dataset, self.budget["default"]).resolve(faces)


def load(path: Path = Path("params.yaml")) -> Params:
    """Read and check params.yaml.

    Raises FerError naming each wrong key, its value and what is allowed.
    """
    try:
        # YAML 1.2, as DVC reads it: for PyYAML, 1e-3 would be a string.
        data = YAML(typ="safe", pure=True).load(Path(path))
    except (OSError, ValueError, RecursionError, YAMLError) as error:
        raise FerError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    try:
        return Params.model_validate(data)
    except ValidationError as error:
        lines = dict.fromkeys(_say(one) for one in error.errors() if not _is_of_default(one, data))
        raise FerError(f"{path}: " + "; ".join(lines)) from error


def save_budget(path: Path, budget: Budget) -> None:
    """Write a budget as YAML, for DVC and for `load_budget`."""
    yaml = YAML()
    with atomic_path(path) as temporary:
        yaml.dump(budget.model_dump(), temporary)


def load_budget(dataset: str) -> Budget:
    """Read the budget that stage `budget` wrote for a data set.

    Raises:
        FerError: Where it is missing or damaged.
    """
    path = Path("metrics", dataset, "budget.yaml")
    try:
        return Budget.model_validate(YAML(typ="safe", pure=True).load(path))
    except (OSError, ValueError, YAMLError) as error:  # pydantic's error is a ValueError
        reason = str(error).partition("\n")[0]
        raise FerError(f"{path}: cannot be read ({reason}); run `dvc repro budget`") from error


def home() -> Path:
    """The repository: of an experiment in a temporary folder, the one that it was started from.

    What outlives a run (checkpoints, studies, W&B's files) belongs there.
    """
    return Path(os.environ.get("DVC_ROOT", "."))  # set by DVC


def update(path: Path, values: Mapping[str, Value]) -> list[str]:
    """Write `values` (by names such as "train.augment.flip") into the file at `path`.

    Comments, order and all else stay as they are. Returns a line for each value that is another
    than before.
    """
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1000  # break no line
    data = yaml.load(Path(path))
    lines = []
    for name, value in values.items():
        *folders, last = name.split(".")
        target = reduce(getitem, folders, data)
        before = target.get(last, "its default")
        if before != value:
            lines.append(f"{name}: {before} -> {value}")
            target[last] = value
    with atomic_path(path) as temporary:
        yaml.dump(data, temporary)
    return lines


def _is_of_default(error: dict, data: dict) -> bool:
    """Whether a data set's budget has the error only because it takes the value from default."""
    top, name, *keys = (*error["loc"], None, None)[: max(2, len(error["loc"]))]
    if top != "budget" or name in (None, "default"):
        return False
    section = data["budget"][name]
    for key in keys:
        if not isinstance(section, dict) or key not in section:
            return True
        section = section[key]
    return False


def _merged(default: object, section: object) -> object:
    """`section` with what only `default` has, at every depth."""
    if not (isinstance(default, dict) and isinstance(section, dict)):
        return section
    return default | {key: _merged(default.get(key), value) for key, value in section.items()}


def _fields(path: tuple) -> list[str]:
    """Names of the parameters in the section at `path`."""
    section = Params
    for part in path:
        inner = get_args(section)  # of a dict: its values are the sections
        section = inner[1] if inner else section.model_fields[part].annotation
    return list(section.model_fields)


def _say(error: dict) -> str:
    key = ".".join(str(part) for part in error["loc"] if part != "[key]")
    if error["type"] == "missing":
        return f"{key} is missing"
    if error["type"] == "extra_forbidden":
        section = ".".join(map(str, error["loc"][:-1])) or "the file"
        known = ", ".join(_fields(error["loc"][:-1]))
        return f"{key} is {_show(error['input'])}: no such parameter; {section} has {known}"
    allowed = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{key} {allowed}" if key else allowed
    return f"{key or 'the file'} is {_show(error['input'])}: {allowed[0].lower()}{allowed[1:]}"


def _show(value: object) -> str:
    """`value` in a few words: a file of a few lines can name one that has millions."""
    short = reprlib.Repr()
    short.maxlevel, short.maxother = 1, 60
    return short.repr(value)
