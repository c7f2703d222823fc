import numpy as np
import pytest
import torch
from layouts import PARAMS

from fer.training import evaluation
from fer.training.augmentation import center_crop
from fer.training.networks.mini_xception import MiniXception
from fer.training.robustness import damaged_in_turn

DAMAGE = PARAMS.damage


def test_logits_and_probabilities_are_those_of_the_network(faces):
    network = MiniXception(1.0, 7).eval()
    images = torch.tensor(faces.images)
    with torch.no_grad():
        expected = network(center_crop(images))
    logits = evaluation.predict_logits(network, images)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    probabilities = torch.tensor(evaluation.predict_probabilities(network, faces.images))
    torch.testing.assert_close(probabilities, expected.softmax(1), atol=1e-4, rtol=1e-4)


def test_unique_accuracy_leaves_out_val_faces_that_are_in_train(faces):
    network = MiniXception(1.0, 7).eval()
    train, val = faces[:40], faces[30:]
    scores = evaluation.score_splits(network, train, val, DAMAGE)
    probabilities = evaluation.predict_probabilities(network, val.images)
    correct = probabilities.argmax(1) == val.labels
    loss = -np.log(probabilities[np.arange(40), val.labels]).mean()
    assert scores["val_loss"] == pytest.approx(loss, abs=1e-4)
    assert scores["val_accuracy"] == pytest.approx(correct.mean(), abs=1e-6)
    assert scores["val_unseen_accuracy"] == pytest.approx(correct[10:].mean(), abs=1e-6)
    images = damaged_in_turn(val[np.arange(10, 40)], DAMAGE).images
    correct = evaluation.predict_probabilities(network, images).argmax(1) == val.labels[10:]
    assert scores["val_damaged_accuracy"] == pytest.approx(correct.mean(), abs=1e-6)
