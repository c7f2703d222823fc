"""One training run by several processes, which torchrun started: each computes its share.

Their environment variables say all. Without torchrun, or with one process, nothing here acts.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from fer.errors import FerError
from fer.training.device import pick_device

T = TypeVar("T")

_TIMEOUT = timedelta(minutes=10)
"""After which a process that waits for a lost machine ends; torchrun ends those of a dead one."""


@contextmanager
def group(name: str) -> Iterator[torch.device]:
    """Join the processes that torchrun started, for the block; its value is this one's device.

    name: of the devices, as `pick_device` takes it; each process gets a GPU of its own

    Raises FerError where there are too few devices.
    """
    device = pick_device(name)
    if not _several_started():
        yield device
        return
    device = _own(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_TIMEOUT)
    try:
        yield device
    finally:
        dist.destroy_process_group()


def refuse_several(stage: str) -> None:
    """Raise FerError where torchrun started several processes of a `stage` that is for one."""
    if _several_started():
        raise FerError(
            f"stages.{stage} is for one process, stages.train for several; run `dvc repro {stage}`"
        )


def _several_started() -> bool:
    return dist.is_torchelastic_launched() and int(os.environ["WORLD_SIZE"]) > 1


def _own(device: torch.device) -> torch.device:
    """The device of this process, of those like `device`."""
    if device.type == "cpu":
        return device
    count = int(os.environ["LOCAL_WORLD_SIZE"])
    if device.type != "cuda" or device.index is not None:
        raise FerError(
            f"settings.device is {device}, of which torchrun's {count} processes on this machine "
            "cannot have one each; use auto, cuda or cpu"
        )
    if count > torch.cuda.device_count():
        raise FerError(
            f"torchrun started {count} processes on this machine, which has "
            f"{torch.cuda.device_count()} GPUs; use --nproc-per-node={torch.cuda.device_count()}, "
            "or set settings.device to cpu"
        )
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    return device


def several() -> bool:
    """Whether this process is one of several."""
    return dist.is_initialized()


def is_first() -> bool:
    """Whether this process is the one that writes files, tracks and speaks."""
    return not several() or dist.get_rank() == 0


def from_first(value: T) -> T:
    """The `value` of the first process, in all of them; it holds tensors of the CPU only."""
    if not several():
        return value
    values = [value]
    dist.broadcast_object_list(values)
    return values[0]


def share(count: int) -> slice:
    """The part of `count` things that is this process's; it may be empty."""
    if not several():
        return slice(0, count)
    rank, ranks = dist.get_rank(), dist.get_world_size()
    return slice(rank * count // ranks, (rank + 1) * count // ranks)


def summed(values: torch.Tensor) -> torch.Tensor:
    """The sum of the processes' `values`; without gradient."""
    if several():
        values = values.clone()
        dist.all_reduce(values)
    return values


def weight(count: int, device: torch.device) -> torch.Tensor | int:
    """Factor on the mean loss of this process's `count` faces.

    DistributedDataParallel means gradients over processes, not over faces.
    """
    if not several():
        return 1
    total = summed(torch.tensor(float(count), device=device))
    return count * dist.get_world_size() / total


def parallel(network: nn.Module, device: torch.device) -> nn.Module:
    """What to call in training in place of `network`, which it changes: steps are of all faces."""
    if not several():
        return network
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, SharedBatchNorm.of(child))
    return DistributedDataParallel(
        network, device_ids=[device] if device.type == "cuda" else None, forward_sync_buffers=False
    )


class _Sum(torch.autograd.Function):
    """`summed` with its gradient: each process's loss depends on the values of all."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        return summed(values)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return summed(gradient)


class SharedBatchNorm(nn.BatchNorm2d):
    """BatchNorm whose batch is that of all processes, so that their number changes nothing.

    As torch.nn.SyncBatchNorm (which needs a GPU), on every device, and a process may have no face.
    """

    @classmethod
    def of(cls, norm: nn.BatchNorm2d) -> "SharedBatchNorm":
        """One with the options, parameters and running statistics of `norm`."""
        shared = cls(norm.num_features, norm.eps, norm.momentum)
        for name, value in [*norm.named_parameters(), *norm.named_buffers()]:
            setattr(shared, name, value)
        return shared

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        if not self.training:
            return super().forward(x)
        values = x.float()  # statistics in float32 under autocast too, as BatchNorm's
        faces = values.new_full((1,), float(x.numel() // x.size(1)))
        *sums, count = _Sum.apply(torch.cat([values.sum((0, 2, 3)), faces])).split([x.size(1), 1])
        mean = sums[0] / count
        apart = values - mean[:, None, None]
        # Of the differences, not of the squares, whose difference would lose most of its digits.
        var = _Sum.apply(apart.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * count / (count - 1), self.momentum)
        scale = self.weight * (var + self.eps).rsqrt()
        return (apart * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)
