"""Read the initial weights that `train.init` names."""

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

    `train.init` is a model file of stage `train` or `tune`, or the folder of one (baseline.pt is
    read). The result is None if it says random weights. The head is left out if the classes of the
    file differ; the network then keeps its random head.

    Raises:
        FerError: If there is no such file, or it holds another network.
    """
    if config.train.init == SCRATCH:
        return None
    path = Path(config.train.init)
    if path.is_dir():
        path = path / "baseline.pt"
    try:
        network, metadata = model_file.load(path)
    except FerError as error:  # its advice is for files of the pipeline
        raise FerError(
            f"train.init: {error.args[0].partition(';')[0]}; name a model file such as "
            f"models/fer2013/baseline.pt, or {SCRATCH}"
        ) from error
    saved, model = metadata["model"], config.model
    if saved != model.model_dump():
        raise FerError(
            f"train.init: {path} holds {saved['name']} of width {saved['width']:g}, but model is "
            f"{model.name} of width {model.width:g}; set model to the same"
        )
    weights, head = network.state_dict(), ""
    if metadata["classes"] != list(classes):
        # The head is what depends on the number of classes.
        other = build(model, len(metadata["classes"]) + 1).state_dict()
        weights = {n: tensor for n, tensor in weights.items() if tensor.shape == other[n].shape}
        head = f" except the head, which is new for {len(classes)} classes"
    print(f"training starts from {path}: all weights{head}", flush=True)
    return weights
