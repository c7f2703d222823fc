"""The schema of params.yaml: frozen pydantic models that refuse unknown keys and bad values.

params.yaml has a comment for each parameter. The docstrings here give papers, and what those
comments leave out.
"""

import math
import os
import re
from collections.abc import Mapping
from functools import reduce
from operator import attrgetter, getitem
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

from fer.core.errors import FerError
from fer.core.faces import FACE_SIZE, INPUT_SIZE

Count = Annotated[int, Field(ge=1, le=1_000_000)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Value = int | float | str
Width = Annotated[float, Field(gt=0, le=32)]
ModelFile = Annotated[str, Field(min_length=1)]
ModelFiles = ModelFile | Annotated[list[ModelFile], Field(min_length=1)]


def _count_or_auto(value: object) -> int | str:
    if value == "auto" or (type(value) is int and 1 <= value <= 1_000_000):
        return value
    raise ValueError(f"is {value!r:.60}: a number from 1 to 1,000,000, or auto")


CountOrAuto = Annotated[Any, PlainValidator(_count_or_auto)]


SCRATCH, NO_TEACHER = "scratch", "none"
"""`train.init` for random weights, and `train.distill.teacher` without distillation."""

RESERVED = ("raw", "scores", "speeds", "default")
"""Names that no data set can have, because folders or params.yaml use them."""


class Section(BaseModel):
    """Base class of all sections: frozen, strict types, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Sample(Section):
    """Size and difficulty of the built-in sample."""

    train: Annotated[Count, Field(ge=7)]
    val: Annotated[Count, Field(ge=7)]
    test: Annotated[Count, Field(ge=7)]
    label_noise: Fraction
    seed: Seed


class SplitShares(Section):
    """Shares of the faces that go to splits that a data set lacks, below a half each.

    Faces of one `group` go to one split: those with the same match of a regular expression in the
    name of their file, or in its path if the expression has a slash; or "folder"; or "none".
    """

    val: Annotated[float, Field(gt=0, lt=0.5)]
    test: Annotated[float, Field(gt=0, lt=0.5)]
    group: str = "none"

    @field_validator("group")
    @classmethod
    def _group_is_a_pattern(cls, group: str) -> str:
        try:
            re.compile(group)
        except re.error as error:
            raise ValueError(f"is {group!r}, which is no regular expression: {error}") from error
        return group


class Prepare(Section):
    """How a data set becomes arrays of faces."""

    on_error: Literal["fail", "skip"]
    face: Literal["crop", "detect"]
    votes: Literal["majority", "soft"]
    corrections: Literal["train", "all"]
    split: SplitShares
    drop_blank: bool
    drop_leaks: bool
    balance: Literal["none", "oversample", "undersample", "cap"]
    cap: dict[str, Count]
    seed: Seed


class Benchmark(Section):
    """Which data loaders to time, and for how many epochs each."""

    workers: Annotated[list[Annotated[int, Field(ge=0, le=256)]], Field(min_length=1)]
    batch_size: Count
    epochs: Count


class Settings(Section):
    """Where and how to run. No stage depends on these; they change results by rounding at most."""

    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d{1,3})?)$")]
    wandb: Literal["offline", "online", "disabled"]
    storage: str


class Model(Section):
    """The network: its name in `fer.training.networks`, and a factor on its channels.

    A list of widths is the mean of so many networks.
    """

    name: Literal["compact", "mini-xception"]
    width: Width | Annotated[list[Width], Field(min_length=2)]


DAMAGES = ("gamma", "resolution", "noise", "jpeg")
"""The kinds of damage that training draws, in the order of a camera."""


class Augment(Section):
    """Strengths of the augmentation, which is drawn anew for each face."""

    flip: Fraction = 0.0
    shift: Annotated[int, Field(ge=0, le=24)] = 0
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    contrast: Annotated[float, Field(ge=0, le=1)] = 0.0
    gamma: Fraction = 0.0
    resolution: Fraction = 0.0
    noise: Fraction = 0.0
    jpeg: Fraction = 0.0

    def without_damage(self) -> "Augment":
        """Return a copy that only moves, turns and brightens faces."""
        return self.model_copy(update=dict.fromkeys(DAMAGES, 0.0))


class Damage(Section):
    """Strengths of each way to damage faces, for `fer.training.robustness`. An empty list: none."""

    resolution: list[Annotated[int, Field(ge=1, lt=FACE_SIZE)]]
    jpeg: list[Annotated[int, Field(ge=1, le=100)]]
    noise: list[Annotated[float, Field(ge=0, le=255)]]
    gamma: list[Annotated[float, Field(ge=0.1, le=10)]]
    contrast: list[Annotated[float, Field(ge=0, le=10)]]
    box: list[Annotated[float, Field(ge=0.5, le=2)]]
    rotation: list[Annotated[float, Field(ge=-180, le=180)]]
    motion: list[Annotated[int, Field(ge=1, lt=FACE_SIZE)]]

    @model_validator(mode="after")
    def _has_a_way(self) -> "Damage":
        if not any(values for _, values in self):
            raise ValueError("has no strength in any list; add one, such as resolution: [32]")
        if any(pixels % 2 == 0 for pixels in self.motion):
            raise ValueError("has an even number in motion; use odd ones, such as 5")
        return self


class Distill(Section):
    """Knowledge distillation from a teacher (Hinton et al. 2015, arXiv:1503.02531).

    Several model files are one teacher: the mean of their logits.
    """

    teacher: ModelFiles = NO_TEACHER
    weight: Fraction = 0.0
    temperature: Annotated[float, Field(gt=0, le=100)] = 1.0
    views: Annotated[int, Field(ge=1, le=1000)] = 1


class Train(Section):
    """How a network is trained. `batch_size` counts the faces of all processes."""

    epochs: CountOrAuto = "auto"
    batch_size: Annotated[Count, Field(ge=2)]
    optimizer: Literal["sgd", "adamw"]
    lr: Annotated[float, Field(gt=0, le=1e30)]  # larger values overflow float32
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0, le=10)]
    schedule: Literal["one-cycle", "cosine", "step"]
    warmup: Annotated[float, Field(gt=0, lt=1)] = 0.15
    decay_start: Annotated[int, Field(ge=0, le=1_000_000)] = 80
    decay_every: Count = 5
    decay_rate: Annotated[float, Field(gt=0, le=1)] = 0.9
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    # With a longer time constant, the random initial weights would count in the end.
    average: Annotated[float, Field(ge=0, le=0.1)] = 0.0
    # From 24 pixels on, the smallest maps of the networks have more than one pixel.
    input_sizes: Annotated[list[Annotated[int, Field(ge=24, le=INPUT_SIZE)]], Field(min_length=1)]
    augment: Augment
    distill: Distill = Distill()
    qat_epochs: Annotated[int, Field(ge=0)] = 0
    seed: Seed = 0
    num_workers: Annotated[int, Field(ge=0, le=256)] = 0
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    deterministic: bool = False
    init: ModelFiles = SCRATCH
    init_share: Fraction = 0.0

    @field_validator("input_sizes")
    @classmethod
    def _ends_at_full_size(cls, sizes: list[int]) -> list[int]:
        if sizes[-1] != INPUT_SIZE:
            raise ValueError(
                f"ends with {sizes[-1]}; the last size must be {INPUT_SIZE}, as in prediction"
            )
        return sizes

    def epochs_for(self, faces: int) -> int:
        """Return the number of epochs for a number of training faces.

        "auto" is as many as pass 600,000 faces, but 20 to 100.
        """
        return min(max(round(600_000 / faces), 20), 100) if self.epochs == "auto" else self.epochs


class TrainingConfig(Section):
    """All that decides the result of a training run: the network and how it is trained."""

    model: Model
    train: Train

    def get(self, name: str) -> Any:
        """Return the value of a parameter by its path, such as "train.lr" or "model.width"."""
        return attrgetter(name)(self)

    def with_values(self, values: Mapping[str, Any]) -> "TrainingConfig":
        """Return a copy with new values by path, such as {"train.augment.flip": 0.0}.

        Raises:
            pydantic.ValidationError: If a value is not allowed.
        """
        data = self.model_dump(include={"model", "train"})
        for name, value in values.items():
            *section, last = name.split(".")
            reduce(getitem, section, data)[last] = value
        return TrainingConfig.model_validate(data)

    def searchable(self) -> list[str]:
        """Return the paths of the parameters that a search may vary: those of a single value."""
        # Trials have no teacher and no quantization-aware fine-tuning. The finals set the seed. The
        # number of workers and determinism change results by rounding errors at most.
        excluded = {"qat_epochs", "seed", "epochs", "num_workers", "deterministic"}
        excluded |= {"init", "init_share"}
        sections: dict[str, type[Section]] = {"train": Train, "train.augment": Augment}
        if self.train.init == SCRATCH:  # other initial weights are those of one network
            sections = {"model": Model} | sections
        paths = [
            f"{path}.{name}"
            for path, section in sections.items()
            for name in section.model_fields
            if name not in excluded
        ]
        return [path for path in paths if isinstance(self.get(path), Value)]


class Dimension(Section):
    """The values of one parameter that the search may draw: a range, or a list of choices."""

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: list[Value] | None = None

    @model_validator(mode="after")
    def _range_or_choices(self) -> "Dimension":
        if self.choices and (self.low, self.high, self.log) == (None, None, False):
            return self
        if self.choices is not None or self.low is None or self.high is None:
            raise ValueError("needs low and high, or choices")
        if self.low > self.high:
            raise ValueError(f"has low {self.low} above high {self.high}; swap them")
        return self

    def including(self, value: Any) -> "Dimension":
        """Return a copy that also contains a value: that of the baseline."""
        if self.low is not None and self.high is not None:
            ends = {"low": min(self.low, value), "high": max(self.high, value)}
            return self.model_copy(update=ends)
        choices = {*(self.choices or []), value}
        are_words = any(isinstance(choice, str) for choice in choices)
        ordered = sorted(choices, key=str) if are_words else sorted(choices)
        return self.model_copy(update={"choices": ordered})


class Tune(Section):
    """The hyperparameter search: short trials, then the best one against the baseline."""

    trials: CountOrAuto
    epochs: CountOrAuto
    final_epochs: CountOrAuto
    folds: Annotated[int, Field(ge=2, le=100)]
    seed: Seed
    space: Annotated[dict[str, Dimension], Field(min_length=1)]

    def epochs_for(self, full_epochs: int, faces: int) -> tuple[int, int]:
        """Return the epochs of a trial and of each fold of a final, for a number of training faces.

        "auto" is a sixth and a fifth of the epochs of the full training. A final has more of them,
        up to all, where these pass fewer than 60,000 faces: its predictions show wrong labels.
        """
        trial = max(1, full_epochs // 6) if self.epochs == "auto" else self.epochs
        enough = min(full_epochs, max(full_epochs // 5, round(60_000 / faces), 1))
        return trial, enough if self.final_epochs == "auto" else self.final_epochs

    def trials_for(self, faces: int) -> int:
        """Return the number of trials for a number of different training faces.

        "auto" is 4, or the baseline alone if the margin of error of a gain is above 5 points.
        """
        return (4 if margin_of_gain(faces) <= 0.05 else 1) if self.trials == "auto" else self.trials


def margin_of_gain(faces: int) -> float:
    """Return the margin of error (95 %) of the difference of two accuracies on some faces, 0 to 1.

    As if the two models were correct on other halves of the faces, independently.
    """
    return 1.96 * math.sqrt(0.5 / faces)


class Quantize(Section):
    """Static quantization to int8, and the timing of the runtimes."""

    calibration_method: Literal["minmax", "percentile"]
    calibration_faces: Annotated[int, Field(ge=1, le=4096)]  # 1.3 MB of activations each
    max_accuracy_drop: Fraction
    rounds: Count
    seed: Seed


class Evaluate(Section):
    """How the test split is evaluated."""

    calibration_bins: Count
    examples_seed: Seed


class Params(Section):
    """All of params.yaml, for the data set and the size that it names."""

    # YAML reads a name such as 2024 as a number.
    dataset: Annotated[str, Field(strict=False, coerce_numbers_to_str=True)]
    size: Literal["nano", "small", "base", "large"]
    settings: Settings
    sample: Sample
    prepare: Prepare
    benchmark: Benchmark
    damage: Damage
    model: Model
    train: Train
    tune: Tune
    quantize: Quantize
    evaluate: Evaluate

    @field_validator("dataset")
    @classmethod
    def _dataset_is_a_name(cls, dataset: str) -> str:
        if dataset in RESERVED or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", dataset):
            raise ValueError(
                f"is {dataset!r}: the name of a folder in data/raw, of A to Z, a to z, 0 to 9, _ "
                f"and -, and none of {', '.join(RESERVED)}; rename the folder"
            )
        return dataset

    @model_validator(mode="after")
    def _space_fits_baseline(self) -> "Params":
        config = self.config
        for name, dimension in self.tune.space.items():
            if name not in config.searchable():
                names = ", ".join(config.searchable())
                raise ValueError(f"tune.space.{name}: cannot be searched; choose among {names}")
            for value in dimension.choices or (dimension.low, dimension.high):
                try:
                    config.with_values({name: value})
                except ValidationError as error:
                    problem = _format_error(error.errors()[0])
                    raise ValueError(f"tune.space.{name}: {problem}") from error
            if dimension.log and min(dimension.low or 0, config.get(name)) <= 0:
                raise ValueError(f"tune.space.{name}: has log; its low and {name} must be above 0")
        return self

    @property
    def folder(self) -> Path:
        """The folder of this data set and size, relative to those of models, metrics and plots."""
        return Path(self.dataset, self.size)

    @property
    def name(self) -> str:
        """The data set and the size, as in names of runs and captions."""
        return f"{self.dataset}-{self.size}"

    @property
    def config(self) -> TrainingConfig:
        """The baseline configuration: what stage train trains and the search starts from."""
        return TrainingConfig(model=self.model, train=self.train)


def load(path: Path = Path("params.yaml")) -> Params:
    """Read and check params.yaml.

    Raises:
        FerError: If the file cannot be read or a value is wrong. The message names each wrong key,
            its value and what is allowed.
    """
    try:
        # YAML 1.2, as DVC reads it: for PyYAML, 1e-3 would be a string.
        data = YAML(typ="safe", pure=True).load(Path(path))
    except (OSError, ValueError, RecursionError, YAMLError) as error:
        raise FerError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    try:
        return Params.model_validate(_choose(data))
    except ValidationError as error:
        lines: dict[str, str] = {}
        for one in error.errors():  # of a number or list: two errors, of which the first counts
            lines.setdefault(_key(one), _format_error(one))
        raise FerError(f"{path}: " + "; ".join(lines.values())) from error


def _choose(data: Any) -> Any:
    """Take the values for this data set and size from mappings such as {default: 1, base: 2}.

    The first of these names that a mapping has counts: mine-base, mine, base, default.
    """
    if not isinstance(data, dict):
        return data
    dataset, size = (data.get(key) for key in ("dataset", "size"))
    names = (f"{dataset}-{size}", str(dataset), str(size), "default")

    def choose(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if "default" not in value:
            return {key: choose(inner) for key, inner in value.items()}
        by_name = {str(key): inner for key, inner in value.items()}  # 2024 is a number in YAML
        return next(by_name[name] for name in names if name in by_name)

    return choose(data)


def repository_root() -> Path:
    """Return the repository that a run was started from, for files that outlive a temporary one."""
    return Path(os.environ.get("DVC_ROOT", "."))  # set by DVC


def _subsection(section: type[Section], name: str) -> type[Section]:
    """Return the class of a section in a section, such as Augment in Train."""
    annotation: Any = (
        section.model_fields[name].annotation if name in section.model_fields else None
    )
    annotation = (get_args(annotation) or [annotation])[-1]  # of a mapping, as tune.space
    is_section = isinstance(annotation, type) and issubclass(annotation, Section)
    return annotation if is_section else section  # otherwise a name in a mapping


def _key(error: Any) -> str:
    kinds = re.compile(r"\[key\]|(constrained-)?(float|str)|list\[.*\]")  # that pydantic adds
    return ".".join(str(part) for part in error["loc"] if not kinds.fullmatch(str(part)))


def _format_error(error: Any) -> str:
    key = _key(error)
    if error["type"] == "missing":
        return f"{key} is missing"
    allowed = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{key} {allowed}" if key else allowed
    if error["type"] == "extra_forbidden":
        top: type[Section] = Params
        section = reduce(_subsection, error["loc"][:-1], top)
        allowed = f"no such parameter; the names here are {', '.join(section.model_fields)}"
    elif isinstance(error["input"], dict):
        allowed += "; a mapping by data set or size needs a default"
    return f"{key or 'the file'} is {error['input']!r:.60}: {allowed[0].lower()}{allowed[1:]}"
