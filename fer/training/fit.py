"""The training loop: epochs, mixed precision, the best epoch, resuming after a stop."""

import copy
import hashlib
import math
import sys
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader
from tqdm import tqdm

from fer.errors import FerError
from fer.faces import Faces
from fer.machine import cores
from fer.params import TrainingConfig, repository_root
from fer.training import distributed
from fer.training.averaging import MovingAverage
from fer.training.checkpoint import read, write
from fer.training.clock import Laps
from fer.training.device import keep_freed_memory, pick_precision, set_deterministic
from fer.training.distillation import predict_teacher_logits
from fer.training.evaluation import loss_and_accuracy, predict_logits
from fer.training.initial import Weights
from fer.training.loading import make_loader
from fer.training.networks import Network, build
from fer.training.optim import make_optimizer, make_schedule
from fer.training.step import CapturedStep, Step

Row = dict[str, float]
"""One epoch: size of the faces, losses (nats), accuracies (0 to 1), learning rate, seconds."""

Teacher = Network | list[torch.Tensor]
"""A trained network, or its logits on the training faces from `predict_teacher_logits`."""

PARTS = ("data", "compute", "validation")
"""The parts of an epoch; a row has the seconds of each."""


class DivergedError(FerError):
    """The loss is no longer finite."""


def fit(
    config: TrainingConfig,
    train: Faces,
    val: Faces,
    epochs: int,
    device: torch.device,
    *,
    on_epoch: Callable[[list[Row]], None],
    checkpoint: Path | None = None,
    teacher: Teacher | None = None,
    init: Weights | None = None,
    quiet: bool = False,
) -> tuple[Network, list[Row]]:
    """Train a network and return it with the weights of its best epoch, and its history.

    The best epoch has the highest accuracy on `val` among those at full size. All random draws
    follow from `config.train.seed`.

    Args:
        config: The network and how it is trained.
        train: The faces to train on.
        val: The faces to select the best epoch on.
        epochs: Number of epochs.
        device: Where to train.
        on_epoch: Called with the history after each epoch.
        checkpoint: File that keeps the state after each epoch. A call with the same arguments
            resumes from it and ends with the same result. The caller removes it.
        teacher: A trained network to learn from, as `config.train.distill` says, or its logits from
            `predict_teacher_logits`.
        init: Initial weights, from `fer.training.initial.load`; None for random ones.
        quiet: Whether to show no progress.

    Raises:
        DivergedError: If the loss is no longer finite.
        ValueError: If `teacher` is a list of logits of other faces, or there are several processes.
    """
    options = config.train
    precision = pick_precision(options.precision, device)
    keep_freed_memory()
    set_deterministic(options.deterministic)
    torch.manual_seed(options.seed)
    network = build(config.model, len(train.classes))
    network.load_state_dict(init or {}, strict=False)
    network = network.to(device, memory_format=torch.channels_last)
    if options.num_workers > cores() and not quiet:
        print(
            f"train.num_workers is {options.num_workers} on {cores()} cores: more workers than "
            "cores seldom help",
            file=sys.stderr,
        )
    batches = make_loader(
        train,
        options.augment,
        batch_size=options.batch_size,
        seed=options.seed,
        num_workers=options.num_workers,
        device=device,
    )
    optimizer = make_optimizer(network, options)
    schedule = make_schedule(optimizer, options, epochs, len(batches))
    average = None
    if options.average:
        average = MovingAverage(network, options.average * epochs * len(batches))
    candidate = average.network if average else network  # what is validated and kept
    state = _TrainingState(network, candidate, optimizer, schedule)
    if checkpoint:
        state.key = _run_key(config, train, val, epochs, teacher, init)
        state.resume(checkpoint)
    if isinstance(teacher, list):
        if distributed.is_distributed() or any(len(view) != len(train) for view in teacher):
            raise ValueError("teacher: logits need a single process and a row per training face")
        state.teacher_logits = teacher
    elif teacher and not state.teacher_logits:
        views = min(options.distill.views, epochs)
        state.teacher_logits = predict_teacher_logits(
            teacher.to(device), batches, views, precision, quiet
        )
    trainee = distributed.wrap(network, device)
    step = Step(trainee, options, precision)
    # Worker threads and nccl make calls of their own to the GPU, which would break a capture.
    if device.type == "cuda" and not options.num_workers and not distributed.is_distributed():
        step = CapturedStep(step, options.batch_size)
    images = torch.tensor(val.images, device=device)
    labels = torch.tensor(val.labels, dtype=torch.int64)
    steps = epochs * len(batches)
    first_epoch = len(state.history)
    hidden = True if quiet else None  # None: shown on a terminal only
    with tqdm(total=steps, initial=first_epoch * len(batches), unit="step", disable=hidden) as bar:
        for epoch in range(first_epoch, epochs):
            laps = Laps(device)
            lr = schedule.get_last_lr()[0]
            size = input_size(options.input_sizes, epoch, epochs)
            batches.sampler.epoch, batches.sampler.size = epoch, size
            teacher_logits = None
            if state.teacher_logits:  # the views are used in turn
                batches.sampler.epoch = view = epoch % len(state.teacher_logits)
                teacher_logits = state.teacher_logits[view].to(device)
            trainee.train()
            train_metrics = _train_epoch(
                step, batches, teacher_logits, optimizer, schedule, average, laps, bar
            )
            val_metrics = distributed.broadcast(  # all processes select the same best epoch
                loss_and_accuracy(predict_logits(candidate, images, size=size), labels)
            )
            laps.lap("validation")
            if not (math.isfinite(train_metrics[0]) and math.isfinite(val_metrics[0])):
                raise DivergedError(
                    f"train.lr is {options.lr}: the loss is not finite after epoch {epoch + 1}; "
                    "try a lower one"
                )
            row = _row(epoch, size, train_metrics, val_metrics, lr, laps)
            state.add(row)
            if checkpoint and distributed.is_main_process():
                state.save(checkpoint)
            on_epoch(state.history)
            if not quiet:
                _print_epoch(row, epochs, bar)
    network.load_state_dict(state.best)
    network.zero_grad()  # gradients would keep the memory of the CUDA graph
    return network.eval(), state.history


