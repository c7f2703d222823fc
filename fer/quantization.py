"""Weights and ranges for int8; and the usual ways to quantize, to compare with."""

import copy
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    create_calibrator,
    quantize_static,
)
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from tqdm import tqdm

from fer.device import keep_freed_memory
from fer.export import NARROW, Ranges, merge, walk, weight_scales, with_zero
from fer.faces import Faces
from fer.loading import loader
from fer.model import MiniXception, SeparableConv
from fer.params import Augment

_METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}


_VIEWS = Augment(flip=0.5, shift=2)
_BATCH, _LR, _LR_RANGES = 64, 2e-4, 2e-2
"""Of the fine-tuning; found on FER2013's PublicTest."""


class _Batches(CalibrationDataReader):
    def __init__(self, images: np.ndarray) -> None:
        # One by one, as the histograms take no batches of different sizes.
        self.batches = iter(np.split(images, len(images)))

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"faces": batch}


def calibrate(path: Path, images: np.ndarray, method: str) -> Ranges:
    """The range of each tensor in the float32 graph at `path`, over faces uint8 [N, 48, 48].

    method: "minmax"; "entropy", the range that loses least information; "percentile", without
        the outermost 0.001 %
    """
    with tempfile.TemporaryDirectory() as folder:
        shapes = Path(folder, "shapes.onnx")  # the calibrator takes tensors of known shape only
        onnx.save(onnx.shape_inference.infer_shapes(onnx.load(path)), shapes)
        calibrator = create_calibrator(
            shapes,
            augmented_model_path=str(Path(folder, "augmented.onnx")),
            calibrate_method=_METHODS[method],
        )
        with _quiet():
            calibrator.collect_data(_Batches(images))
            found = calibrator.compute_data()
    return {
        name: tuple(float(np.ravel(end)[0]) for end in data.range_value)
        for name, data in found.items()
    }


def quantize_usual(source: Path, target: Path, images: np.ndarray, method: str) -> None:
    """Write the float32 graph at `source` in int8 as ONNX Runtime's own tool does it."""
    with _quiet():
        quantize_static(
            source,
            target,
            _Batches(images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=_METHODS[method],
        )


def quantize_published(model: torch.nn.Module) -> tuple[torch.nn.Module, int]:
    """The published project's call, and in how many modules it changed anything.

    PyTorch's dynamic quantization is for Linear and recurrent layers; the network has none.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.ao.quantization is deprecated")
        layers = {torch.nn.Linear, torch.nn.Conv2d}
        quantized = torch.ao.quantization.quantize_dynamic(model, layers, dtype=torch.qint8)
    pairs = zip(model.modules(), quantized.modules(), strict=True)
    return quantized, sum(type(before) is not type(after) for before, after in pairs)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the advice that ONNX Runtime's tools print and log."""
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)


def finetune(
    folded: MiniXception, ranges: Ranges, faces: Faces, *, epochs: int, seed: int
) -> tuple[MiniXception, Ranges]:
    """Weights and ranges with which a network does well in spite of the roundings of int8.

    Learned from the labels of randomly shifted and mirrored `faces`, and from what the network
    says of them without roundings (distillation: Polino et al. 2018, arXiv:1802.05668).

    folded: as `export.fold` gives it
    ranges: of the tensors of its float32 graph; they are learned with the weights (Esser et al.
        2020, arXiv:1902.08153)
    """
    student = copy.deepcopy(folded).requires_grad_(True)
    rounded = Rounded(ranges)
    batches = loader(
        faces, _VIEWS, batch_size=_BATCH, seed=seed, num_workers=0, device=torch.device("cpu")
    )
    groups = [
        {"params": student.parameters(), "lr": _LR},
        {"params": rounded.factors.values(), "lr": _LR_RANGES},
    ]
    optimizer = torch.optim.Adam(groups)
    steps = epochs * len(batches)
    schedule = CosineAnnealingLR(optimizer, max(1, steps))
    keep_freed_memory()
    with tqdm(total=steps, desc="fine-tuning int8", unit="step", disable=None) as bar:
        for batches.sampler.epoch in range(epochs):
            for images, labels in batches:
                with torch.no_grad():
                    wanted = folded(images).log_softmax(1)
                found = walk(rounded.of(images), student).log_softmax(1)
                loss = F.nll_loss(found, labels)
                loss = loss + F.kl_div(found, wanted, reduction="batchmean", log_target=True)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.update()
    return student.requires_grad_(False), rounded.ranges()


class Rounded:
    """Passes images through a folded network with the roundings of the graph `Int8`.

    For `export.walk`, which it gives logits. Its gradients are those of the network without
    roundings: the straight-through estimator (Bengio, Leonard and Courville 2013, arXiv:1308.3432).

    ranges: of the tensors of the float32 graph; `factors` on their ends can be learned
    """

    def __init__(self, ranges: Ranges) -> None:
        self.ends = {name: with_zero(*ends) for name, ends in ranges.items()}
        self.factors = {name: torch.zeros(2, requires_grad=True) for name in ranges}  # logarithms
        self.images = torch.empty(0)

    def of(self, images: torch.Tensor) -> "Rounded":
        """The same, for images float32 [N, 1, 44, 44], 0 to 1."""
        self.images = images
        return self

    def ranges(self) -> Ranges:
        """The ranges as learned."""
        return {
            name: tuple((torch.tensor(ends) * self.factors[name].detach().exp()).tolist())
            for name, ends in self.ends.items()
        }

    def faces(self) -> torch.Tensor:
        """The images."""
        return self.images

    def conv(
        self, name: str, x: torch.Tensor, conv: nn.Conv2d, *, relu: bool, stride: int = 1
    ) -> torch.Tensor:
        """A convolution."""
        options = {"stride": stride, "padding": conv.padding, "groups": conv.groups}
        return self._conv(name, x, conv.weight, conv.bias, relu, **options)

    def separable(
        self, name: str, x: torch.Tensor, conv: SeparableConv, *, relu: bool
    ) -> torch.Tensor:
        """A depthwise and a pointwise convolution, for few channels as one."""
        if conv.depthwise.in_channels <= NARROW:
            return self._conv(name, x, merge(conv), conv.pointwise.bias, relu, padding=1)
        x = self.conv(f"{name}.depthwise", x, conv.depthwise, relu=False)
        return self.conv(name, x, conv.pointwise, relu=relu)

    def max_pool(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """The largest of 3x3, at every other pixel."""
        return F.max_pool2d(x, 3, stride=2, padding=1)

    def add(self, name: str, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """The sum."""
        return self._activation(name, a + b, relu=False)

    def maps(self, x: torch.Tensor) -> torch.Tensor:
        """The logits [N, 7]."""
        return x.mean((2, 3))

    def _conv(
        self,
        name: str,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        relu: bool,
        **options: Any,
    ) -> torch.Tensor:
        scales = torch.from_numpy(weight_scales(weight.detach().numpy()))[:, None, None, None]
        y = F.conv2d(x, _round(weight / scales) * scales, bias, **options)
        return self._activation(name, y, relu)

    def _activation(self, name: str, x: torch.Tensor, relu: bool) -> torch.Tensor:
        low, high = torch.tensor(self.ends[name]) * self.factors[name].exp()
        low = low * 0 if relu else low
        scale = (high - low) / 255
        zero = _round(-low / scale)
        return ((_round(x / scale) + zero).clamp(0, 255) - zero) * scale


def _round(x: torch.Tensor) -> torch.Tensor:
    """Rounded, with the gradient of what was not."""
    return x + (x.round() - x).detach()
