"""One training step: loss and gradients of a batch, on a GPU as a CUDA graph."""

import torch
import torch.nn.functional as F
from torch import nn

from fer.core.params import Train


class Step:
    """Compute the gradients of a batch's mean loss.

    `precision` is the data type of the forward pass; the loss is computed in float32.
    """

    def __init__(self, network: nn.Module, options: Train, precision: torch.dtype) -> None:
        self.network, self.options, self.precision = network, options, precision

    def __call__(
        self,
        images: torch.Tensor,
        targets: torch.Tensor,
        teacher_logits: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Leave the gradients in the parameters; return the sum of the losses and of correct faces.

        Images are float32 [B, 1, H, W], 0 to 1; targets are labels int64 [B] or soft labels float32
        [B, C]; the teacher's logits are float16 [B, C]. The sums are float32 [2].
        """
        self.network.zero_grad()
        is_mixed = self.precision != torch.float32
        # Each weight is used once per step, so a cache of casted weights would gain nothing.
        with torch.autocast(images.device.type, self.precision, is_mixed, cache_enabled=False):
            output = self.network(images)
        output = output.float()
        loss = self._loss(output, targets, teacher_logits)
        loss.backward()
        labels = targets if targets.ndim == 1 else targets.argmax(1)
        correct = (output.argmax(1) == labels).sum()
        return torch.stack([loss.detach() * len(targets), correct.to(loss.dtype)])

    def _loss(
        self, output: torch.Tensor, targets: torch.Tensor, teacher_logits: torch.Tensor | None
    ) -> torch.Tensor:
        """Return the cross-entropy, mixed with distillation where there is a teacher.

        The distillation loss is that of Hinton, Vinyals and Dean 2015, arXiv:1503.02531.
        """
        loss = F.cross_entropy(output, targets, label_smoothing=self.options.label_smoothing)
        if teacher_logits is None:
            return loss
        weight, temperature = self.options.distill.weight, self.options.distill.temperature
        student, teacher = (
            (logits / temperature).log_softmax(1) for logits in (output, teacher_logits.float())
        )
        distance = F.kl_div(student, teacher, reduction="batchmean", log_target=True)
        return (1 - weight) * loss + weight * temperature**2 * distance


class CapturedStep:
    """Run a `Step` on a GPU as one CUDA graph.

    A step has about 300 kernels. Launching them one by one takes the processor longer than the GPU
    needs to compute them. The graph keeps its own memory. A batch that is smaller than `batch_size`
    runs without it.
    """

    def __init__(self, step: Step, batch_size: int) -> None:
        self.step, self.batch_size = step, batch_size
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: list[torch.Tensor] = []
        self.sums: torch.Tensor | None = None
        self.gradients: list[torch.Tensor] = []

    def __call__(self, *batch: torch.Tensor) -> torch.Tensor:
        """Return what the step returns for a batch, which are its arguments."""
        if len(batch[0]) != self.batch_size:
            return self.step(*batch)
        if not self.graph or batch[0].shape != self.inputs[0].shape:  # faces of another size
            self._capture(batch)
        for graph_input, tensor in zip(self.inputs, batch, strict=True):
            graph_input.copy_(tensor)
        self.graph.replay()
        for parameter, gradient in zip(self.step.network.parameters(), self.gradients, strict=True):
            parameter.grad = gradient
        return self.sums

    def _capture(self, batch: tuple[torch.Tensor, ...]) -> None:
        """Record the graph. Its warm-up runs leave no trace in the network."""
        network, device = self.step.network, batch[0].device
        self.graph, self.sums, self.gradients = None, None, []  # frees the memory of the last graph
        self.inputs = [tensor.clone() for tensor in batch]
        rng_state = torch.cuda.get_rng_state(device)
        buffers = [buffer.clone() for buffer in network.buffers()]  # statistics of BatchNorm
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):  # libraries allocate what they need in the first runs
            for _ in range(3):
                self.step(*self.inputs)
        torch.cuda.current_stream(device).wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        network.zero_grad()  # frees the gradients of the warm-up; the graph has its own
        with torch.cuda.graph(self.graph, stream=stream):
            self.sums = self.step(*self.inputs)
        self.gradients = [parameter.grad for parameter in network.parameters()]
        for buffer, value in zip(network.buffers(), buffers, strict=True):
            buffer.copy_(value)
        torch.cuda.set_rng_state(rng_state, device)
