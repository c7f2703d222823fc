"""Train a network: epochs, mixed precision, the best epoch kept, going on after a stop."""

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
from fer.params import Recipe, home
from fer.training import distributed
from fer.training.checkpoint import read, write
from fer.training.clock import Laps
from fer.training.device import be_deterministic, keep_freed_memory, pick_precision
from fer.training.evaluation import logits, loss_and_accuracy
from fer.training.initial import Weights
from fer.training.loading import loader
from fer.training.networks import Network, build
from fer.training.optim import make_optimizer, make_schedule
from fer.training.step import CapturedStep, Step
from fer.training.teaching import ask

Row = dict[str, float]
"""One epoch: size of the faces, losses (nats), accuracies (0 to 1), learning rate, seconds."""

PARTS = ("data", "compute", "validation")
"""Of an epoch, whose seconds a row has."""


class DivergedError(FerError):
    """The loss is no longer finite."""


def fit(
    recipe: Recipe,
    train: Faces,
    val: Faces,
    epochs: int,
    device: torch.device,
    *,
    on_epoch: Callable[[list[Row]], None],
    checkpoint: Path | None = None,
    teacher: Network | None = None,
    init: Weights | None = None,
    quiet: bool = False,
) -> tuple[Network, list[Row]]:
    """A network, trained from `recipe.train.seed`, and the history of its training.

    Its weights are those of its best epoch by accuracy on `val`.

    on_epoch: gets the history after each epoch
    checkpoint: where the state is kept after each epoch; a call with the same arguments goes on
        from there, to the same end, even if it had reached the end; the caller removes it
    teacher: a trained network, from which to learn as well, by `recipe.train.distill`
    init: the weights to start from, of `fer.training.initial.load`; None for random ones
    quiet: show no progress

    Raises DivergedError.
    """
    options = recipe.train
    precision = pick_precision(options.precision, device)
    keep_freed_memory()
    be_deterministic(options.deterministic)
    torch.manual_seed(options.seed)
    network = build(recipe.model, len(train.classes))
    network.load_state_dict(init or {}, strict=False)
    network = network.to(device, memory_format=torch.channels_last)
    if options.num_workers > cores() and not quiet:
        print(
            f"train.num_workers is {options.num_workers} on {cores()} cores: more workers than "
            "cores seldom help",
            file=sys.stderr,
        )
    batches = loader(
        train,
        options.augment,
        batch_size=options.batch_size,
        seed=options.seed,
        num_workers=options.num_workers,
        device=device,
    )
    optimizer = make_optimizer(network, options)
    schedule = make_schedule(optimizer, options, epochs, len(batches))
    state = _State(network, optimizer, schedule)
    if checkpoint:
        state.key = _key(recipe, train, val, epochs, teacher, init)
        state.resume(checkpoint)
    if teacher and not state.words:
        views = min(options.distill.views, epochs)
        state.words = ask(teacher.to(device), batches, views, precision, quiet)
    trainee = distributed.parallel(network, device)
    step = Step(trainee, options, precision)
    # Not beside threads of its own or of nccl: what they ask of the GPU would break a capture.
    if device.type == "cuda" and not options.num_workers and not distributed.several():
        step = CapturedStep(step, options.batch_size)
    images = torch.tensor(val.images, device=device)
    labels = torch.tensor(val.labels, dtype=torch.int64)
    steps = epochs * len(batches)
    start = len(state.history)
    hidden = True if quiet else None  # None: shown on a terminal only
    with tqdm(total=steps, initial=start * len(batches), unit="step", disable=hidden) as bar:
        for epoch in range(start, epochs):
            laps = Laps(device)
            lr = schedule.get_last_lr()[0]
            size = input_size(options.sizes, epoch, epochs)
            batches.sampler.epoch, batches.sampler.size = epoch, size
            said = None
            if teacher:  # the views that it was asked about, in turn
                batches.sampler.epoch = view = epoch % len(state.words)
                said = state.words[view].to(device)
            trainee.train()
            trained = _train_epoch(step, batches, said, optimizer, schedule, laps, bar)
            validated = distributed.from_first(  # all pick the same best epoch
                loss_and_accuracy(logits(network, images, size=size), labels)
            )
            laps.lap("validation")
            if not (math.isfinite(trained[0]) and math.isfinite(validated[0])):
                raise DivergedError(
                    f"train.lr is {options.lr}: the loss is not finite after epoch {epoch + 1}; "
                    "try a lower one"
                )
            row = _row(epoch, size, trained, validated, lr, laps)
            state.add(row)
            if checkpoint and distributed.is_first():
                state.save(checkpoint)
            on_epoch(state.history)
            if not quiet:
                _show(row, epochs, bar)
    network.load_state_dict(state.best)
    network.zero_grad()  # or the last gradients keep the memory of a CUDA graph
    return network.eval(), state.history


