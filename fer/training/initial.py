"""Read the initial weights that `train.init` names."""

import re
from collections.abc import Sequence
from pathlib import Path

import torch

from fer.core.errors import FerError
from fer.core.params import SCRATCH, TrainingConfig
from fer.training import model_file
from fer.training.networks import build

Weights = dict[str, torch.Tensor]
"""Tensors by their names in a network's `state_dict`."""


def load(config: TrainingConfig, classes: Sequence[str]) -> Weights | None:
    """Read the initial weights of a training, and print which of them are used.

    The head is left out if the classes differ or the file does not name them. The network then
    keeps its random head.

    Args:
        config: Its `train.init` is a model file of stage `train` or `tune`, or the folder of one
            (baseline.pt is read). For `mini-xception` it may be a checkpoint of the base project
            (github.com/yoshidan/pytorch-facial-expression-recognition, `trained/*.t7`).
        classes: Names of the data set's classes.

    Returns:
        The weights, or None for random ones.

    Raises:
        FerError: If there is no such file, or it holds another network.
    """
    if config.train.init == SCRATCH:
        return None
    path = Path(config.train.init)
    if path.is_dir():
        path = path / "baseline.pt"
    weights, file_classes = _read(path, config)
    whole = build(config.model, len(classes)).state_dict()
    # The head is what depends on the number of classes.
    with_more_classes = build(config.model, len(classes) + 1).state_dict()
    body = {n: tensor for n, tensor in whole.items() if tensor.shape == with_more_classes[n].shape}
    keeps_head = file_classes == list(classes)
    expected = whole if keeps_head else body
    used = {name: weights[name] for name in expected if name in weights}
    if not _has_shapes(used, expected):
        model = f"{config.model.name} of width {config.model.width:g}"
        raise FerError(
            f"train.init: {path} does not hold the weights of {model}; set model to the network "
            f"of that file, or train.init to {SCRATCH}"
        )
    head = "" if keeps_head else f" except the head, which is new for {len(classes)} classes"
    print(f"training starts from {path}: all weights{head}", flush=True)
    return used


def _read(path: Path, config: TrainingConfig) -> tuple[Weights, list[str] | None]:
    """Return the weights in a file and its classes; None if it does not name classes."""
    if not path.is_file():
        raise FerError(
            f"train.init: {path}: no model here; name a file such as models/fer2013/baseline.pt, "
            f"or {SCRATCH}"
        )
    try:
        content = model_file.read(path)
    except FerError as error:  # its advice is for files of the pipeline
        raise FerError(
            f"train.init: {path}: holds no weights, or is damaged; name a model file such as "
            "models/fer2013/baseline.pt"
        ) from error
    if "net" in content:
        return _from_base_project(path, content["net"]), None
    network, metadata = model_file.load(path)
    if metadata["model"] != config.model.model_dump():
        saved, model = metadata["model"], config.model
        raise FerError(
            f"train.init: {path} holds {saved['name']} of width {saved['width']:g}, but model is "
            f"{model.name} of width {model.width:g}; set model to the same"
        )
    return network.state_dict(), metadata["classes"]


def _from_base_project(path: Path, weights: object) -> Weights:
    """Rename the weights of the base project's Mini-Xception to the names used here."""
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor)
        for name, tensor in weights.items()
    ):
        raise FerError(
            f"train.init: {path}: is not a checkpoint of the base project; name a model file such "
            "as models/fer2013/baseline.pt"
        )
    renamed = {}
    for name, tensor in weights.items():
        name = re.sub(r"^module(\d)\.", lambda m: f"blocks.{int(m[1]) - 1}.", name)
        name = name.replace("residual_conv", "shortcut").replace("residual_bn", "shortcut_bn")
        renamed[name.replace("sepConv", "conv")] = tensor
    return renamed


def _has_shapes(weights: Weights, expected: Weights) -> bool:
    return {name: tensor.shape for name, tensor in weights.items()} == {
        name: tensor.shape for name, tensor in expected.items()
    }
