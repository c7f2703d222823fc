"""The schema of params.yaml: frozen pydantic models that refuse unknown keys and bad values."""

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
    raise ValueError(f"is {_shorten(value)}: a number from 1 to 1,000,000, or auto")


CountOrAuto = Annotated[Any, PlainValidator(_count_or_auto)]

SCRATCH = "models/scratch"
"""`train.init` for random weights: a file that is always there, as DVC needs one."""

_RENAMED = {
    "train.refine": "train.qat_epochs",
    "train.sizes": "train.input_sizes",
    "teach.train.refine": "teach.train.qat_epochs",
    "teach.train.sizes": "teach.train.input_sizes",
    "quantize.calibration": "quantize.calibration_method",
    "quantize.faces": "quantize.calibration_faces",
    "quantize.max_loss": "quantize.max_accuracy_drop",
    "evaluate.shown_seed": "evaluate.examples_seed",
    "timings.loaders": "timings.loader_epochs",
    "timings.runtimes": "timings.runtime_rounds",
    "search.seeds": "search.folds",
}
"""Names of parameters up to version 0.2 and their names now; the last three are in any budget."""

RESERVED = ("raw", "headlines", "speeds", "default", "scratch")
"""Names that no data set can have, because folders or sections of params.yaml use them."""


class Section(BaseModel):
    """Base class of all sections: frozen, strict types, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Sample(Section):
    """Size and difficulty of the built-in sample.

    Attributes:
        train: Number of training faces.
        val: Number of validation faces.
        test: Number of test faces.
        label_noise: Share of labels that are wrong on purpose, 0 to 1.
        seed: Seed of the drawing.
    """

    train: Annotated[Count, Field(ge=7)]
    val: Annotated[Count, Field(ge=7)]
    test: Annotated[Count, Field(ge=7)]
    label_noise: Fraction
    seed: Seed


class Split(Section):
    """Shares of the faces that go to splits that a data set lacks.

    Attributes:
        val: Share of val, between 0 and 1.
        test: Share of test, between 0 and 1.
    """

    val: Annotated[float, Field(gt=0, lt=1)]
    test: Annotated[float, Field(gt=0, lt=1)]

    @model_validator(mode="after")
    def _leaves_some_to_train(self) -> "Split":
        if self.val + self.test >= 1:
            raise ValueError(
                f"has val {self.val} and test {self.test}: nothing is left for train; lower them"
            )
        return self


class Prepare(Section):
    """How a data set becomes arrays of faces.

    Attributes:
        on_bad_row: "fail" stops at a bad row or picture; "skip" leaves it out and lists it.
        face: "crop" takes each picture as one face; "detect" finds the largest face in it.
        votes: "majority" trains on one label per face; "soft" on each class's share of the votes.
        split: Shares for missing splits.
        drop_blank: Whether training faces of a single grey value are left out.
        drop_leaks: Whether training faces that also stand in val or test are left out.
        balance: How the classes of the training split are balanced.
        cap: With balance "cap", the number of faces per class name.
        seed: Seed of splitting and balancing.
    """

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
    """Which data loaders to time.

    Attributes:
        workers: Numbers of DataLoader workers, each once; 0 loads in the main process.
        batch_size: Faces per batch.
    """

    workers: Annotated[list[Annotated[int, Field(ge=0, le=256)]], Field(min_length=1)]
    batch_size: Count

    @model_validator(mode="after")
    def _workers_differ(self) -> "Benchmark":
        if len(set(self.workers)) < len(self.workers):
            raise ValueError(f"has workers {self.workers}; list each number once")
        return self


class Settings(Section):
    """Where and how to run. No stage depends on these values.

    They change results by rounding errors at most.

    Attributes:
        device: "auto", "cpu", "mps", "cuda" or "cuda:<number>".
        wandb: Mode of Weights & Biases.
        storage: SQLAlchemy URL of the database that keeps the search.
    """

    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d{1,3})?)$")]
    wandb: Literal["offline", "online", "disabled"]
    storage: str


class Model(Section):
    """The network.

    Attributes:
        name: Its name in `fer.training.networks`.
        width: Factor on its channels, above 0.
    """

    name: Literal["compact", "deep", "mini-xception", "vgg"]
    width: Annotated[float, Field(gt=0, le=32)]


class Augment(Section):
    """Strengths of the augmentation, which is drawn anew for each face.

    Attributes:
        flip: Probability of a horizontal flip.
        shift: Largest shift in pixels, in each direction.
        rotation: Largest rotation in degrees, in each direction.
        scale: Largest relative change of size; 0.08 is 92 % to 108 %.
        contrast: Largest relative change of contrast; 0.2 is 80 % to 120 %.
        erase: Probability that a rectangle is erased (Zhong et al. 2017, arXiv:1708.04896).
        mixup: Alpha of mixup's Beta distribution (Zhang et al. 2017, arXiv:1710.09412), or 0.
    """

    flip: Fraction = 0.0
    shift: Annotated[int, Field(ge=0, le=24)] = 0
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    contrast: Annotated[float, Field(ge=0, le=1)] = 0.0
    erase: Fraction = 0.0
    mixup: Annotated[float, Field(ge=0, le=100)] = 0.0


class Distill(Section):
    """Knowledge distillation from a teacher (Hinton et al. 2015, arXiv:1503.02531).

    Attributes:
        weight: Share of the distillation loss in the whole loss, 0 to 1.
        temperature: Temperature of both softmaxes.
        views: Number of augmented views per face for which the teacher's logits are computed.
    """

    weight: Fraction = 0.0
    temperature: Annotated[float, Field(gt=0, le=100)] = 1.0
    views: Annotated[int, Field(ge=1, le=1000)] = 1


class Train(Section):
    """How a network is trained. params.yaml explains each value.

    Attributes:
        batch_size: Faces per step, over all processes.
        optimizer: "sgd" (with Nesterov momentum) or "adamw".
        lr: Highest learning rate of the schedule.
        momentum: Momentum of SGD.
        weight_decay: L2 penalty on convolution weights.
        schedule: "one-cycle", "cosine" or "step".
        warmup: Share of the steps in which the learning rate of one-cycle rises.
        decay_start: Epochs before the decay of "step" begins.
        decay_every: Epochs between two steps of the decay, and before the first.
        decay_rate: Factor on the learning rate at each step of the decay.
        label_smoothing: Share of the target that is spread over all classes.
        average: Horizon of the moving average of the weights, as a share of all steps; 0 averages
            no weights.
        input_sizes: Heights and widths of the faces in pixels, for equal shares of the epochs
            (progressive resizing); the last one is 44.
        augment: Strengths of the augmentation.
        distill: Distillation, where there is a teacher.
        qat_epochs: Epochs of quantization-aware fine-tuning at the end.
        seed: Seed of weights, order and augmentation.
        num_workers: DataLoader workers; 0 keeps all faces on the device.
        precision: "auto", "bfloat16" or "float32".
        deterministic: Whether a GPU gives the same bits in each run.
        init: Random weights (`SCRATCH`), a model file, or the folder of a data set's models.
    """

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
    # With a longer horizon, the random initial weights would count in the end.
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
    init: Annotated[str, Field(min_length=1)] = SCRATCH

    @field_validator("input_sizes")
    @classmethod
    def _ends_at_full_size(cls, sizes: list[int]) -> list[int]:
        if sizes[-1] != INPUT_SIZE:
            raise ValueError(
                f"ends with {sizes[-1]}; the last size must be {INPUT_SIZE}, as in prediction"
            )
        return sizes


class TrainingConfig(Section):
    """All that decides the result of a training run.

    Attributes:
        model: The network.
        train: How it is trained.
    """

    model: Model
    train: Train

    def get(self, name: str) -> Value:
        """Return the value of a parameter.

        Args:
            name: Its path, such as "train.lr" or "model.width".
        """
        return reduce(getattr, name.split("."), self)

    def with_values(self, values: Mapping[str, Value]) -> "TrainingConfig":
        """Return a copy with other values for some parameters.

        Args:
            values: New values by path, such as {"train.lr": 0.1, "train.augment.flip": 0.0}.

        Raises:
            pydantic.ValidationError: If a value is not allowed.
        """
        data = self.model_dump()
        for name, value in values.items():
            *section, last = name.split(".")
            reduce(getitem, section, data)[last] = value
        return TrainingConfig.model_validate(data)

    def searchable(self) -> list[str]:
        """Return the paths of the parameters that a search may vary: those of a single value."""
        sections = {
            **{"model": Model, "train": Train},
            **{"train.augment": Augment, "train.distill": Distill},
        }
        paths = [f"{path}.{name}" for path, part in sections.items() for name in part.model_fields]
        # Trials have no teacher and no quantization-aware fine-tuning. The finals set the seed. The
        # other parameters change the time, and results by rounding errors at most.
        excluded = (
            *("train.distill.", "train.qat_epochs", "train.seed", "train.init"),
            *("train.num_workers", "train.deterministic"),
        )
        return [n for n in paths if isinstance(self.get(n), Value) and not n.startswith(excluded)]


class Dimension(Section):
    """The values of one parameter that the search may draw.

    Attributes:
        low: Lower end of a range.
        high: Upper end of a range.
        log: Whether the range is drawn from on a logarithmic scale.
        choices: Allowed values, in place of a range.
    """

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: list[Value] | None = None

    @model_validator(mode="after")
    def _range_or_choices(self) -> "Dimension":
        if self.choices is not None:
            if self.low is not None or self.high is not None or self.log:
                raise ValueError("has choices; remove low, high and log")
            if not self.choices:
                raise ValueError("has no choices")
        elif self.low is None or self.high is None:
            raise ValueError("needs low and high, or choices")
        elif self.low > self.high:
            raise ValueError(f"has low {self.low} above high {self.high}; swap them")
        elif self.log and self.low <= 0:
            raise ValueError(f"has low {self.low}; with log, it must be above 0")
        return self

    def including(self, value: Value) -> "Dimension":
        """Return a copy that also contains a value.

        Args:
            value: The value of the baseline configuration.
        """
        if self.choices is None:
            ends = {"low": min(self.low, value), "high": max(self.high, value)}
            return self.model_copy(update=ends)
        choices = {*self.choices, value}
        numbers = not any(isinstance(choice, str) for choice in choices)
        return self.model_copy(update={"choices": sorted(choices, key=None if numbers else str)})


class Tune(Section):
    """The hyperparameter search.

    Attributes:
        seed: Seed of the trials.
        space: What each searched parameter may be, by path such as "train.lr".
    """

    seed: Seed
    space: dict[str, Dimension]

    @field_validator("space")
    @classmethod
    def _space_has_parameters(cls, space: dict) -> dict:
        if not space:
            raise ValueError("is empty: name the parameters to search, such as train.lr")
        return space


class Quantize(Section):
    """Static quantization to int8.

    Attributes:
        calibration_method: How ranges of activations follow from the calibration faces.
        calibration_faces: Number of training faces that show these ranges.
        max_accuracy_drop: Drop of val accuracy, 0 to 1, above which int8 gets a warning.
        seed: Seed of the choice of calibration faces.
    """

    calibration_method: Literal["minmax", "entropy", "percentile"]
    calibration_faces: Count
    max_accuracy_drop: Fraction
    seed: Seed


class Evaluate(Section):
    """How the test split is evaluated.

    Attributes:
        calibration_bins: Number of bins of the expected calibration error.
        examples_seed: Seed of the choice of faces in the figure of explanations.
    """

    calibration_bins: Count
    examples_seed: Seed


class Search(Section):
    """How long to search: short trials, then longer runs of the best.

    Attributes:
        trials: Number of trials in all.
        epochs: Epochs of a trial.
        minutes: Minutes of one run of the stage, after which no trial begins.
        finalists: Number of trials that are trained again for `final_epochs`.
        final_epochs: Epochs of a finalist per fold.
        folds: Folds of the cross-validation of the finalists.
    """

    trials: Count
    epochs: Count
    minutes: Annotated[float, Field(gt=0, le=1_000_000)]
    finalists: Count
    final_epochs: Count
    folds: Annotated[int, Field(ge=2, le=100)]


class Timings(Section):
    """How often speeds are measured.

    Attributes:
        loader_epochs: Epochs that are timed per data loader.
        runtime_rounds: Rounds that are timed per runtime.
    """

    loader_epochs: Count
    runtime_rounds: Count


class Budget(Section):
    """How long a data set is trained, searched and timed.

    Attributes:
        epochs: Epochs of the full training.
        teacher_epochs: Epochs of the teacher; 0 trains without a teacher.
        timings: How often speeds are measured.
        search: How long the search is.
    """

    epochs: Count
    teacher_epochs: Annotated[int, Field(ge=0)]
    timings: Timings
    search: Search


class AutoSearch(Search):
    """A search as params.yaml has it.

    Attributes:
        epochs: Epochs per trial, or "auto".
        final_epochs: Epochs of a finalist per fold, or "auto".
    """

    epochs: CountOrAuto
    final_epochs: CountOrAuto


class AutoBudget(Budget):
    """A budget as params.yaml has it.

    Attributes:
        epochs: Epochs of the full training, or "auto".
        search: How long the search is; its epochs may be "auto".
    """

    epochs: CountOrAuto
    search: AutoSearch

    def resolve(self, faces: int) -> Budget:
        """Return the budget with a number in place of each "auto".

        Training gets as many epochs as pass 600,000 faces, but 20 to 100. A trial gets a sixth of
        these epochs, each fold of a finalist a fifth.

        Args:
            faces: Number of training faces.
        """
        epochs = self.epochs
        if epochs == "auto":
            epochs = min(max(round(600_000 / faces), 20), 100)
        data = self.model_dump() | {"epochs": epochs}
        for key, share in (("epochs", 6), ("final_epochs", 5)):
            if data["search"][key] == "auto":
                data["search"][key] = max(1, epochs // share)
        return Budget.model_validate(data)


class Params(Section):
    """All of params.yaml.

    Attributes:
        dataset: Name of the data set, a folder in data/raw.
        settings: Where and how to run.
        sample: The built-in sample.
        prepare: How a data set is read, split and balanced.
        benchmark: Which data loaders are timed.
        model: The network of the baseline.
        train: The training of the baseline.
        teach: The configuration of the teacher.
        tune: The search.
        quantize: The quantization to int8.
        evaluate: The evaluation on test.
        budget: Budgets by data set; "default" holds for the others.
    """

    dataset: str
    settings: Settings
    sample: Sample
    prepare: Prepare
    benchmark: Benchmark
    model: Model
    train: Train
    teach: TrainingConfig
    tune: Tune
    quantize: Quantize
    evaluate: Evaluate
    budget: dict[str, AutoBudget]

    @field_validator("dataset", mode="before")
    @classmethod
    def _dataset_may_be_a_number(cls, dataset: object) -> object:
        return (
            str(dataset) if type(dataset) is int else dataset
        )  # YAML reads a name such as 2024 as a number

    @field_validator("dataset")
    @classmethod
    def _dataset_is_a_name(cls, dataset: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", dataset):
            raise ValueError(
                f"is {dataset!r}: the name of a folder in data/raw, of A to Z, a to z, 0 to 9, _ "
                "and -; rename the folder"
            )
        if dataset in RESERVED:
            raise ValueError(f"is {dataset!r}, a reserved name; rename the folder")
        return dataset

    @field_validator("budget", mode="before")
    @classmethod
    def _sections_have_defaults(cls, budget: object) -> object:
        if not isinstance(budget, dict) or not isinstance(budget.get("default"), dict):
            raise ValueError("has no section default; add one with values for every data set")
        default = budget["default"]
        return {name: _merged(default, section) for name, section in budget.items()}

    @model_validator(mode="after")
    def _teacher_has_no_teacher(self) -> "Params":
        if self.teach.train.distill != Distill():
            raise ValueError("teach.train.distill: a teacher has no teacher; remove this section")
        if self.teach.train.init != SCRATCH:
            raise ValueError(
                "teach.train.init: the teacher starts from random weights; remove this line"
            )
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
    def _space_fits_baseline(self) -> "Params":
        config = self.config
        for name, dimension in self.tune.space.items():
            if name not in config.searchable():
                names = ", ".join(config.searchable())
                raise ValueError(f"tune.space.{name}: cannot be searched; choose among {names}")
            baseline = config.get(name)
            if dimension.choices is None and isinstance(baseline, str | bool):
                raise ValueError(f"tune.space.{name}: needs choices, as {name} is no number")
            if dimension.log and not baseline > 0:
                raise ValueError(
                    f"tune.space.{name}: has log, but {name} is {baseline}; set {name} above 0"
                )
            for value in dimension.choices or (dimension.low, dimension.high):
                try:
                    config.with_values({name: value})
                except ValidationError as error:
                    raise ValueError(
                        f"tune.space.{name}: {_format_error(error.errors()[0])}"
                    ) from error
        return self

    @property
    def config(self) -> TrainingConfig:
        """The baseline configuration: what stage train trains and the search starts from."""
        return TrainingConfig(model=self.model, train=self.train)

    def budget_for(self, faces: int) -> Budget:
        """Return the budget of the data set that `dataset` names.

        Args:
            faces: Number of its training faces.
        """
        return self.budget.get(self.dataset, self.budget["default"]).resolve(faces)


def load(path: Path = Path("params.yaml")) -> Params:
    """Read and check params.yaml.

    Args:
        path: The file.

    Raises:
        FerError: If the file cannot be read or a value is wrong. The message names each wrong key,
            its value and what is allowed; for a key of an older version, its new name.
    """
    try:
        # YAML 1.2, as DVC reads it: for PyYAML, 1e-3 would be a string.
        data = YAML(typ="safe", pure=True).load(Path(path))
    except (OSError, ValueError, RecursionError, YAMLError) as error:
        raise FerError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    try:
        return Params.model_validate(data)
    except ValidationError as error:
        errors = [one for one in error.errors() if not _is_inherited(one, data)]
        renamed = {_new_name(one) for one in errors if one["type"] == "extra_forbidden"}
        # A renamed parameter is missing under its new name, which is the same mistake.
        lines = dict.fromkeys(
            _format_error(one)
            for one in errors
            if not (one["type"] == "missing" and _path(one) in renamed)
        )
        raise FerError(f"{path}: " + "; ".join(lines)) from error


def save_budget(path: Path, budget: Budget) -> None:
    """Write a budget as YAML, for DVC and for `load_budget`.

    Args:
        path: The file to write.
        budget: The budget, with a number in place of each "auto".

    Raises:
        FerError: If the file cannot be written.
    """
    yaml = YAML()
    with atomic_path(path) as temporary:
        yaml.dump(budget.model_dump(), temporary)


def load_budget(dataset: str) -> Budget:
    """Read the budget that stage `budget` wrote.

    Args:
        dataset: Name of the data set.

    Raises:
        FerError: If the file is missing or damaged.
    """
    path = Path("metrics", dataset, "budget.yaml")
    try:
        return Budget.model_validate(YAML(typ="safe", pure=True).load(path))
    except (OSError, ValueError, YAMLError) as error:  # pydantic's error is a ValueError
        reason = str(error).partition("\n")[0]
        raise FerError(f"{path}: cannot be read ({reason}); run `dvc repro budget`") from error


def repository_root() -> Path:
    """Return the folder of the repository.

    An experiment in a temporary folder gets the repository that it was started from. Files that
    outlive a run belong there: checkpoints, studies, the runs of W&B.
    """
    return Path(os.environ.get("DVC_ROOT", "."))  # set by DVC


def update_file(path: Path, values: Mapping[str, Value]) -> list[str]:
    """Change some values in params.yaml and keep its comments and order.

    Args:
        path: The file.
        values: New values by path, such as {"train.augment.flip": 0.0}.

    Returns:
        A line such as "train.lr: 0.1 -> 0.2" per value that differs from before.

    Raises:
        FerError: If the file cannot be written.
    """
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1000  # long lines stay unbroken
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


def _is_inherited(error: dict, data: dict) -> bool:
    """Tell whether a data set's budget only inherits the error from `budget.default`."""
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
    """Fill `section` with the values that only `default` has, at every depth."""
    if not (isinstance(default, dict) and isinstance(section, dict)):
        return section
    return default | {key: _merged(default.get(key), value) for key, value in section.items()}


