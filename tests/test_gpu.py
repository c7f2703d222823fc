"""Training on a GPU; skipped on a machine without one."""

import gc
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

from fer.core import params
from fer.core.errors import FerError
from fer.core.faces import Faces
from fer.training import distributed, wandb_log, workflow
from fer.training.device import pick_device
from fer.training.fit import fit
from fer.training.history import without_seconds
from fer.training.networks import NETWORKS, build
from fer.training.qat import finetune
from fer.training.run import TrainingRun
from fer.training.step import CapturedStep

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

ROOT = Path(__file__).parents[1]
GPU = torch.device("cuda")
GPU_0 = torch.device("cuda", 0)
CONFIG = params.load(ROOT / "params.yaml").config.with_values({"model.width": 0.5})


@pytest.fixture
def many_faces():
    """1,000 faces of noise."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (1000, 48, 48), dtype=np.uint8)
    return Faces(images, (np.arange(1000) % 7).astype(np.uint8), tuple("abcdefg"))


def train(faces, values, device=GPU, epochs=4, teacher=None, **options):
    run = TrainingRun(CONFIG.with_values(values), faces, faces[:100], epochs, device, teacher)
    network, history = fit(run, **options)
    return network, without_seconds(history)


def differing_weights(network, other_network):
    """Return the names of the weights that differ."""
    weights, other_weights = network.state_dict(), other_network.state_dict()
    return [name for name in weights if not torch.equal(weights[name], other_weights[name])]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_deterministic_training_gives_the_same_bits(many_faces, name, precision):
    values = {"model.name": name, "train.precision": precision, "train.deterministic": True}
    teacher = build(CONFIG.model, 7).eval()

    def train_and_finetune():
        network, history = train(many_faces, values, teacher=teacher)
        return finetune(network, many_faces, CONFIG.with_values(values).train), history

    network, history = train_and_finetune()
    second_network, second_history = train_and_finetune()
    assert history == second_history
    assert differing_weights(network, second_network) == []


@pytest.mark.parametrize(
    ("name", "optimizer", "precision", "batch_size"),
    [
        ("deep", "sgd", "bfloat16", 128),  # deep has dropout
        ("compact", "adamw", "float32", 128),
        ("compact", "sgd", "bfloat16", 1000),  # all faces in one batch
    ],
)
def test_captured_steps_compute_the_same_as_steps(
    many_faces, monkeypatch, name, optimizer, precision, batch_size
):
    values = {
        **{"model.name": name, "train.deterministic": True, "train.optimizer": optimizer},
        **{"train.precision": precision, "train.batch_size": batch_size, "train.lr": 0.01},
    }
    teacher = build(CONFIG.model, 7).eval()
    captured_steps = []

    def train_with(make_step):
        monkeypatch.setattr("fer.training.fit.CapturedStep", make_step)
        return train(many_faces, values, teacher=teacher)

    def make_captured_step(*arguments):
        captured_steps.append(CapturedStep(*arguments))
        return captured_steps[0]

    network, history = train_with(make_captured_step)
    assert captured_steps[0].graph is not None
    expected_network, expected_history = train_with(lambda step, batch_size: step)
    assert history == expected_history
    assert differing_weights(network, expected_network) == []


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_second_gpu_computes_the_same_as_the_first(many_faces):
    values = {"train.deterministic": True}
    first, second = (train(many_faces, values, pick_device(name)) for name in ("cuda:0", "cuda:1"))
    assert first[1] == second[1]
    assert differing_weights(first[0], second[0].to(GPU)) == []


def test_resumed_run_gives_the_same_result(many_faces, tmp_path):
    values, path = {"model.name": "deep", "train.deterministic": True}, tmp_path / "run.ckpt"

    class KilledError(Exception):
        pass

    def kill(history):
        if len(history) == 2:
            raise KilledError

    uninterrupted, history = train(many_faces, values)
    with pytest.raises(KilledError):
        train(many_faces, values, checkpoint=path, on_epoch=kill)
    resumed, resumed_history = train(many_faces, values, checkpoint=path)
    assert history == resumed_history
    assert differing_weights(uninterrupted, resumed) == []


def test_gpu_and_cpu_train_alike(many_faces):
    values = {"train.precision": "float32"}
    on_gpu, on_cpu = (
        train(many_faces, values, device, epochs=1)[1] for device in (GPU, torch.device("cpu"))
    )
    assert on_gpu[0]["train_loss"] == pytest.approx(on_cpu[0]["train_loss"], rel=1e-2)


@pytest.fixture
def little_memory():
    gc.collect()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(64 * 2**20 / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


def test_too_little_memory_names_the_batch_size(many_faces, little_memory):
    config = CONFIG.with_values({"model.width": 8.0, "train.batch_size": 1000})
    run = TrainingRun(config, many_faces, many_faces[:100], 1, GPU)
    with pytest.raises(FerError, match=r"^cuda: too little memory; train\.batch_size is 1000"):
        workflow.train(partial(wandb_log.run, "disabled"), "name", run)


def test_too_little_memory_for_fine_tuning(many_faces, little_memory):
    network = build(CONFIG.with_values({"model.width": 8.0}).model, 7).to(GPU)
    splits = workflow.Splits(many_faces, many_faces[:100], many_faces[:100])
    with pytest.raises(
        FerError, match=r"^cuda:0: too little memory; .* settings\.device to cpu; the same"
    ):
        workflow.finetune_and_score(network, CONFIG.train, splits)


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


def test_training_with_nccl_and_without_is_alike(many_faces):
    # A single process, because each process of nccl needs a separate GPU.
    values = {"train.deterministic": True, "train.precision": "float32"}
    _, history = train(many_faces, values)
    dist.init_process_group(
        "nccl", init_method="tcp://localhost:29513", rank=0, world_size=1, device_id=GPU_0
    )
    try:
        _, nccl_history = train(many_faces, values, GPU_0)
    finally:
        dist.destroy_process_group()
    for row, nccl_row in zip(history, nccl_history, strict=True):
        assert row["train_loss"] == pytest.approx(nccl_row["train_loss"], rel=1e-2)
