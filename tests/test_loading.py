from types import SimpleNamespace

import pytest
import torch

from fer.core.errors import FerError
from fer.core.params import Augment, Benchmark
from fer.training import loading
from fer.training.loader_benchmark import time_loaders
from fer.training.loading import make_loader

STRONG = Augment(flip=0.5, shift=4, rotation=20.0, scale=0.2, contrast=0.5)


def epoch(faces, number=0, strengths=STRONG, **options):
    batches = make_loader(
        faces,
        strengths,
        **{"batch_size": 32, "seed": 1, "num_workers": 0, "device": torch.device("cpu")} | options,
    )
    batches.sampler.epoch = number
    return list(batches)


def test_each_face_comes_once_per_epoch(faces):
    batches = epoch(faces)
    assert [len(labels) for _, labels in batches] == [32, 32, 6]
    labels = torch.cat([labels for _, labels in batches])
    assert labels.bincount().tolist() == [10] * 7
    assert batches[0][0].shape == (32, 1, 44, 44)


def test_workers_give_the_same_batches(faces):
    by_workers = epoch(faces, num_workers=2)
    for (images, labels), expected in zip(by_workers, epoch(faces), strict=True):
        assert torch.equal(images, expected[0])
        assert torch.equal(labels, expected[1])


def test_too_little_shared_memory_is_one_line_and_no_row_of_the_benchmark(
    faces, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(loading, "SHARED_MEMORY", tmp_path)
    free = SimpleNamespace(free=3 * 4 * 44**2 * 32)  # for the batches of one worker
    monkeypatch.setattr(loading.shutil, "disk_usage", lambda folder: free)
    assert len(epoch(faces, num_workers=1)) == 3
    with pytest.raises(FerError, match=r"num_workers: 2 workers need .* use train\.num_workers=0"):
        epoch(faces, num_workers=2)
    options = Benchmark(workers=[0, 2], batch_size=32, epochs=1)
    (row,) = time_loaders(faces, options, 1, torch.device("cpu"))
    assert row["workers"] == 0
    assert "warning: left out: train.num_workers: 2 workers" in capsys.readouterr().err
    with pytest.raises(FerError, match=r"benchmark\.workers: .*; add 0"):
        time_loaders(faces, options.model_copy(update={"workers": [2]}), 1, torch.device("cpu"))


def test_other_epoch_or_seed_gives_other_batches(faces):
    first_images = epoch(faces)[0][0]
    assert not torch.equal(first_images, epoch(faces, 1)[0][0])
    assert not torch.equal(first_images, epoch(faces, seed=2)[0][0])