def _fields(path: tuple) -> list[str]:
    """Return the names of the parameters in the section at `path`."""
    section = Params
    for part in path:
        inner = get_args(section)  # the values of a dict are the sections
        section = inner[1] if inner else section.model_fields[part].annotation
    return list(section.model_fields)


def _path(error: dict) -> str:
    """Return the path of the parameter that an error is about, such as "train.lr"."""
    return ".".join(str(part) for part in error["loc"] if part != "[key]")


def _new_name(error: dict) -> str | None:
    """Return the path that a parameter of an older version has now; None for other errors."""
    key = _path(error)
    budget = re.fullmatch(r"(budget\.[^.]+\.)((?:timings|search)\..+)", key)
    prefix, name = budget.groups() if budget else ("", key)
    return prefix + _RENAMED[name] if name in _RENAMED else None


def _format_error(error: dict) -> str:
    key = _path(error)
    if error["type"] == "missing":
        return f"{key} is missing"
    if error["type"] == "extra_forbidden":
        if new_name := _new_name(error):
            return f"{key} is now called {new_name}; rename it"
        section = ".".join(map(str, error["loc"][:-1])) or "the file"
        fields = ", ".join(_fields(error["loc"][:-1]))
        return f"{key} is {_shorten(error['input'])}: no such parameter; {section} has {fields}"
    allowed = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{key} {allowed}" if key else allowed
    return f"{key or 'the file'} is {_shorten(error['input'])}: {allowed[0].lower()}{allowed[1:]}"


def _shorten(value: object) -> str:
    """Return a short `repr`; YAML anchors can build a value of millions of items."""
    short = reprlib.Repr()
    short.maxlevel, short.maxother = 1, 60
    return short.repr(value)
