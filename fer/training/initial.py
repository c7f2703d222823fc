"""Read the weights that training starts from, which `train.init` names."""

import re
from collections.abc import Sequence
from pathlib import Path

import torch

from fer.errors import FerError
from fer.params import SCRATCH, Recipe
from fer.training import checkpoint
from fer.training.networks import build

Weights = dict[str, torch.Tensor]
"""Tensors by their names in a network's `state_dict`."""


def load(recipe: Recipe, classes: Sequence[str]) -> Weights | None:
    """Read the weights that `recipe.train.init` names, and print what is taken over.

    The head, whose shape depends on the number of classes, is left out where the classes differ,
    or the file does not name them: the network keeps its random one.

    Args:
        recipe: Its `train.init` is a model file of stage `train` or `tune`, the folder of one
            (baseline.pt is read), or a checkpoint of the base project, for `mini-xception`
            (github.com/yoshidan/pytorch-facial-expression-recognition, `trained/*.t7`).
        classes: Names of the data set's classes.

    Returns:
        The weights, or None for training from scratch.

    Raises:
        FerError: Where there is no such file, or it holds another network.
    """
    if recipe.train.init == SCRATCH:
        return None
    path = Path(recipe.train.init)
    if path.is_dir():
        path = path / "baseline.pt"
    weights, own = _read(path, recipe)
    expected = build(recipe.model, len(classes)).state_dict()
    other = build(recipe.model, len(classes) + 1).state_dict()
    head = {name for name in expected if expected[name].shape != other[name].shape}
    keeps_head = own == list(classes)
    body = {name: tensor for name, tensor in expected.items() if name not in head}
    taken = {name: weights[name] for name in (expected if keeps_head else body) if name in weights}
    if not _has_shapes(taken, expected if keeps_head else body):
        model = f"{recipe.model.name} of width {recipe.model.width:g}"
        raise FerError(
            f"train.init: {path} does not hold the weights of {model}; set model to the network "
            f"of that file, or train.init to {SCRATCH}"
        )
    rest = "" if keeps_head else f" but the head, which is new for {len(classes)} classes"
    print(f"training starts from {path}: all weights{rest}", flush=True)
    return taken


def _read(path: Path, recipe: Recipe) -> tuple[Weights, list[str] | None]:
    """The weights in a file, and its classes; None where it does not name them."""
    if not path.is_file():
        raise FerError(
            f"train.init: {path}: no model here; name a file such as models/fer2013/baseline.pt, "
            f"or {SCRATCH}"
        )
    try:
        content = checkpoint.read(path)
    except FerError as error:  # whose advice is for the pipeline's own files
        raise FerError(
            f"train.init: {path}: is no file of weights, or damaged; name a model file such as "
            "models/fer2013/baseline.pt"
        ) from error
    if "net" in content:
        return _from_base_project(path, content["net"]), None
    network, about = checkpoint.load(path)
    if about["model"] != recipe.model.model_dump():
        own, model = about["model"], recipe.model
        raise FerError(
            f"train.init: {path} holds {own['name']} of width {own['width']:g}, but model is "
            f"{model.name} of width {model.width:g}; set model to the same"
        )
    return network.state_dict(), about["classes"]


def _from_base_project(path: Path, weights: object) -> Weights:
    """Weights of the base project's Mini-Xception by the names of ours."""
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor)
        for name, tensor in weights.items()
    ):
        raise FerError(f"train.init: {path}: is not a checkpoint of the base project")
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
