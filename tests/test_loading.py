import pytest
import torch

from fer.params import Augment
from fer.training.loading import make_loader

STRONG = Augment(flip=0.5, shift=4, rotation=20.0, scale=0.2, contrast=0.5)


def epoch(faces, number=0, **options):
    batches = make_loader(
        faces,
        STRONG,
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


@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_give_the_same_batches(faces, num_workers):
    by_workers = epoch(faces, num_workers=num_workers)
    for (images, labels), expected in zip(by_workers, epoch(faces), strict=True):
        assert torch.equal(images, expected[0])
        assert torch.equal(labels, expected[1])


def test_other_epoch_or_seed_gives_other_batches(faces):
    first_images = epoch(faces)[0][0]
    assert not torch.equal(first_images, epoch(faces, 1)[0][0])
    assert not torch.equal(first_images, epoch(faces, seed=2)[0][0])
