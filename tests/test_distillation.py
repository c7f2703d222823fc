from pathlib import Path

import numpy as np
import pytest
import torch

from fer.core import params
from fer.core.faces import Faces
from fer.training.distillation import predict_teacher_logits
from fer.training.fit import fit
from fer.training.loading import make_loader
from fer.training.networks import build
from fer.training.run import TrainingRun

CPU = torch.device("cpu")
CONFIG = params.load(Path(__file__).parents[1] / "params.yaml").config.with_values(
    {
        **{"model.width": 0.5, "train.batch_size": 16, "train.augment.rotation": 30.0},
        **{"train.distill.weight": 1.0, "train.distill.views": 2},
    }
)


@pytest.fixture(scope="module")
def teacher():
    torch.manual_seed(1)
    return build(CONFIG.model, 7).eval()


def train(faces, teacher):
    """Return the weights."""
    network, _ = fit(TrainingRun(CONFIG, faces, faces, 3, CPU, teacher))
    return torch.cat([p.flatten() for p in network.parameters()])


def batches(faces):
    return make_loader(
        faces, CONFIG.train.augment, batch_size=16, seed=0, num_workers=0, device=CPU
    )


def test_teacher_logits_are_of_the_views_that_the_student_gets(faces, teacher, capsys):
    logits = predict_teacher_logits(teacher, batches(faces), 2, torch.float32, quiet=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"teacher's logits: {n} of 2 views" for n in (1, 2)]
    assert [epoch_logits.shape for epoch_logits in logits] == [(len(faces), 7)] * 2
    student_batches = batches(faces)
    for student_batches.sampler.epoch, epoch_logits in enumerate(logits):
        with torch.inference_mode():
            expected = torch.cat([teacher(images) for images, _ in student_batches])
        # The tolerance is the rounding to float16.
        torch.testing.assert_close(epoch_logits.float(), expected, rtol=2e-3, atol=2e-3)
    assert not torch.equal(logits[0].sort(0).values, logits[1].sort(0).values)


def test_with_a_weight_of_1_the_labels_do_not_matter(faces, teacher):
    expected = train(faces, teacher)
    votes = np.eye(7, dtype=np.float32)[faces.labels[::-1]]
    other_labels = Faces(faces.images, faces.labels, faces.classes, votes)
    assert torch.equal(expected, train(other_labels, teacher))
    assert not torch.equal(expected, train(faces, build(CONFIG.model, 7).eval()))
