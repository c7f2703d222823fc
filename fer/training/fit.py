"""The training loop: epochs, mixed precision, the best epoch, resuming after a stop."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from fer.core.errors import FerError
from fer.training import distributed
from fer.training.checkpoint import TrainingState
from fer.training.clock import PhaseTimer
from fer.training.device import keep_freed_memory, pick_precision, set_deterministic
from fer.training.distillation import predict_teacher_logits
from fer.training.evaluation import loss_and_accuracy
from fer.training.history import PARTS, Row
from fer.training.loading import make_loader, progress_bar
from fer.training.networks import Network, build
from fer.training.optim import MovingAverage, make_optimizer, make_schedule
from fer.training.run import TrainingRun
from fer.training.step import CapturedStep, Step


class DivergedError(FerError):
    """The loss is no longer finite."""


def fit(
    run: TrainingRun,
    *,
    on_epoch: Callable[[Row], None] = lambda row: None,
    checkpoint: Path | None = None,
    quiet: bool = False,
) -> tuple[Network, list[Row]]:
    """Train a network and return it with the weights of its best epoch, and its history.

    The best epoch has the highest `val_score` among those at full size. Its weights are mixed with
    the initial ones as `train.init_share` says (Wortsman et al. 2022, arXiv:2109.01903). All random
    draws follow from the seed of the configuration.

    Args:
        run: What is trained.
        on_epoch: Called with the row of each epoch.
        checkpoint: File that keeps the state after each epoch, such as `run.checkpoint`. The same
            run resumes from it and ends with the same result. The caller removes it.
        quiet: Whether to show no progress.

    Raises:
        DivergedError: If the loss is no longer finite.
    """
    options, device, epochs = run.config.train, run.device, run.epochs
    precision = pick_precision(options.precision, device)
    keep_freed_memory()
    set_deterministic(options.deterministic)
    torch.manual_seed(options.seed)
    network = build(run.config.model, len(run.train.classes))
    network.load_state_dict(run.init or {}, strict=False)
    network = network.to(device, memory_format=torch.channels_last)
    load = partial(
        make_loader,
        run.train,
        batch_size=options.batch_size,
        seed=options.seed,
        num_workers=options.num_workers,
        device=device,
    )
    batches = load(options.augment)
    optimizer = make_optimizer(network, options)
    schedule = make_schedule(optimizer, options, epochs, len(batches))
    average = None
    if options.average:
        average = MovingAverage(network, options.average * epochs * len(batches))
    eval_network = average.network if average else network
    parts = {"network": network, "optimizer": optimizer, "schedule": schedule}
    state = TrainingState(run.key if checkpoint else "", **parts, average=eval_network)
    if checkpoint:
        state.resume(checkpoint)
    views: list[torch.Tensor] = []  # the teacher's logits of each view
    if run.teacher and len(state.history) < epochs:
        teacher, count = run.teacher.to(device), min(options.distill.views, epochs)
        undamaged = load(options.augment.without_damage(), persistent_workers=False)
        views = predict_teacher_logits(teacher, undamaged, count, precision, quiet)
        del undamaged  # on a GPU, it holds a copy of the faces
    trainee = distributed.wrap(network, device)
    step = Step(trainee, options, precision)
    # Worker threads and nccl make calls of their own to the GPU, which would break a capture.
    if device.type == "cuda" and not options.num_workers and not distributed.is_distributed():
        step = CapturedStep(step, options.batch_size)
    for epoch in range(len(state.history), epochs):
        timer = PhaseTimer(device)
        lr = schedule.get_last_lr()[0]
        size = input_size(options.input_sizes, epoch, epochs)
        batches.sampler.epoch, batches.sampler.size = epoch, size
        teacher_logits = None
        if views:  # in turn
            batches.sampler.view = view = epoch % len(views)
            teacher_logits = views[view].to(device)
        trainee.train()
        bar = progress_bar(batches, f"epoch {epoch + 1}/{epochs}", quiet)
        metrics = _train_epoch(step, bar, teacher_logits, optimizer, schedule, average, timer)
        # All processes select the same best epoch.
        metrics |= distributed.broadcast(_validate(eval_network, run, size)) | {"lr": lr}
        timer.mark("validation")
        if not all(map(math.isfinite, metrics.values())):
            raise DivergedError(
                f"train.lr is {options.lr}: the loss is not finite after epoch {epoch + 1}; "
                "try a lower one"
            )
        row = _row(epoch, size, metrics, timer)
        state.add(row)
        if checkpoint and distributed.is_main_process():
            state.save(checkpoint)
        on_epoch(row)
        if not quiet:
            _print_epoch(row, epochs)
    network.load_state_dict(state.best)
    for name, weights in network.state_dict().items():
        if run.init and name in run.init and weights.is_floating_point():
            weights.lerp_(run.init[name].to(device), options.init_share)
    network.zero_grad()  # gradients would keep the memory of the CUDA graph
    return network.eval(), state.history


def input_size(sizes: Sequence[int], epoch: int, epochs: int) -> int:
    """Return the size of the faces in an epoch, in pixels.

    Each size is used for equally many epochs, in order. The last epoch has the last size, however
    few epochs there are.
    """
    return sizes[-1 - (epochs - 1 - epoch) * len(sizes) // epochs]


def _train_epoch(
    step: Step | CapturedStep,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    teacher_logits: torch.Tensor | None,
    optimizer: Optimizer,
    schedule: LRScheduler,
    average: MovingAverage | None,
    timer: PhaseTimer,
) -> dict[str, float]:
    device = timer.device
    # Summed on the device, because reading a number at each step would make the GPU wait.
    precision = torch.float32 if device.type == "mps" else torch.float64
    total = torch.zeros(2, dtype=precision, device=device)
    count = 0
    for images, targets in batches:
        images = images.to(device, non_blocking=True)
        targets = targets.to(device, non_blocking=True)
        timer.mark("data")
        batch = [images, targets]
        if teacher_logits is not None:
            batch.append(teacher_logits[count : count + len(targets)])
        total += step(*batch)
        optimizer.step()
        schedule.step()
        if average:
            average.update()
        count += len(targets)
        timer.mark("compute")
    loss, accuracy = distributed.mean(total / count).tolist()
    return {"train_loss": loss, "train_accuracy": accuracy}


def _validate(network: Network, run: TrainingRun, size: int) -> dict[str, float]:
    return {
        f"{split}_{name}": value
        for split, faces in (("val", run.val), ("val_damaged", run.val_damaged))
        if faces
        for name, value in loss_and_accuracy(network, faces, size).items()
    }


def _row(epoch: int, size: int, metrics: dict[str, float], timer: PhaseTimer) -> Row:
    seconds = timer.seconds()
    return {
        "epoch": epoch + 1,
        "size": size,
        **{name: round(value, 6) for name, value in metrics.items()},
        **{f"seconds_{part}": round(seconds[part], 4) for part in PARTS},
    }


def _print_epoch(row: Row, epochs: int) -> None:
    seconds = sum(row[f"seconds_{part}"] for part in PARTS)
    damaged = row.get("val_damaged_accuracy")
    on_damaged = f", damaged {damaged:.1%}" if damaged is not None else ""
    print(
        f"epoch {row['epoch']}/{epochs}: loss {row['train_loss']:.3f}, accuracy "
        f"{row['train_accuracy']:.1%}; val loss {row['val_loss']:.3f}, accuracy "
        f"{row['val_accuracy']:.1%}{on_damaged}; {seconds:.1f} s",
        flush=True,
    )
