import multiprocessing
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fer import params
from fer.errors import FerError
from fer.faces import Faces
from fer.training import evaluation, runs
from fer.training.device import enough_memory
from fer.training.networks import build
from fer.training.networks.compact import Compact

RECIPE = params.load(Path(__file__).parents[1] / "params.yaml").recipe.changed(
    {"model.width": 0.5, "train.batch_size": 16}
)


def run(faces, checkpoint, recipe=RECIPE, log=lambda row: None):
    return runs.run(
        lambda name, config: nullcontext(SimpleNamespace(log=log)),
        *("name", recipe, faces, faces[:35], 3, torch.device("cpu")),
        checkpoint=checkpoint,
    )


@pytest.fixture
def no_memory(monkeypatch):
    monkeypatch.setattr(Compact, "forward", lambda network, images: torch.empty(1 << 48))


@pytest.mark.usefixtures("no_memory")
def test_too_little_memory_names_the_batch_size(faces, tmp_path):
    with pytest.raises(FerError, match=r"cpu has not the memory .* train\.batch_size is 16"):
        run(faces, tmp_path / "run.ckpt")


@pytest.mark.usefixtures("no_memory")
def test_too_little_memory_to_refine(faces):
    splits = runs.Splits(faces, faces[:35], faces[:35])
    with pytest.raises(FerError, match=r"cpu has not the memory for it: free some; the same"):
        runs.finish(build(RECIPE.model, 7), RECIPE.train, splits)


@pytest.mark.parametrize(
    "message",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB.",
        "CUDA error: out of memory\nCompile with TORCH_USE_CUDA_DSA",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    ],
)
def test_every_way_to_lack_memory_is_told_in_a_line(message):
    with (
        pytest.raises(FerError, match=r"^cuda has not the memory for it: do this$"),
        enough_memory(torch.device("cuda"), "do this"),
    ):
        raise RuntimeError(message)


def test_other_errors_stay_what_they_are(faces, tmp_path, monkeypatch):
    def fail(network, images):
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(Compact, "forward", fail)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        run(faces, tmp_path / "run.ckpt")


def test_dead_worker_is_a_clear_error(faces, tmp_path):
    def kill(row):
        multiprocessing.active_children()[0].kill()

    with pytest.raises(FerError, match=r"train\.num_workers is 2: a worker died"):
        run(faces, tmp_path / "run.ckpt", RECIPE.changed({"train.num_workers": 2}), kill)


def test_finished_network_is_scored_as_refined(faces):
    new = Faces(255 - faces.images[:35], faces.labels[:35], faces.classes)
    images, labels = (
        np.concatenate(both) for both in ((new.images, faces.images), (new.labels, faces.labels))
    )
    splits = runs.Splits(faces, Faces(images, labels, faces.classes), new)
    network = build(RECIPE.model, 7)
    options = RECIPE.train.model_copy(update={"refine": 20})
    refined, scores = runs.finish(network, options, splits)
    _, unrefined = runs.finish(network, options.model_copy(update={"refine": 0}), splits)
    assert scores["train_loss"] < unrefined["train_loss"]
    assert scores == evaluation.val_scores(refined, splits.train, splits.val)
    assert list(refined.state_dict()) == list(network.state_dict())
