"""params.yaml as frozen models: an unknown key or a value that is not allowed is an error."""

from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML, YAMLError

from fer.errors import FerError
from fer.faces import CLASSES

Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Section(BaseModel):
    """What all sections have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Sample(Section):
    """The built-in faces: how many of them, and how hard."""

    train: Annotated[int, Field(ge=7)]
    val: Annotated[int, Field(ge=7)]
    test: Annotated[int, Field(ge=7)]
    label_noise: Fraction
    seed: Seed


class Prepare(Section):
    """From the CSV to arrays; all but `on_bad_row` touches the training split only."""

    on_bad_row: Literal["fail", "skip"]
    drop_blank: bool
    drop_leaks: bool
    balance: Literal["none", "oversample", "undersample", "cap"]
    cap: dict[Literal[CLASSES], Count]
    seed: Seed

    @model_validator(mode="after")
    def _cap_has_classes(self) -> "Prepare":
        if self.balance == "cap" and not self.cap:
            raise ValueError("balance is cap, but cap names no class")
        return self


class Benchmark(Section):
    """Which ways of loading to time, and how often."""

    workers: Annotated[list[Annotated[int, Field(ge=0, le=256)]], Field(min_length=1)]
    repeats: Count
    batch_size: Count

    @model_validator(mode="after")
    def _workers_differ(self) -> "Benchmark":
        if len(set(self.workers)) < len(self.workers):
            raise ValueError(f"workers is {self.workers}: each number once")
        return self


class Model(Section):
    """The network."""

    width: Annotated[float, Field(gt=0, le=32)]


class Augment(Section):
    """Strengths of the random changes, each drawn anew for each face."""

    flip: Fraction = 0.0
    shift: Annotated[int, Field(ge=0, le=24)] = 0
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    contrast: Annotated[float, Field(ge=0, le=1)] = 0.0


class Train(Section):
    """The recipe."""

    batch_size: Annotated[int, Field(ge=2)]
    optimizer: Literal["sgd", "adamw"]
    lr: Annotated[float, Field(gt=0)]
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0)]
    schedule: Literal["one-cycle", "cosine", "step"]
    warmup: Annotated[float, Field(gt=0, lt=1)]
    decay_start: Annotated[int, Field(ge=0)]
    decay_every: Count
    decay_rate: Annotated[float, Field(gt=0, le=1)]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    augment: Augment
    seed: Seed
    num_workers: Annotated[int, Field(ge=0, le=256)]
    device: Literal["auto", "cuda", "mps", "cpu"]
    precision: Literal["auto", "bfloat16", "float32"]


class Evaluate(Section):
    """What to show of the test split."""

    calibration_bins: Count
    gradcam_seed: Seed


class Tracking(Section):
    """Weights & Biases."""

    wandb: Literal["offline", "online", "disabled"]


class Budget(Section):
    """What differs between the data sets: how long to search and train."""

    epochs: Count


class Params(Section):
    """All of params.yaml."""

    dataset: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]
    sample: Sample
    prepare: Prepare
    benchmark: Benchmark
    model: Model
    train: Train
    evaluate: Evaluate
    tracking: Tracking
    budget: dict[str, Budget]

    @model_validator(mode="after")
    def _dataset_has_budget(self) -> "Params":
        if self.dataset not in self.budget:
            known = ", ".join(self.budget)
            raise ValueError(f"dataset is {self.dataset!r}, but budget has only {known}")
        return self

    @property
    def epochs(self) -> int:
        """Epochs of a training run on the data set."""
        return self.budget[self.dataset].epochs


def load(path: Path = Path("params.yaml")) -> Params:
    """Read and check params.yaml.

    Raises FerError naming each wrong key, its value and what is allowed.
    """
    try:
        # YAML 1.2, as DVC reads it: for PyYAML, 1e-3 would be a string.
        data = YAML(typ="safe", pure=True).load(Path(path))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise FerError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    try:
        return Params.model_validate(data)
    except ValidationError as error:
        raise FerError(f"{path}: " + "; ".join(_say(e) for e in error.errors())) from error


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
        return f"{key} is {error['input']!r}: no such parameter; {section} has {known}"
    allowed = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{key}: {allowed}" if key else allowed
    return f"{key or 'the file'} is {error['input']!r}: {allowed[0].lower()}{allowed[1:]}"
