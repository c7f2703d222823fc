"""Distributed training: several processes of torchrun each compute a share of every batch.

The environment variables of torchrun describe the processes. With a single process, all functions
here do nothing.
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

from fer.core.errors import FerError
from fer.training.device import pick_device

T = TypeVar("T")

_TIMEOUT = timedelta(minutes=10)
"""Time after which a process that waits for a lost machine ends."""


@contextmanager
def process_group(name: str) -> Iterator[torch.device]:
    """Join the processes of torchrun for the block, and yield the device of this process.

    Args:
        name: Name of the devices, as for `pick_device`; each process gets a GPU of its own.

    Raises:
        FerError: If there are too few devices.
    """
    device = pick_device(name)
    if not _launched_by_torchrun():
        yield device
        return
    device = _local_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_TIMEOUT)
    try:
        yield device
    finally:
        dist.destroy_process_group()


def require_single_process(stage: str) -> None:
    """Refuse several processes for a stage that needs one.

    Args:
        stage: Name of the stage.

    Raises:
        FerError: If torchrun started several processes.
    """
    if _launched_by_torchrun():
        raise FerError(
            f"torchrun: stages.{stage} runs in one process only; run `dvc repro {stage}`"
        )


def _launched_by_torchrun() -> bool:
    return dist.is_torchelastic_launched() and int(os.environ["WORLD_SIZE"]) > 1


def _local_device(device: torch.device) -> torch.device:
    """Return the device of this process among those of the same kind."""
    if device.type == "cpu":
        return device
    count = int(os.environ["LOCAL_WORLD_SIZE"])
    if device.type != "cuda" or device.index is not None:
        raise FerError(
            f"settings.device is {device}, which cannot serve {count} processes of torchrun; use "
            "auto, cuda or cpu"
        )
    if count > torch.cuda.device_count():
        raise FerError(
            f"torchrun: {count} processes on a machine with {torch.cuda.device_count()} GPUs; use "
            f"--nproc-per-node={torch.cuda.device_count()}, or set settings.device to cpu"
        )
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    return device


def is_distributed() -> bool:
    """Return whether this process is one of several."""
    return dist.is_initialized()


def is_main_process() -> bool:
    """Return whether this process is the one that writes files, logs and prints."""
    return not is_distributed() or dist.get_rank() == 0


def broadcast(value: T) -> T:
    """Return the value of the first process in all processes.

    Args:
        value: Any object that can be pickled, with tensors on the CPU only.
    """
    if not is_distributed():
        return value
    values = [value]
    dist.broadcast_object_list(values)
    return values[0]


def local_slice(count: int) -> slice:
    """Return the share of this process, which may be empty.

    Args:
        count: Number of items of all processes.
    """
    if not is_distributed():
        return slice(0, count)
    rank, ranks = dist.get_rank(), dist.get_world_size()
    return slice(rank * count // ranks, (rank + 1) * count // ranks)


def all_reduce_sum(values: torch.Tensor) -> torch.Tensor:
    """Return the sum over all processes, without gradient.

    Args:
        values: The values of this process.
    """
    if is_distributed():
        values = values.clone()
        dist.all_reduce(values)
    return values


def loss_weight(count: int, device: torch.device) -> torch.Tensor | int:
    """Return the factor on the mean loss of this process's faces.

    DistributedDataParallel averages gradients over processes. This factor makes it an average over
    faces.

    Args:
        count: Number of faces of this process in the batch.
        device: Where the factor is needed.
    """
    if not is_distributed():
        return 1
    total = all_reduce_sum(torch.tensor(float(count), device=device))
    return count * dist.get_world_size() / total


def wrap(network: nn.Module, device: torch.device) -> nn.Module:
    """Return the module to train in place of a network: its steps use the faces of all processes.

    Args:
        network: The network; its BatchNorms are replaced.
        device: Where it is.
    """
    if not is_distributed():
        return network
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, SyncBatchNorm.of(child))
    return DistributedDataParallel(
        network, device_ids=[device] if device.type == "cuda" else None, forward_sync_buffers=False
    )


class _AllReduceSum(torch.autograd.Function):
    """`all_reduce_sum` with a gradient, because each process's loss depends on all values."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        return all_reduce_sum(values)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return all_reduce_sum(gradient)


class SyncBatchNorm(nn.BatchNorm2d):
    """BatchNorm over the batch of all processes.

    Unlike torch.nn.SyncBatchNorm it runs on a CPU too, and a process may have no face of a batch.
    """

    @classmethod
    def of(cls, norm: nn.BatchNorm2d) -> "SyncBatchNorm":
        """Return one with the options, parameters and running statistics of another BatchNorm.

        Args:
            norm: The BatchNorm to replace; its tensors are shared, not copied.
        """
        synced = cls(norm.num_features, norm.eps, norm.momentum)
        for name, value in [*norm.named_parameters(), *norm.named_buffers()]:
            setattr(synced, name, value)
        return synced

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalize each channel over the batch of all processes.

        Args:
            x: float [N, C, H, W].
        """
        if not self.training:
            return super().forward(x)
        values = x.float()  # statistics in float32 under autocast too, as in BatchNorm
        size = values.new_full((1,), float(x.numel() // x.size(1)))
        totals = _AllReduceSum.apply(torch.cat([values.sum((0, 2, 3)), size]))
        sums, count = totals.split([x.size(1), 1])
        mean = sums / count
        centered = values - mean[:, None, None]
        # Not E[x^2] - E[x]^2, which would lose most of its digits.
        var = _AllReduceSum.apply(centered.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * count / (count - 1), self.momentum)
        scale = self.weight * (var + self.eps).rsqrt()
        return (centered * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)
