"""int8 that is right on every processor: fine-tune for its roundings, and write the graph.

Without VNNI, the kernels for x86 add two products of uint8 and int8 in 16 bits (`vpmaddubsw`),
which end at 32,767. Weights of at most 64 keep every such sum below: 2 * 255 * 64 is 32,640.
"""

import copy
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn
from torch.nn.utils import parametrize
from torch.optim.lr_scheduler import CosineAnnealingLR
from tqdm import tqdm

from fer.deploy.export import quiet, tidy
from fer.errors import FerError
from fer.faces import Faces
from fer.params import Augment
from fer.training.augmentation import center_crop
from fer.training.device import keep_freed_memory
from fer.training.loading import loader
from fer.training.networks import Network

_METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}

_OPERATORS = ["Add", "AveragePool", "Concat", "Conv", "GlobalAveragePool", "MaxPool", "Mul", "Relu"]
"""What is computed in int8; the mean of the maps and the softmax stay in float32."""

_LARGEST = 64
"""Of an int8 weight: two products then fit 16 bits. ONNX Runtime calls it `reduce_range`."""

_VIEWS = Augment(flip=0.5, shift=2)
_BATCH, _LR = 64, 2e-4
"""Of the fine-tuning; found on FER2013's PublicTest."""


def finetune(
    network: Network, calibration: np.ndarray, faces: Faces, *, epochs: int, seed: int
) -> Network:
    """A copy of `network` whose weights do well in spite of the roundings of int8.

    Learned from the labels of randomly shifted and mirrored `faces`, and from what `network` says
    of them without roundings (distillation: Polino et al. 2018, arXiv:1802.05668).

    calibration: faces uint8 [N, 48, 48] that show the ranges of the activations
    """
    student = copy.deepcopy(network).eval()  # so that BatchNorm stays as it is exported
    batches = loader(
        faces, _VIEWS, batch_size=_BATCH, seed=seed, num_workers=0, device=torch.device("cpu")
    )
    optimizer = torch.optim.Adam(student.parameters(), _LR)
    steps = epochs * len(batches)
    schedule = CosineAnnealingLR(optimizer, max(1, steps))
    keep_freed_memory()
    bar = tqdm(total=steps, desc="fine-tuning int8", unit="step", disable=None)
    with bar, _rounded(student, calibration):
        for batches.sampler.epoch in range(epochs):
            for images, labels in batches:
                with torch.no_grad():
                    wanted = network(images).log_softmax(1)
                found = student(images).log_softmax(1)
                loss = F.nll_loss(found, labels)
                loss = loss + F.kl_div(found, wanted, reduction="batchmean", log_target=True)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.update()
    return student


