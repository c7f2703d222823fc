"""The file that carries a trained network, and all that is needed to use it."""

import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from fer.errors import FerError
from fer.faces import FACE_SIZE, INPUT_SIZE, MOST_CLASSES
from fer.files import atomic_path, read_sealed, seal
from fer.params import Model
from fer.training.clock import without_seconds
from fer.training.networks import Network, build

_FORMAT = "fer-pipeline model 2"

_INPUT = {
    "face_size": FACE_SIZE,
    "input_size": INPUT_SIZE,
    "normalisation": {"mean": 0.0, "std": 255.0},  # of pixels 0 to 255
}
"""The input that this version of fer gives a network. It refuses a file that names another."""


def save(
    path: Path,
    network: Network,
    model: Model,
    *,
    classes: Sequence[str],
    dataset: str,
    scores: dict[str, float],
    history: list[dict[str, float]],
) -> None:
    """Write a model file.

    Args:
        path: The file to write.
        network: A trained network.
        model: What `network` was built from.
        classes: Names of the classes, in the order of its outputs.
        dataset: Name of the data set that it was trained on.
        scores: Its scores, of `fer.training.evaluation.val_scores`.
        history: The history of its training, of `fer.training.fit`. The seconds are left out, so
            that the same training gives the same file.

    Raises:
        FerError: Where the file cannot be written.
    """
    weights = {k: v.cpu().contiguous() for k, v in network.state_dict().items()}
    # One string for each column, as pickle writes an equal one anew: that of a run that went on.
    rows = [{sys.intern(k): v for k, v in row.items()} for row in without_seconds(history)]
    about = {
        "format": _FORMAT,
        "classes": list(classes),
        **_INPUT,
        "model": model.model_dump(),
        "dataset": dataset,
        "scores": scores,
        "history": rows,
    }
    write(path, about | {"weights": weights})


def load(path: Path, classes: Sequence[str] | None = None) -> tuple[Network, dict[str, Any]]:
    """Load the network of a model file, ready to use, and the rest of what `save` wrote.

    Args:
        path: The model file.
        classes: Class names of the faces that the network is used on; None for any.

    Raises:
        FerError: Where there is no file, or not one of this version, or its classes are others.
    """
    content = read(path)
    for key, expected in {"format": _FORMAT, **_INPUT}.items():
        if content.get(key) != expected:
            raise FerError(
                f"{path}: is not a model file of this version of fer: its {key} is "
                f"{content.get(key)!r}, not {expected!r}; train it anew with `dvc repro train`"
            )
    own = content.get("classes")
    if not (
        isinstance(own, list)
        and 2 <= len(own) <= MOST_CLASSES
        and all(isinstance(name, str) for name in own)
    ):
        raise FerError(
            f"{path}: its classes are {own!r}, not a list of names; train it anew with "
            "`dvc repro train`"
        )
    if classes is not None and own != list(classes):
        raise FerError(
            f"{path}: was trained on the classes {', '.join(own)}, the data set has "
            f"{', '.join(classes)}; train it anew with `dvc repro train`"
        )
    try:
        network = build(Model.model_validate(content.get("model")), len(own))
        network.load_state_dict(content.pop("weights"))
    except (ValidationError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        raise FerError(
            f"{path}: its weights are not those of the network that it names; train it anew with "
            "`dvc repro train`"
        ) from error
    return network.eval(), content


def write(path: Path, content: dict[str, Any]) -> None:
    """Write a dict of tensors and plain values, to be read by `read`.

    Raises FerError where the file cannot be written.
    """
    memory = BytesIO()  # as writing to a full disk, torch.save has an error of its own
    torch.save(content, memory)
    with atomic_path(path) as temporary:
        temporary.write_bytes(seal(memory.getvalue()))


def read(path: Path) -> dict[str, Any]:
    """What `torch.save` wrote into a file: a dict of tensors and plain values, never code.

    Raises FerError where there is no such file, or it is damaged.
    """
    if not Path(path).exists():
        raise FerError(f"{path}: no model here; run `dvc repro train`")
    sealed = BytesIO(read_sealed(path))
    try:
        content = torch.load(sealed, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load has no error of its own for a file that is not its
        raise FerError(
            f"{path}: is not a file of PyTorch, or damaged; delete it and run `dvc repro`"
        ) from error
    if not isinstance(content, dict):
        raise FerError(f"{path}: is not a model file")
    return content
