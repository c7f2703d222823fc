from pathlib import Path

import numpy as np
import pytest
import torch

from fer.core import params
from fer.core.errors import FerError
from fer.core.faces import Faces
from fer.core.params import Distill
from fer.training import model_file
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


def save(path, network, classes):
    metadata = {"classes": classes, "dataset": "other", "scores": {}, "history": []}
    model_file.save(path, network, CONFIG.model, **metadata)
    return str(path)


def test_several_files_teach_by_the_mean_of_their_logits(faces, teacher, tmp_path):
    other = build(CONFIG.model, 7).eval()
    files = [
        save(tmp_path / f"{number}.pt", network, faces.classes)
        for number, network in enumerate((teacher, other))
    ]
    images = torch.rand(3, 1, 44, 44)
    for names, networks in ((files[0], [teacher]), (files, [teacher, other])):
        loaded = model_file.load_teacher(Distill(teacher=names), faces.classes)
        expected = torch.stack([network(images) for network in networks]).mean(0)
        torch.testing.assert_close(loaded(images), expected)
    assert model_file.load_teacher(Distill(), faces.classes) is None


@pytest.mark.parametrize(
    ("write", "problem"),
    [
        (lambda path: None, "no model here"),
        (lambda path: path.write_bytes(b"onnx"), "is not a file of PyTorch, or damaged"),
        (lambda path: save(path, build(CONFIG.model, 2), ("a", "b")), "was trained on .* a, b"),
    ],
)
def test_file_that_cannot_teach_is_one_line(faces, tmp_path, write, problem):
    write(tmp_path / "mine.pt")
    options = Distill(teacher=str(tmp_path / "mine.pt"))
    message = rf"^train\.distill\.teacher: .*mine\.pt: {problem}.*; name a model file .* or none$"
    with pytest.raises(FerError, match=message):
        model_file.load_teacher(options, faces.classes)
