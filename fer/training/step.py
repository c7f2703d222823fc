"""What a step of training computes: on a GPU as a CUDA graph, as launching kernels takes longer."""

import torch
import torch.nn.functional as F
from torch import nn

from fer.params import Train
from fer.training import distributed


class Step:
    """The gradients of a batch's mean loss, by the recipe."""

    def __init__(self, network: nn.Module, options: Train, precision: torch.dtype) -> None:
        self.network, self.options, self.precision = network, options, precision

    def __call__(
        self, images: torch.Tensor, targets: torch.Tensor, told: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Leave the gradients in the parameters; return sums, float32 [2].

        They are of the losses, and of the faces that are right.

        images: float32 [B, 1, H, W], 0 to 1
        targets: labels int64 [B], or each class's share float32 [B, C]
        told: what a teacher says of them, logits float16 [B, C]
        """
        self.network.zero_grad()
        mixed = self.precision != torch.float32
        # Each weight is used once in a step: nothing to cache.
        with torch.autocast(images.device.type, self.precision, mixed, cache_enabled=False):
            output = self.network(images)
        output = output.float()
        # No mean of no face: a process may have none of a last batch.
        loss = self._loss(output, targets, told) if len(targets) else output.sum()
        (loss * distributed.weight(len(targets), images.device)).backward()
        labels = targets if targets.ndim == 1 else targets.argmax(1)
        right = (output.argmax(1) == labels).sum()
        return torch.stack([loss.detach() * len(targets), right.to(loss.dtype)])

    def _loss(
        self, output: torch.Tensor, targets: torch.Tensor, told: torch.Tensor | None
    ) -> torch.Tensor:
        """Cross-entropy; where a teacher `told` something, distillation as well.

        After Hinton, Vinyals and Dean 2015, arXiv:1503.02531.
        """
        loss = F.cross_entropy(output, targets, label_smoothing=self.options.label_smoothing)
        if told is None:
            return loss
        weight, heat = self.options.distill.weight, self.options.distill.temperature
        ours, theirs = ((each / heat).log_softmax(1) for each in (output, told.float()))
        apart = F.kl_div(ours, theirs, reduction="batchmean", log_target=True)
        return (1 - weight) * loss + weight * heat**2 * apart


class CapturedStep:
    """What a `Step` computes on a GPU, for batches of `batch_size` in one launch.

    Launching the some 300 kernels of a step one by one takes the processor longer than computing
    them takes the GPU. The graph keeps its memory: a smaller batch, the last one, takes its own.
    """

    def __init__(self, step: Step, batch_size: int) -> None:
        self.step, self.batch_size = step, batch_size
        self.graph: torch.cuda.CUDAGraph | None = None
        self.batch: list[torch.Tensor] = []  # what the graph reads,
        self.sums: torch.Tensor | None = None  # and what it writes
        self.gradients: list[torch.Tensor] = []

    def __call__(self, *batch: torch.Tensor) -> torch.Tensor:
        """What `step` returns for a batch."""
        if len(batch[0]) != self.batch_size:
            return self.step(*batch)
        if not self.graph or batch[0].shape != self.batch[0].shape:  # faces of another size
            self._capture(batch)
        for mine, given in zip(self.batch, batch, strict=True):
            mine.copy_(given)
        self.graph.replay()
        for parameter, gradient in zip(self.step.network.parameters(), self.gradients, strict=True):
            parameter.grad = gradient
        return self.sums

    def _capture(self, batch: tuple[torch.Tensor, ...]) -> None:
        """Record the graph. The runs that this takes leave no trace in the network."""
        network, device = self.step.network, batch[0].device
        self.graph, self.sums, self.gradients = None, None, []  # of the size before: frees memory
        self.batch = [one.clone() for one in batch]
        random = torch.cuda.get_rng_state(device)
        before = [buffer.clone() for buffer in network.buffers()]  # BatchNorm's
        aside = torch.cuda.Stream(device)
        aside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(aside):  # so that libraries have set up what they need
            for _ in range(3):
                self.step(*self.batch)
        torch.cuda.current_stream(device).wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        network.zero_grad()  # frees the gradients of those runs: the graph has its own
        with torch.cuda.graph(self.graph, stream=aside):
            self.sums = self.step(*self.batch)
        self.gradients = [parameter.grad for parameter in network.parameters()]
        for buffer, value in zip(network.buffers(), before, strict=True):
            buffer.copy_(value)
        torch.cuda.set_rng_state(random, device)