def quantize(
    source: Path, target: Path, images: np.ndarray, method: str, *, portable: bool = True
) -> None:
    """Write the float32 graph at `source` in int8, by ONNX Runtime's static quantization.

    images: uint8 [N, 48, 48], which show the ranges of the activations
    method: "minmax"; "entropy", the range that loses least information; "percentile", without
        the outermost 0.001 %
    portable: gives the same answers on every processor; otherwise as is usual, weights up to 127
    """
    with tempfile.TemporaryDirectory() as folder, quiet():
        folded = Path(folder, "folded.onnx")
        quant_pre_process(source, folded, skip_symbolic_shape=True)
        written = Path(folder, "quantized.onnx")
        quantize_static(
            folded,
            written,
            _Batches(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_OPERATORS,
            per_channel=True,
            reduce_range=portable,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=_METHODS[method],
        )
        tidy(written, target)


def check_portable(path: Path) -> None:
    """Raise FerError where the answers of the int8 graph at `path` would depend on the processor.

    That is, where a layer has two weights of one output channel and sign that are more than 128
    together. Their products with the largest input, 255, could leave 16 bits.
    """
    for tensor in onnx.load(path).graph.initializer:
        if tensor.data_type == TensorProto.INT8 and len(tensor.dims) > 1:
            weights = np.sort(numpy_helper.to_array(tensor).astype(int).reshape(tensor.dims[0], -1))
            positive, negative = weights[:, -2:].clip(min=0), weights[:, :2].clip(max=0)
            if max(positive.sum(1).max(), -negative.sum(1).min()) > 2 * _LARGEST:
                raise FerError(f"{path}: the sums of {tensor.name} can leave 16 bits")


def quantize_published(network: nn.Module) -> tuple[nn.Module, int]:
    """The published project's call, and in how many modules it changed anything.

    PyTorch's dynamic quantization is for Linear and recurrent layers; the network has none.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.ao.quantization is deprecated")
        layers = {nn.Linear, nn.Conv2d}
        quantized = torch.ao.quantization.quantize_dynamic(network, layers, dtype=torch.qint8)
    pairs = zip(network.modules(), quantized.modules(), strict=True)
    return quantized, sum(type(before) is not type(after) for before, after in pairs)


def loss_warning(float32: float, int8: float, most: float) -> str | None:
    """What to say where int8 loses more accuracy on val than `most`, all 0 to 1; else None."""
    lost = round(float32 - int8, 6)
    if lost <= most:
        return None
    return f"int8 loses {lost:.2%} of val accuracy, more than quantize.max_loss of {most:.2%}"


class _Batches(CalibrationDataReader):
    def __init__(self, images: np.ndarray) -> None:
        # One by one, as the histograms take no batches of different sizes.
        self.batches = iter(np.split(images, len(images)))

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"faces": batch}


class _RoundedWeight(nn.Module):
    """Weights [O, I, H, W] rounded to `_LARGEST` steps each way, each output channel for itself.

    The gradient is that of what was not rounded: the straight-through estimator (Bengio, Leonard
    and Courville 2013, arXiv:1308.3432).
    """

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        scale = weight.detach().abs().amax((1, 2, 3)).clamp(min=1e-8) / _LARGEST
        zero = torch.zeros_like(scale, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -_LARGEST, _LARGEST)


@contextmanager
def _rounded(network: Network, calibration: np.ndarray) -> Iterator[None]:
    """Within the block, each convolution rounds its weights, and its input to uint8.

    BatchNorm scales each output channel, and so changes nothing about the rounding of weights.
    """
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    ranges = _input_ranges(network, convolutions, calibration)

    def rounds_its_input(low: float, high: float):
        scale = max(high - low, 1e-8) / 255
        zero = round(-low / scale)

        def hook(_: nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
            return (torch.fake_quantize_per_tensor_affine(inputs[0], scale, zero, 0, 255),)

        return hook

    handles = []
    for conv, ends in zip(convolutions, ranges, strict=True):
        handles.append(conv.register_forward_pre_hook(rounds_its_input(*ends)))
        parametrize.register_parametrization(conv, "weight", _RoundedWeight())
    try:
        yield
    finally:
        for conv, handle in zip(convolutions, handles, strict=True):
            handle.remove()
            parametrize.remove_parametrizations(conv, "weight")


@torch.no_grad()
def _input_ranges(
    network: Network, convolutions: list[nn.Conv2d], calibration: np.ndarray
) -> list[tuple[float, float]]:
    """Ends of the input of each convolution, with 0 in between: the means of those of batches."""
    lows: dict[nn.Module, list[float]] = {conv: [] for conv in convolutions}
    highs: dict[nn.Module, list[float]] = {conv: [] for conv in convolutions}

    def observe(conv: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        lows[conv].append(inputs[0].min().item())
        highs[conv].append(inputs[0].max().item())

    handles = [conv.register_forward_pre_hook(observe) for conv in convolutions]
    for batch in torch.tensor(calibration).split(_BATCH):
        network(center_crop(batch))
    for handle in handles:
        handle.remove()
    return [(min(0.0, np.mean(lows[c])), max(0.0, np.mean(highs[c]))) for c in convolutions]
