"""Training on a GPU, beyond what test_fit.py and test_qat.py test there; skipped without one."""

import gc
from functools import partial

import numpy as np
import pytest
import torch
import torch.distributed as dist
from layouts import PARAMS

from fer.core.errors import FerError
from fer.core.faces import Faces
from fer.training import distributed, wandb_log, workflow
from fer.training.fit import fit
from fer.training.history import without_seconds
from fer.training.networks import build
from fer.training.run import TrainingRun
from fer.training.step import CapturedStep

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

GPU, GPU_0, CPU = torch.device("cuda"), torch.device("cuda", 0), torch.device("cpu")
CONFIG = PARAMS.config.with_values({"model.width": 0.5, "train.deterministic": True})


@pytest.fixture
def many_faces():
    """1,000 faces of noise."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (1000, 48, 48), dtype=np.uint8)
    return Faces(images, (np.arange(1000) % 7).astype(np.uint8), tuple("abcdefg"))


def train(faces, values, device=GPU, epochs=4, teacher=None):
    run = TrainingRun(CONFIG.with_values(values), faces, faces[:100], epochs, device, teacher)
    network, history = fit(run)
    return network.state_dict(), without_seconds(history)


@pytest.mark.parametrize(
    ("optimizer", "precision", "batch_size"),
    [("adamw", "float32", 128), ("sgd", "bfloat16", 1000)],  # 1000: all faces in one batch
)
def test_captured_steps_compute_the_same_as_steps(
    many_faces, monkeypatch, optimizer, precision, batch_size
):
    values = {
        **{"train.optimizer": optimizer, "train.precision": precision},
        **{"train.batch_size": batch_size, "train.lr": 0.01},
    }
    teacher = build(CONFIG.model, 7).eval()
    captured_steps = []

    def train_with(make_step):
        monkeypatch.setattr("fer.training.fit.CapturedStep", make_step)
        return train(many_faces, values, teacher=teacher)

    def make_captured_step(*arguments):
        captured_steps.append(CapturedStep(*arguments))
        return captured_steps[0]

    weights, history = train_with(make_captured_step)
    assert captured_steps[0].graph is not None
    expected_weights, expected_history = train_with(lambda step, batch_size: step)
    assert history == expected_history
    assert all(torch.equal(weights[key], expected_weights[key]) for key in weights)


def test_other_devices_and_nccl_train_alike(many_faces):
    values = {"train.precision": "float32"}
    _, history = train(many_faces, values, epochs=1)
    _, cpu_history = train(many_faces, values, CPU, epochs=1)
    # A single process, because each process of nccl needs a separate GPU.
    dist.init_process_group(
        "nccl", init_method="tcp://localhost:29513", rank=0, world_size=1, device_id=GPU_0
    )
    try:
        _, nccl_history = train(many_faces, values, GPU_0, epochs=1)
    finally:
        dist.destroy_process_group()
    for (row,) in (cpu_history, nccl_history):
        assert row["train_loss"] == pytest.approx(history[0]["train_loss"], rel=1e-2)


def test_too_little_memory_names_the_batch_size(many_faces):
    gc.collect()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(64 * 2**20 / total)
    config = CONFIG.with_values({"model.width": 8.0, "train.batch_size": 1000})
    run = TrainingRun(config, many_faces, many_faces[:100], 1, GPU)
    try:
        with pytest.raises(FerError, match=r"^cuda: too little memory; train\.batch_size is 1000"):
            workflow.train(partial(wandb_log.run, "disabled"), "name", run)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_more_processes_than_gpus_are_a_fer_error(monkeypatch):
    count = torch.cuda.device_count() + 1
    environment = {"TORCHELASTIC_RUN_ID": "0", "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    for name, value in environment.items():
        monkeypatch.setenv(name, str(value))
    with (
        pytest.raises(FerError, match=f"torchrun: {count} processes need a GPU each"),
        distributed.process_group("auto"),
    ):
        pass
