"""Write and read model files: the weights of a network, and all that is needed to use them."""

import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from pydantic import ValidationError

from fer.core.errors import FerError
from fer.core.faces import FACE_SIZE, INPUT_SIZE
from fer.core.files import atomic_path
from fer.core.params import NO_TEACHER, SCRATCH, Distill, Model, TrainingConfig
from fer.training.history import Row, without_seconds
from fer.training.networks import Ensemble, Network, build

Weights = dict[str, torch.Tensor]
"""Tensors by their names in a network's `state_dict`."""

_FORMAT = "fer-pipeline model 2"

_INPUT = {
    "face_size": FACE_SIZE,
    "input_size": INPUT_SIZE,
    "normalisation": {"mean": 0.0, "std": 255.0},  # for pixels from 0 to 255
}
"""The input that this version of fer gives a network; a file with another input is refused."""


def save(
    path: Path,
    network: Network,
    model: Model,
    *,
    classes: Sequence[str],
    dataset: str,
    scores: dict[str, float],
    history: list[Row],
) -> None:
    """Write a model file, without seconds, so that a rerun gives the same file."""
    weights = {k: v.cpu().contiguous() for k, v in network.state_dict().items()}
    # Pickle writes equal strings again unless they are the same object, as after resuming.
    rows = [{sys.intern(k): v for k, v in row.items()} for row in without_seconds(history)]
    metadata = {
        "format": _FORMAT,
        "classes": list(classes),
        **_INPUT,
        "model": model.model_dump(),
        "dataset": dataset,
        "scores": scores,
        "history": rows,
    }
    write(path, metadata | {"weights": weights})


def load(path: Path, classes: Sequence[str] | None = None) -> tuple[Network, dict[str, Any]]:
    """Load the network of a model file in evaluation mode, and the metadata that `save` wrote."""
    content = read(path)
    for key, expected in {"format": _FORMAT, **_INPUT}.items():
        if content.get(key) != expected:
            raise FerError(
                f"{path}: is not a model file of this version of fer: its {key} is "
                f"{content.get(key)!r}, not {expected!r}; train it anew with `dvc repro train`"
            )
    try:
        names = content["classes"]
        network = build(Model.model_validate(content["model"]), len(names))
        network.load_state_dict(content.pop("weights"))
    except (ValidationError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        raise FerError(
            f"{path}: its weights do not fit the network that it names; train it anew with "
            "`dvc repro train`"
        ) from error
    if classes is not None and names != list(classes):
        raise FerError(
            f"{path}: was trained on the classes {', '.join(names)}, the data set has "
            f"{', '.join(classes)}; train it anew with `dvc repro train`"
        )
    return network.eval(), content


def load_named(
    parameter: str, path: Path, no_file: str, classes: Sequence[str] | None = None
) -> tuple[Network, dict[str, Any]]:
    """Load a model file that a parameter names, as `load` does; `no_file` is its value for none."""
    try:
        return load(path, classes)
    except FerError as error:  # its advice is for files of the pipeline
        raise FerError(
            f"{parameter}: {error.args[0].partition(';')[0]}; name a model file such as "
            f"models/fer2013/nano/baseline.pt, or {no_file}"
        ) from error


def load_initial(config: TrainingConfig, classes: Sequence[str]) -> Weights | None:
    """Load the weights that `train.init` names, and print which of them are used.

    It names a model file, or the folder of a `baseline.pt`, or one for each network of an ensemble;
    the result is None if it says random weights. Where a file has other classes, its head is left
    out.
    """
    init, width = config.train.init, config.model.width
    if init == SCRATCH:
        return None
    paths = init if isinstance(init, list) else [init]
    widths = width if isinstance(width, list) else [width]
    if len(paths) != len(widths):
        raise FerError(
            f"train.init: names {len(paths)} model files for {len(widths)} values of model.width; "
            f"name one for each, or {SCRATCH}"
        )
    models = [config.model.model_copy(update={"width": one}) for one in widths]
    loaded = [
        _load_initial(Path(path), model, classes) for path, model in zip(paths, models, strict=True)
    ]
    if len(loaded) == 1:
        return loaded[0]
    return {
        f"networks.{number}.{name}": tensor
        for number, weights in enumerate(loaded)
        for name, tensor in weights.items()
    }


def _load_initial(path: Path, model: Model, classes: Sequence[str]) -> Weights:
    if path.is_dir():
        path = path / "baseline.pt"
    network, metadata = load_named("train.init", path, SCRATCH)
    saved = metadata["model"]
    if saved != model.model_dump():
        raise FerError(
            f"train.init: {path} holds {saved['name']} of width {saved['width']}, but model is "
            f"{model.name} of width {model.width}; set model to the same"
        )
    weights, head = network.state_dict(), ""
    if metadata["classes"] != list(classes):
        # The head is what depends on the number of classes.
        other = build(model, len(metadata["classes"]) + 1).state_dict()
        weights = {n: tensor for n, tensor in weights.items() if tensor.shape == other[n].shape}
        head = f" except the head, which is new for {len(classes)} classes"
    print(f"training starts from {path}: all weights{head}", flush=True)
    return weights


def load_teacher(options: Distill, classes: Sequence[str]) -> Network | None:
    """Return the teacher that `train.distill.teacher` names, or None if there is none."""
    if options.teacher == NO_TEACHER:
        return None
    paths = options.teacher if isinstance(options.teacher, list) else [options.teacher]
    parameter = "train.distill.teacher"
    return Ensemble([load_named(parameter, Path(path), NO_TEACHER, classes)[0] for path in paths])


def winner(models: Path) -> tuple[str, Path]:
    """Return the name and file of the model that the search chose: "tuned", or "baseline".

    Stage tune writes tuned/tuned.pt in a data set's folder of models only if a trial won.
    """
    tuned = models / "tuned" / "tuned.pt"
    return ("tuned", tuned) if tuned.exists() else ("baseline", models / "baseline.pt")


def write(path: Path, content: dict[str, Any]) -> None:
    """Write a dict of tensors and plain values."""
    buffer = BytesIO()  # because torch.save raises an error of its own on a full disk
    torch.save(content, buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def read(path: Path) -> dict[str, Any]:
    """Read a dict of tensors and plain values; code in a pickle is never run."""
    try:
        with ZipFile(path) as archive:  # torch.load does not check the sums in the file
            if archive.testzip():
                raise BadZipFile("a checksum is wrong")
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except FileNotFoundError as error:
        raise FerError(f"{path}: no model here; run `dvc repro train`") from error
    except OSError as error:
        raise FerError(f"{path}: cannot be read: {error.strerror}") from error
    except Exception as error:  # torch.load raises errors of many classes for foreign files
        raise FerError(
            f"{path}: is not a file of PyTorch, or damaged; delete it and run `dvc repro`"
        ) from error
