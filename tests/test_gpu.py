"""What is different on a GPU; needs one."""

import gc
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.distributed as dist

from fer import params
from fer.errors import FerError
from fer.faces import Faces
from fer.training import distributed, runs
from fer.training.clock import without_seconds
from fer.training.device import pick_device
from fer.training.fit import fit
from fer.training.networks import build
from fer.training.refining import refine
from fer.training.step import CapturedStep

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

ROOT = Path(__file__).parents[1]
GPU = torch.device("cuda")
GPU_0 = torch.device("cuda", 0)
RECIPE = params.load(ROOT / "params.yaml").recipe.changed({"model.width": 0.5})


@pytest.fixture
def many():
    """1,000 faces of noise."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (1000, 48, 48), dtype=np.uint8)
    return Faces(images, (np.arange(1000) % 7).astype(np.uint8), tuple("abcdefg"))


def train(faces, device=GPU, epochs=4, **values):
    recipe = RECIPE.changed({f"train.{name}": value for name, value in values.items()})
    network, history = fit(
        recipe, faces, faces[:100], epochs, device, on_epoch=lambda history: None
    )
    return network, without_seconds(history)


def differing(a, b):
    a, b = (one.state_dict() for one in (a, b))
    return [name for name in a if not torch.equal(a[name], b[name])]


@pytest.mark.parametrize("name", ["compact", "deep", "mini-xception"])
@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_deterministic_training_gives_the_same_bits(many, name, precision):
    recipe = RECIPE.changed(
        {"model.name": name, "train.precision": precision, "train.deterministic": True}
    )
    teacher = build(RECIPE.model, 7).eval()

    def trained():
        network, history = fit(
            recipe, many, many[:100], 4, GPU, on_epoch=lambda history: None, teacher=teacher
        )
        return refine(network, many, recipe.train), without_seconds(history)

    (first, history), (second, again) = trained(), trained()
    assert history == again
    assert differing(first, second) == []


@pytest.mark.parametrize(
    ("name", "optimizer", "precision", "batch_size"),
    [
        ("deep", "sgd", "bfloat16", 128),  # it has dropout
        ("compact", "adamw", "float32", 128),
        ("compact", "sgd", "bfloat16", 1000),  # all faces in one batch
    ],
)
def test_captured_steps_compute_what_steps_do(
    many, monkeypatch, name, optimizer, precision, batch_size
):
    values = {"optimizer": optimizer, "precision": precision, "batch_size": batch_size, "lr": 0.01}
    recipe = RECIPE.changed(
        {"model.name": name, "train.deterministic": True}
        | {f"train.{key}": value for key, value in values.items()}
    )
    teacher = build(RECIPE.model, 7).eval()
    made = []

    def trained(step):
        monkeypatch.setattr("fer.training.fit.CapturedStep", step)
        return fit(recipe, many, many[:100], 4, GPU, on_epoch=lambda history: None, teacher=teacher)

    def captured(*arguments):
        made.append(CapturedStep(*arguments))
        return made[0]

    network, history = trained(captured)
    assert made[0].graph is not None
    plain, again = trained(lambda step, batch_size: step)
    assert without_seconds(history) == without_seconds(again)
    assert differing(network, plain) == []


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_second_gpu_computes_what_the_first_does(many):
    first, second = (
        train(many, pick_device(name), deterministic=True) for name in ("cuda:0", "cuda:1")
    )
    assert first[1] == second[1]
    assert differing(first[0], second[0].to(GPU)) == []


def test_goes_on_to_the_same_end(many, tmp_path):
    recipe = RECIPE.changed({"model.name": "deep", "train.deterministic": True})

    class KilledError(Exception):
        pass

    def kill(history):
        if len(history) == 2:
            raise KilledError

    def trained(checkpoint, on_epoch=lambda history: None):
        arguments = (recipe, many, many[:100], 4, GPU)
        return fit(*arguments, on_epoch=on_epoch, checkpoint=checkpoint)

    whole, history = trained(tmp_path / "whole.ckpt")
    with pytest.raises(KilledError):
        trained(tmp_path / "killed.ckpt", kill)
    resumed, again = trained(tmp_path / "killed.ckpt")
    assert without_seconds(history) == without_seconds(again)
    assert differing(whole, resumed) == []


def test_gpu_trains_as_the_processor_does(many):
    devices = (GPU, torch.device("cpu"))
    ours, theirs = (train(many, one, precision="float32", epochs=1)[1] for one in devices)
    assert ours[0]["train_loss"] == pytest.approx(theirs[0]["train_loss"], rel=1e-2)


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


def test_too_little_memory_names_the_batch_size(many, little_memory):
    recipe = RECIPE.changed({"model.width": 8.0, "train.batch_size": 1000})
    with pytest.raises(FerError, match=r"cuda has not the memory .* train\.batch_size is 1000"):
        runs.run(
            lambda name, config: nullcontext(SimpleNamespace(log=lambda row: None)),
            *("name", recipe, many, many[:100], 1, GPU),
            checkpoint=None,
        )


def test_too_little_memory_to_refine(many, little_memory):
    network = build(RECIPE.changed({"model.width": 8.0}).model, 7).to(GPU)
    with pytest.raises(
        FerError, match=r"cuda:0 has not the memory .* settings\.device to cpu; the same"
    ):
        runs.finish(network, RECIPE.train, splits(many))


def test_more_processes_than_gpus_are_a_clear_error(monkeypatch):
    count = torch.cuda.device_count() + 1
    started = {"TORCHELASTIC_RUN_ID": "0", "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    for name, value in started.items():
        monkeypatch.setenv(name, str(value))
    with (
        pytest.raises(FerError, match=f"torchrun started {count} processes on this machine"),
        distributed.group("auto"),
    ):
        pass


def test_nccl_trains_as_without(many):
    # One process alone: of two, each needs a GPU of its own.
    _, history = train(many, deterministic=True, precision="float32")
    dist.init_process_group(
        "nccl", init_method="tcp://localhost:29513", rank=0, world_size=1, device_id=GPU_0
    )
    try:
        _, again = train(many, device=GPU_0, deterministic=True, precision="float32")
    finally:
        dist.destroy_process_group()
    for one, other in zip(history, again, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-2)