def input_size(sizes: Sequence[int], epoch: int, epochs: int) -> int:
    """Pixels of the faces in an epoch (from 0): `sizes` in turn, for equal shares of `epochs`.

    The last epoch has the last size, however few epochs there are.
    """
    return sizes[-1 - (epochs - 1 - epoch) * len(sizes) // epochs]


def best_epoch(history: list[Row]) -> Row:
    """The row that `fit` kept the weights of: the first with the highest accuracy on val.

    Among those with the largest faces so far, as `val_accuracy` is of faces of the epoch's size.
    """
    return max(history, key=lambda row: (row["size"], row["val_accuracy"]))


def seconds_per_epoch(history: list[Row]) -> dict[str, float]:
    """Mean seconds of each part of an epoch, and their total."""
    means = {part: fmean(row[f"seconds_{part}"] for row in history) for part in PARTS}
    return {part: round(s, 4) for part, s in (means | {"total": sum(means.values())}).items()}


def seconds_to(history: list[Row], levels: Sequence[float]) -> dict[str, float | None]:
    """Seconds of training until an epoch of full size first had such an accuracy on val, or None.

    levels: accuracies, 0 to 1, as which they are the keys of the result too
    """
    passed = list(accumulate(sum(row[f"seconds_{part}"] for part in PARTS) for row in history))
    full = max(row["size"] for row in history)
    reached = [
        (row["val_accuracy"], seconds)
        for row, seconds in zip(history, passed, strict=True)
        if row["size"] == full
    ]
    return {
        str(level): next((round(s, 1) for found, s in reached if found >= level), None)
        for level in levels
    }


def checkpoint_path(
    recipe: Recipe,
    train: Faces,
    val: Faces,
    epochs: int,
    teacher: Network | None = None,
    init: Weights | None = None,
) -> Path:
    """Where `fit` may keep the state of such a run: in the repository, under a name of its own."""
    key = _key(recipe, train, val, epochs, teacher, init)
    return home() / ".checkpoints" / f"{key[:16]}.ckpt"


def fingerprint(recipe: Recipe, train: Faces, val: Faces, *others: object) -> str:
    """A digest of what a training run's result depends on: recipe, data, code.

    Not the machine, so that unlike ones can share a search.

    others: what else it depends on, by its repr
    """
    # The number of workers changes the speed only, and what is refined is a finished network.
    options = recipe.train.model_copy(update={"num_workers": 0, "refine": 0})
    digest = hashlib.sha256(f"{recipe.model!r} {options!r} {others!r}".encode())
    here = Path(__file__).parent
    code = [here.parent / "faces.py", *sorted(here.rglob("*.py"))]
    for path in code:
        digest.update(path.read_bytes())
    for faces in (train, val):
        digest.update(faces.images.tobytes())
        digest.update(faces.targets().tobytes())
        digest.update(repr(faces.classes).encode())
    return digest.hexdigest()


def _key(
    recipe: Recipe,
    train: Faces,
    val: Faces,
    epochs: int,
    teacher: Network | None,
    init: Weights | None,
) -> str:
    """The fingerprint of a run of `fit`."""
    digests = []
    for weights in (teacher.state_dict() if teacher else {}, init or {}):
        digest = hashlib.sha256()
        for name, tensor in weights.items():
            digest.update(name.encode())
            digest.update(tensor.cpu().numpy().tobytes())
        digests.append(digest.hexdigest())
    return fingerprint(recipe, train, val, epochs, *digests)


def _train_epoch(
    step: Step | CapturedStep,
    batches: DataLoader,
    said: torch.Tensor | None,
    optimizer: Optimizer,
    schedule: LRScheduler,
    laps: Laps,
    bar: tqdm,
) -> tuple[float, float]:
    """One pass over the training split; its mean loss and accuracy, of the faces as augmented."""
    device = laps.device
    # Summed on the device: asking for a number at each step would make the GPU wait.
    total = torch.zeros(
        2, dtype=torch.float64 if device.type != "mps" else torch.float32, device=device
    )
    count = 0
    for images, labels in batches:
        images = images.to(device, non_blocking=True)
        labels = labels.to(device, non_blocking=True)
        laps.lap("data")
        told = () if said is None else (said[count : count + len(labels)],)
        total += step(images, labels, *told)
        optimizer.step()
        schedule.step()
        count += len(labels)
        laps.lap("compute")
        bar.update()
    faces = distributed.summed(torch.tensor(count, device=device))
    loss, accuracy = (distributed.summed(total) / faces).tolist()
    return loss, accuracy


def _row(
    epoch: int,
    size: int,
    trained: tuple[float, float],
    validated: tuple[float, float],
    lr: float,
    laps: Laps,
) -> Row:
    seconds = laps.seconds()
    figures = {
        "train_loss": trained[0],
        "train_accuracy": trained[1],
        "val_loss": validated[0],
        "val_accuracy": validated[1],
        "lr": lr,
    }
    parts = {f"seconds_{part}": round(seconds[part], 4) for part in PARTS}
    return {"epoch": epoch + 1, "size": size} | {k: round(v, 6) for k, v in figures.items()} | parts


def _show(row: Row, epochs: int, bar: tqdm) -> None:
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


class _State:
    """All that a run needs to go on: after a stop it ends as it would have without."""

    def __init__(self, network: Network, optimizer: Optimizer, schedule: LRScheduler) -> None:
        self.parts = {"network": network, "optimizer": optimizer, "schedule": schedule}
        self.device = next(network.parameters()).device
        cpu = self.device.type == "cpu"
        self.random = torch if cpu else torch.get_device_module(self.device)
        self.where = () if cpu else (self.device,)
        self.key = ""
        self.history: list[Row] = []
        self.best: dict[str, torch.Tensor] = {}
        self.words: list[torch.Tensor] = []

    def add(self, row: Row) -> None:
        self.history.append(row)
        if best_epoch(self.history) is row:
            self.best = copy.deepcopy(self.parts["network"].state_dict())

    def save(self, path: Path) -> None:
        parts = {name: part.state_dict() for name, part in self.parts.items()}
        words = [] if distributed.several() else self.words
        own = {"history": self.history, "best": self.best, "words": words}
        draws = {self.device.type: self.random.get_rng_state(*self.where)}  # of dropout
        write(path, {"key": self.key, "random": draws, **own, **parts})

    def resume(self, path: Path) -> None:
        if distributed.from_first(self.key) != self.key:
            raise FerError(
                "code, params.yaml or data here are not those of torchrun's first process; bring "
                "all machines to the same"
            )
        saved = distributed.from_first(self._read(path) if distributed.is_first() else None)
        if saved is None:
            return
        for name, part in self.parts.items():
            part.load_state_dict(saved[name])
        if self.device.type in saved["random"]:  # another kind of device draws otherwise
            self.random.set_rng_state(saved["random"][self.device.type], *self.where)
        self.history, self.best, self.words = (saved[k] for k in ("history", "best", "words"))
        if distributed.several():
            self.words = []  # they are of one process's shares: each asks again
        if distributed.is_first():
            print(f"going on after epoch {len(self.history)}", flush=True)

    def _read(self, path: Path) -> dict[str, Any] | None:
        if not path.exists():
            return None
        try:
            saved = read(path)
        except FerError as error:
            print(f"{error.args[0].partition(';')[0]}: training starts anew", flush=True)
            return None
        # That of another run a change of code, params or data made useless.
        return saved if saved.get("key") == self.key else None
