import pytest
import torch
from torch import nn

from fer.training import evaluation
from fer.training.augmentation import center_crop
from fer.training.networks.mini_xception import MiniXception


def test_logits_and_probabilities_of_all_faces(faces):
    network = MiniXception(1.0, 7).eval()
    images = torch.tensor(faces.images)
    with torch.no_grad():
        plain = network(center_crop(images))
    found = evaluation.logits(network, images, batch_size=32)
    torch.testing.assert_close(found, plain, atol=1e-4, rtol=1e-4)
    probabilities = torch.tensor(evaluation.probabilities(network, faces.images))
    torch.testing.assert_close(probabilities, plain.softmax(1), atol=1e-4, rtol=1e-4)


def test_val_scores_tell_the_faces_that_training_has_not(faces):
    network = MiniXception(1.0, 7).eval()
    train, val = faces[:40], faces[30:]
    found = evaluation.val_scores(network, train, val)
    right = evaluation.probabilities(network, val.images).argmax(1) == val.labels
    assert found["val_accuracy"] == pytest.approx(right.mean(), abs=1e-6)
    assert found["val_new_accuracy"] == pytest.approx(right[10:].mean(), abs=1e-6)


def test_loss_and_accuracy():
    output, labels = torch.tensor([[2.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1])
    loss, accuracy = evaluation.loss_and_accuracy(output, labels)
    assert loss == pytest.approx(nn.CrossEntropyLoss()(output, labels).item())
    assert accuracy == 0.5