def input_size(sizes: Sequence[int], epoch: int, epochs: int) -> int:
    """Return the size of the faces in an epoch, in pixels.

    Each size is used for an equal share of the epochs, in order. The last epoch has the last size,
    however few epochs there are.

    Args:
        sizes: The sizes in pixels.
        epoch: Index of the epoch, from 0.
        epochs: Number of epochs.
    """
    return sizes[-1 - (epochs - 1 - epoch) * len(sizes) // epochs]


def best_epoch(history: list[Row]) -> Row:
    """Return the row of the best epoch: the first with the highest accuracy on val.

    Only epochs with the largest faces so far count, because `val_accuracy` is measured at the size
    of the epoch.

    Args:
        history: The rows of a training, from `fit`.
    """
    return max(history, key=lambda row: (row["size"], row["val_accuracy"]))


def seconds_per_epoch(history: list[Row]) -> dict[str, float]:
    """Return the mean seconds of each part of an epoch, and their "total".

    Args:
        history: The rows of a training, from `fit`.
    """
    means = {part: fmean(row[f"seconds_{part}"] for row in history) for part in PARTS}
    return {part: round(s, 4) for part, s in (means | {"total": sum(means.values())}).items()}


def seconds_to_accuracy(history: list[Row], levels: Sequence[float]) -> dict[str, float | None]:
    """Return the seconds of training until an epoch at full size first reached each accuracy.

    Args:
        history: The rows of a training, from `fit`.
        levels: Accuracies on val, 0 to 1.

    Returns:
        Seconds by level (as a string); None for a level that was not reached.
    """
    elapsed = list(accumulate(sum(row[f"seconds_{part}"] for part in PARTS) for row in history))
    full_size = max(row["size"] for row in history)
    epochs = [
        (row["val_accuracy"], seconds)
        for row, seconds in zip(history, elapsed, strict=True)
        if row["size"] == full_size
    ]
    return {
        str(level): next(
            (round(seconds, 1) for accuracy, seconds in epochs if accuracy >= level), None
        )
        for level in levels
    }


def checkpoint_path(
    config: TrainingConfig,
    train: Faces,
    val: Faces,
    epochs: int,
    teacher: Teacher | None = None,
    init: Weights | None = None,
) -> Path:
    """Return the file in `.checkpoints/` of the repository for a run of `fit`.

    Its name follows from all that the result depends on; the arguments are those of `fit`.

    Args:
        config: The network and how it is trained.
        train: The faces to train on.
        val: The faces to select the best epoch on.
        epochs: Number of epochs.
        teacher: The network to learn from, or its logits.
        init: Initial weights.
    """
    key = _run_key(config, train, val, epochs, teacher, init)
    return repository_root() / ".checkpoints" / f"{key[:16]}.ckpt"


def fingerprint(config: TrainingConfig, train: Faces, val: Faces, *dependencies: object) -> str:
    """Return a digest of all that the result of a training run depends on: config, data, code.

    The machine is not part of it, so that different machines can share a search.

    Args:
        config: The network and how it is trained.
        train: The faces to train on.
        val: The faces to select the best epoch on.
        *dependencies: Further values that the result depends on; their `repr` counts.
    """
    # The number of workers changes only the time, and fine-tuning starts from the finished network.
    options = config.train.model_copy(update={"num_workers": 0, "qat_epochs": 0})
    digest = hashlib.sha256(f"{config.model!r} {options!r} {dependencies!r}".encode())
    folder = Path(__file__).parent
    code = [folder.parent / "faces.py", *sorted(folder.rglob("*.py"))]
    for path in code:
        digest.update(path.read_bytes())
    for faces in (train, val):
        digest.update(faces.images.tobytes())
        digest.update(faces.targets().tobytes())
        digest.update(repr(faces.classes).encode())
    return digest.hexdigest()


def _run_key(
    config: TrainingConfig,
    train: Faces,
    val: Faces,
    epochs: int,
    teacher: Teacher | None,
    init: Weights | None,
) -> str:
    """Return the fingerprint of a run of `fit`."""
    digests = []
    is_network = isinstance(teacher, Network)
    teacher_tensors = teacher.state_dict() if is_network else dict(enumerate(teacher or []))
    for tensors in (teacher_tensors, init or {}):
        digest = hashlib.sha256()
        for name, tensor in tensors.items():
            digest.update(str(name).encode())
            digest.update(tensor.cpu().numpy().tobytes())
        digests.append(digest.hexdigest())
    return fingerprint(config, train, val, epochs, *digests)


def _train_epoch(
    step: Step | CapturedStep,
    batches: DataLoader,
    teacher_logits: torch.Tensor | None,
    optimizer: Optimizer,
    schedule: LRScheduler,
    average: MovingAverage | None,
    laps: Laps,
    bar: tqdm,
) -> tuple[float, float]:
    """Train for one epoch; return the mean loss and accuracy on the augmented faces."""
    device = laps.device
    # Summed on the device, because reading a number at each step would make the GPU wait.
    total = torch.zeros(
        2, dtype=torch.float64 if device.type != "mps" else torch.float32, device=device
    )
    count = 0
    for images, targets in batches:
        images = images.to(device, non_blocking=True)
        targets = targets.to(device, non_blocking=True)
        laps.lap("data")
        batch = [images, targets]
        if teacher_logits is not None:
            batch.append(teacher_logits[count : count + len(targets)])
        total += step(*batch)
        optimizer.step()
        schedule.step()
        if average:
            average.update()
        count += len(targets)
        laps.lap("compute")
        bar.update()
    faces = distributed.all_reduce_sum(torch.tensor(count, device=device))
    loss, accuracy = (distributed.all_reduce_sum(total) / faces).tolist()
    return loss, accuracy


def _row(
    epoch: int,
    size: int,
    train_metrics: tuple[float, float],
    val_metrics: tuple[float, float],
    lr: float,
    laps: Laps,
) -> Row:
    seconds = laps.seconds()
    metrics = {
        "train_loss": train_metrics[0],
        "train_accuracy": train_metrics[1],
        "val_loss": val_metrics[0],
        "val_accuracy": val_metrics[1],
        "lr": lr,
    }
    parts = {f"seconds_{part}": round(seconds[part], 4) for part in PARTS}
    return {"epoch": epoch + 1, "size": size} | {k: round(v, 6) for k, v in metrics.items()} | parts


def _print_epoch(row: Row, epochs: int, bar: tqdm) -> None:
    text = (
        f"loss {row['train_loss']:.3f}, accuracy {row['train_accuracy']:.1%}; "
        f"val loss {row['val_loss']:.3f}, accuracy {row['val_accuracy']:.1%}"
    )
    if bar.disable:
        seconds = sum(v for k, v in row.items() if k.startswith("seconds_"))
        print(f"epoch {row['epoch']}/{epochs}: {text}; {seconds:.1f} s", flush=True)
    else:
        bar.set_description(f"epoch {row['epoch']}/{epochs}")
        bar.set_postfix_str(text)


class _TrainingState:
    """All that a run needs to resume with the same result."""

    def __init__(
        self,
        network: Network,
        candidate: Network,
        optimizer: Optimizer,
        schedule: LRScheduler,
    ) -> None:
        self.parts = {"network": network, "optimizer": optimizer, "schedule": schedule}
        if candidate is not network:
            self.parts["average"] = candidate
        self.candidate = candidate
        self.device = next(network.parameters()).device
        is_cpu = self.device.type == "cpu"
        self.rng_module = torch if is_cpu else torch.get_device_module(self.device)
        self.rng_arguments = () if is_cpu else (self.device,)
        self.key = ""
        self.history: list[Row] = []
        self.best: dict[str, torch.Tensor] = {}
        self.teacher_logits: list[torch.Tensor] = []

    def add(self, row: Row) -> None:
        self.history.append(row)
        if best_epoch(self.history) is row:
            self.best = copy.deepcopy(self.candidate.state_dict())

    def save(self, path: Path) -> None:
        parts = {name: part.state_dict() for name, part in self.parts.items()}
        content = {
            "key": self.key,
            # Dropout draws from this generator.
            "random": {self.device.type: self.rng_module.get_rng_state(*self.rng_arguments)},
            "history": self.history,
            "best": self.best,
            # Each of several processes has the logits of its share, and computes them again.
            "teacher_logits": [] if distributed.is_distributed() else self.teacher_logits,
        }
        write(path, content | parts)

    def resume(self, path: Path) -> None:
        if distributed.broadcast(self.key) != self.key:
            raise FerError(
                "torchrun: code, params.yaml or data differ from those of the first process; use "
                "the same on all machines"
            )
        saved = distributed.broadcast(self._read(path) if distributed.is_main_process() else None)
        if saved is None:
            return
        for name, part in self.parts.items():
            part.load_state_dict(saved[name])
        if self.device.type in saved["random"]:  # another kind of device draws differently
            rng_state = saved["random"][self.device.type]
            self.rng_module.set_rng_state(rng_state, *self.rng_arguments)
        self.history, self.best = saved["history"], saved["best"]
        self.teacher_logits = [] if distributed.is_distributed() else saved["teacher_logits"]
        if distributed.is_main_process():
            print(f"going on after epoch {len(self.history)}", flush=True)

    def _read(self, path: Path) -> dict[str, Any] | None:
        if not path.exists():
            return None
        try:
            saved = read(path)
        except FerError as error:
            print(f"{error.args[0].partition(';')[0]}: training starts anew", flush=True)
            return None
        # A checkpoint of other code, params or data is of no use.
        return saved if saved.get("key") == self.key else None
