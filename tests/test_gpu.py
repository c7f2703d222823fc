"""Training on a GPU; skipped on a machine without one."""

import gc
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.distributed as dist

from fer.core import params
from fer.core.errors import FerError
from fer.core.faces import Faces
from fer.training import distributed, runs
from fer.training.clock import without_seconds
from fer.training.device import pick_device
from fer.training.fit import fit
from fer.training.networks import NETWORKS, build
from fer.training.qat import finetune
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


def train(faces, device=GPU, epochs=4, **values):
    config = CONFIG.with_values({f"train.{name}": value for name, value in values.items()})
    network, history = fit(
        config, faces, faces[:100], epochs, device, on_epoch=lambda history: None
    )
    return network, without_seconds(history)


def differing_weights(network, other_network):
    """Return the names of the weights that differ."""
    weights, other_weights = network.state_dict(), other_network.state_dict()
    return [name for name in weights if not torch.equal(weights[name], other_weights[name])]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_deterministic_training_gives_the_same_bits(many_faces, name, precision):
    config = CONFIG.with_values(
        {"model.name": name, "train.precision": precision, "train.deterministic": True}
    )
    teacher = build(CONFIG.model, 7).eval()

    def train_and_finetune():
        network, history = fit(
            *(config, many_faces, many_faces[:100], 4, GPU),
            on_epoch=lambda history: None,
            teacher=teacher,
        )
        return finetune(network, many_faces, config.train), without_seconds(history)

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
    values = {"optimizer": optimizer, "precision": precision, "batch_size": batch_size, "lr": 0.01}
    config = CONFIG.with_values(
        {"model.name": name, "train.deterministic": True}
        | {f"train.{key}": value for key, value in values.items()}
    )
    teacher = build(CONFIG.model, 7).eval()
    captured_steps = []

    def train_with(make_step):
        monkeypatch.setattr("fer.training.fit.CapturedStep", make_step)
        return fit(
            *(config, many_faces, many_faces[:100], 4, GPU),
            on_epoch=lambda history: None,
            teacher=teacher,
        )

    def make_captured_step(*arguments):
        captured_steps.append(CapturedStep(*arguments))
        return captured_steps[0]

    network, history = train_with(make_captured_step)
    assert captured_steps[0].graph is not None
    expected_network, expected_history = train_with(lambda step, batch_size: step)
    assert without_seconds(history) == without_seconds(expected_history)
    assert differing_weights(network, expected_network) == []


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_second_gpu_computes_the_same_as_the_first(many_faces):
    first, second = (
        train(many_faces, pick_device(name), deterministic=True) for name in ("cuda:0", "cuda:1")
    )
    assert first[1] == second[1]
    assert differing_weights(first[0], second[0].to(GPU)) == []


def test_resumed_run_gives_the_same_result(many_faces, tmp_path):
    config = CONFIG.with_values({"model.name": "deep", "train.deterministic": True})

    class KilledError(Exception):
        pass

    def kill(history):
        if len(history) == 2:
            raise KilledError

    def run(checkpoint, on_epoch=lambda history: None):
        fit_arguments = (config, many_faces, many_faces[:100], 4, GPU)
        return fit(*fit_arguments, on_epoch=on_epoch, checkpoint=checkpoint)

    uninterrupted, history = run(tmp_path / "uninterrupted.ckpt")
    with pytest.raises(KilledError):
        run(tmp_path / "killed.ckpt", kill)
    resumed, resumed_history = run(tmp_path / "killed.ckpt")
    assert without_seconds(history) == without_seconds(resumed_history)
    assert differing_weights(uninterrupted, resumed) == []


def test_gpu_and_cpu_train_alike(many_faces):
    on_gpu, on_cpu = (
        train(many_faces, device, precision="float32", epochs=1)[1]
        for device in (GPU, torch.device("cpu"))
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


def splits(faces):
    return runs.Splits(faces, faces[:100], faces[:100])


def test_too_little_memory_names_the_batch_size(many_faces, little_memory):
    config = CONFIG.with_values({"model.width": 8.0, "train.batch_size": 1000})
    with pytest.raises(FerError, match=r"^cuda: too little memory; train\.batch_size is 1000"):
        runs.train(
            lambda name, config: nullcontext(SimpleNamespace(log=lambda row: None)),
            *("name", config, many_faces, many_faces[:100], 1, GPU),
            checkpoint=None,
        )


def test_too_little_memory_for_fine_tuning(many_faces, little_memory):
    network = build(CONFIG.with_values({"model.width": 8.0}).model, 7).to(GPU)
    with pytest.raises(
        FerError, match=r"^cuda:0: too little memory; .* settings\.device to cpu; the same"
    ):
        runs.finetune_and_score(network, CONFIG.train, splits(many_faces))


def test_more_processes_than_gpus_are_a_fer_error(monkeypatch):
    count = torch.cuda.device_count() + 1
    environment = {"TORCHELASTIC_RUN_ID": "0", "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    for name, value in environment.items():
        monkeypatch.setenv(name, str(value))
    with (
        pytest.raises(FerError, match=f"torchrun: {count} processes on a machine with"),
        distributed.process_group("auto"),
    ):
        pass


def test_training_with_nccl_and_without_is_alike(many_faces):
    # A single process, because each process of nccl needs a separate GPU.
    _, history = train(many_faces, deterministic=True, precision="float32")
    dist.init_process_group(
        "nccl", init_method="tcp://localhost:29513", rank=0, world_size=1, device_id=GPU_0
    )
    try:
        _, nccl_history = train(many_faces, device=GPU_0, deterministic=True, precision="float32")
    finally:
        dist.destroy_process_group()
    for row, nccl_row in zip(history, nccl_history, strict=True):
        assert row["train_loss"] == pytest.approx(nccl_row["train_loss"], rel=1e-2)
