import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fer.training import evaluation
from fer.training.augmentation import center_crop
from fer.training.networks.mini_xception import MiniXception


def test_logits_and_probabilities_of_all_faces(faces):
    network = MiniXception().eval()
    images = torch.tensor(faces.images)
    with torch.no_grad():
        plain = network(center_crop(images))
    found = evaluation.logits(network, images, batch_size=32)
    torch.testing.assert_close(found, plain, atol=1e-4, rtol=1e-4)
    probabilities = torch.tensor(evaluation.probabilities(network, faces.images))
    torch.testing.assert_close(probabilities, plain.softmax(1), atol=1e-4, rtol=1e-4)


def test_val_scores_tell_the_faces_that_training_has_not(faces):
    network = MiniXception().eval()
    train, val = faces[:40], faces[30:]
    found = evaluation.val_scores(network, train, val)
    right = evaluation.probabilities(network, val.images).argmax(1) == val.labels
    assert found["val_accuracy"] == pytest.approx(right.mean(), abs=1e-6)
    assert found["val_new_accuracy"] == pytest.approx(right[10:].mean(), abs=1e-6)


def test_examples_are_right_and_wrong_of_each_class(faces):
    right = np.arange(70) % 10 < 9  # one wrong face of each class
    right[:10] = False  # none right of Angry
    chosen = evaluation.examples(faces.labels, right, seed=0)
    assert faces.labels[chosen].tolist() == [0] * 2 + [n for n in range(1, 7) for _ in range(3)]
    assert right[chosen].tolist() == [False] * 2 + [True, True, False] * 6


def test_calibration_error_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.35, 0.65]])
    labels = np.array([0, 1, 1, 1])
    # Bins of 0.1: at 0.9 half are right, at 0.6 both are.
    expected = (abs(1 - 1.8) + abs(2 - 1.25)) / 4
    assert evaluation.calibration_error(probabilities, labels, 10) == pytest.approx(expected)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), bins=st.integers(1, 40))
def test_calibration_error_is_a_share_and_0_when_sure_and_right(seed, bins):
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.ones(7), 50)
    labels = generator.integers(0, 7, 50)
    assert 0 <= evaluation.calibration_error(probabilities, labels, bins) <= 1
    assert evaluation.calibration_error(np.eye(7)[labels], labels, bins) == 0


def test_scores_and_table_of_a_known_confusion():
    labels = np.array([0, 0, 0, 1, 2, 3, 4, 5, 6])
    predicted = np.array([0, 0, 1, 1, 2, 3, 4, 5, 6])
    new = np.arange(9) < 3
    scores = evaluation.scores(np.eye(7)[predicted], labels, new, 10)
    assert scores["accuracy"] == pytest.approx(8 / 9)
    assert scores["accuracy_new"] == pytest.approx(2 / 3)
    assert scores["balanced_accuracy"] == pytest.approx((2 / 3 + 6) / 7)
    table = evaluation.per_class(predicted, labels)
    assert table[0] == pytest.approx(
        {"class": "Angry", "precision": 1.0, "recall": 2 / 3, "f1": 0.8, "support": 3}
    )
    assert table[1]["precision"] == 0.5


def test_loss_and_accuracy():
    output, labels = torch.tensor([[2.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1])
    loss, accuracy = evaluation.loss_and_accuracy(output, labels)
    assert loss == pytest.approx(nn.CrossEntropyLoss()(output, labels).item())
    assert accuracy == 0.5


def test_mcnemar_counts_the_faces_that_differ():
    first = np.array([True] * 10 + [False] * 6)
    second = np.array([True] * 2 + [False] * 8 + [True] + [False] * 5)
    found = evaluation.mcnemar(first, second)
    assert (found["only_first"], found["only_second"]) == (8, 1)
    assert found["p_value"] == pytest.approx(2 * (1 + 9) / 2**9)  # two tails of the binomial
    assert evaluation.mcnemar(first, first)["p_value"] == 1
