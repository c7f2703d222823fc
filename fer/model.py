"""Mini-Xception, and the file that carries a trained one."""

import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fer.errors import FerError
from fer.faces import CLASSES, FACE_SIZE, INPUT_SIZE
from fer.files import whole

_FORMAT = "fer-pipeline model 1"
_CHANNELS = (8, 16, 32, 64, 128)


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    # The base project's 0.99 is Keras' convention; in PyTorch it keeps the last batch only.
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.1)


class SeparableConv(nn.Sequential):
    """A 3x3 convolution of each channel, then a 1x1 convolution across them."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)


class Block(nn.Module):
    """Two separable convolutions and a pooling to half the size, beside a 1x1 shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.shortcut_bn = _batch_norm(outputs)
        self.conv1 = SeparableConv(inputs, outputs)
        self.bn1 = _batch_norm(outputs)
        self.conv2 = SeparableConv(outputs, outputs)
        self.bn2 = _batch_norm(outputs)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        # Every other pixel, then 1x1, is what a 1x1 convolution with a stride of 2 does. But for 8
        # channels oneDNN's strided backward pass writes beyond its buffers (torch 2.15, AVX-512).
        self.every_other = nn.AvgPool2d(1, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, inputs, H, W] -> [N, outputs, H/2, W/2], sizes rounded up."""
        residual = self.bn1(self.conv1(x)).relu()
        residual = self.pool(self.bn2(self.conv2(residual)))
        return self.shortcut_bn(self.shortcut(self.every_other(x))) + residual


class MiniXception(nn.Module):
    """Mini-Xception (Arriaga, Valdenegro-Toro and Ploeger 2017, arXiv:1710.07557).

    width: factor on the channels 8, 16, 32, 64, 128; 1 gives 56,951 parameters for 7 classes
    """

    def __init__(self, width: float = 1.0, classes: int = len(CLASSES)) -> None:
        super().__init__()
        channels = [max(1, round(c * width)) for c in _CHANNELS]
        stem = channels[0]
        self.width = width
        self.conv1 = nn.Conv2d(1, stem, 3, bias=False)
        self.bn1 = _batch_norm(stem)
        self.conv2 = nn.Conv2d(stem, stem, 3, bias=False)
        self.bn2 = _batch_norm(stem)
        self.blocks = nn.Sequential(*map(Block, channels, channels[1:]))
        self.last_conv = nn.Conv2d(channels[-1], classes, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [N, classes] of inputs [N, 1, 44, 44], 0 to 1."""
        x = self.bn1(self.conv1(x)).relu()
        x = self.bn2(self.conv2(x)).relu()
        return self.last_conv(self.blocks(x)).mean((2, 3))

    def parameter_count(self) -> int:
        """Number of trained numbers."""
        return sum(p.numel() for p in self.parameters())


def save(path: Path, model: MiniXception, *, dataset: str, scores: dict[str, float]) -> None:
    """Write a model file: the weights, and all that is needed to use them."""
    with whole(path) as temporary:
        torch.save(
            {
                "format": _FORMAT,
                "weights": {k: v.cpu().contiguous() for k, v in model.state_dict().items()},
                "width": model.width,
                "classes": list(CLASSES),
                "face_size": FACE_SIZE,
                "input_size": INPUT_SIZE,
                "normalisation": {"mean": 0.0, "std": 255.0},  # of pixels 0 to 255
                "dataset": dataset,
                "scores": scores,
            },
            temporary,
        )


def load(path: Path) -> tuple[MiniXception, dict[str, Any]]:
    """The model in a file, ready to use, and the rest of what `save` wrote.

    Raises FerError where there is no file, or not one of ours.
    """
    content = _torch_load(path)
    if content.get("format") != _FORMAT:
        raise FerError(f"{path}: is not a model file of this version of fer")
    model = MiniXception(content["width"], len(content["classes"]))
    try:
        model.load_state_dict(content.pop("weights"))
    except RuntimeError as error:
        raise FerError(f"{path}: has other weights than Mini-Xception; train it anew") from error
    return model.eval(), content


def load_base(path: Path) -> MiniXception:
    """The model in a checkpoint of yoshidan/pytorch-facial-expression-recognition (`.t7`).

    That file is a dict {"net": state_dict} with names such as `module1.sepConv1.depthwise.weight`.
    Raises FerError where there is no such file.
    """
    weights = _torch_load(path).get("net")
    if not isinstance(weights, dict):
        raise FerError(f"{path}: is not a checkpoint of the base project: it has no 'net'")
    model = MiniXception()
    try:
        model.load_state_dict({_our_name(name): value for name, value in weights.items()})
    except RuntimeError as error:
        raise FerError(f"{path}: has other weights than Mini-Xception at width 1") from error
    return model.eval()


def _our_name(theirs: str) -> str:
    name = re.sub(r"^module(\d)", lambda m: f"blocks.{int(m[1]) - 1}", theirs)
    for old, new in (
        ("sepConv", "conv"),
        ("residual_conv", "shortcut"),
        ("residual_bn", "shortcut_bn"),
    ):
        name = name.replace(old, new)
    return name


def _torch_load(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise FerError(f"{path}: no model here; run `dvc repro train`") from error
    except Exception as error:  # torch.load has no error of its own for a file that is not its
        raise FerError(f"{path}: is not a model file") from error
    if not isinstance(content, dict):
        raise FerError(f"{path}: is not a model file")
    return content
