import multiprocessing
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from layouts import PARAMS

from fer.core.errors import FerError
from fer.core.faces import Faces
from fer.training import evaluation, workflow
from fer.training.device import shortage_as_fer_error
from fer.training.networks import build
from fer.training.networks.compact import Compact
from fer.training.run import TrainingRun

DAMAGE = PARAMS.damage
CONFIG = PARAMS.config.with_values({"model.width": 0.5, "train.batch_size": 16})


@pytest.fixture(autouse=True)
def checkpoints_in_a_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))


def train(faces, config=CONFIG, log=lambda row: None):
    run = TrainingRun(config, faces, faces[:35], 3, torch.device("cpu"))
    return workflow.train(lambda *_: nullcontext(SimpleNamespace(log=log)), "name", run)


def test_too_little_memory_is_one_line(faces, monkeypatch):
    monkeypatch.setattr(Compact, "forward", lambda network, images: torch.empty(1 << 48))
    with pytest.raises(FerError, match=r"^cpu: too little memory; train\.batch_size is 16"):
        train(faces)
    splits = workflow.Splits(faces, faces[:35], faces[:35])
    with pytest.raises(FerError, match=r"^cpu: too little memory; free some; the same"):
        workflow.finetune_and_score(build(CONFIG.model, 7), CONFIG.train, splits, DAMAGE)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("CUDA out of memory. Tried to allocate 2.00 GiB.", FerError),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", FerError),
        ("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED", FerError),
        ("shape mismatch", RuntimeError),
    ],
)
def test_out_of_memory_errors_become_fer_errors_and_others_pass(message, expected):
    with pytest.raises(expected) as error, shortage_as_fer_error(torch.device("cuda"), "do this"):
        raise RuntimeError(message)
    text = "cuda: too little memory; do this" if expected is FerError else message
    assert str(error.value) == text


def test_dead_worker_is_a_fer_error(faces):
    def kill(row):
        multiprocessing.active_children()[0].kill()

    with pytest.raises(FerError, match=r"train\.num_workers: a worker died"):
        train(faces, CONFIG.with_values({"train.num_workers": 2}), kill)


def test_scores_are_those_of_the_fine_tuned_network(faces):
    val = Faces(255 - faces.images[:35], faces.labels[:35], faces.classes)
    splits = workflow.Splits(faces, val, val)
    network = build(CONFIG.model, 7)
    options = CONFIG.train.model_copy(update={"qat_epochs": 20})
    finetuned, scores = workflow.finetune_and_score(network, options, splits, DAMAGE)
    without_qat = options.model_copy(update={"qat_epochs": 0})
    _, scores_without_qat = workflow.finetune_and_score(network, without_qat, splits, DAMAGE)
    assert scores["train_loss"] < scores_without_qat["train_loss"]
    assert scores == evaluation.score_splits(finetuned, splits.train, splits.val, DAMAGE)
    assert list(finetuned.state_dict()) == list(network.state_dict())
