import numpy as np
import pytest

from fer.data.fer2013 import CLASSES
from fer.report import scores


def test_examples_are_right_and_wrong_of_each_class(faces):
    correct = np.arange(70) % 10 < 9  # one wrong face of each class
    correct[:10] = False  # none correct of Angry
    chosen = scores.examples(faces, correct, seed=0)
    assert faces.labels[chosen].tolist() == [0] * 2 + [n for n in range(1, 7) for _ in range(3)]
    assert correct[chosen].tolist() == [False] * 2 + [True, True, False] * 6


def test_calibration_error():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.35, 0.65]])
    labels = np.array([0, 1, 1, 1])
    # Bins of 0.1: at 0.9 half are correct, at 0.6 both are.
    expected = (abs(1 - 1.8) + abs(2 - 1.25)) / 4
    assert scores.calibration_error(probabilities, labels, 10) == pytest.approx(expected)
    assert scores.calibration_error(np.eye(2)[labels], labels, 10) == 0  # sure and right


def test_scores_and_table_of_a_known_confusion():
    labels = np.array([0, 0, 0, 1, 2, 3, 4, 5, 6])
    predicted = np.array([0, 0, 1, 1, 2, 3, 4, 5, 6])
    new = np.arange(9) < 3
    actual = scores.scores(np.eye(7)[predicted], labels, new, 10)
    assert actual["accuracy"] == pytest.approx(8 / 9)
    assert actual["accuracy_unique"] == pytest.approx(2 / 3)
    assert actual["balanced_accuracy"] == pytest.approx((2 / 3 + 6) / 7)
    table = scores.per_class(predicted, labels, CLASSES)
    assert table[0] == pytest.approx(
        {"class": "Angry", "precision": 1.0, "recall": 2 / 3, "f1": 0.8, "support": 3}
    )
    assert table[1]["precision"] == 0.5


def test_means_are_over_the_classes_that_there_are():
    labels = np.repeat([0, 1, 2], 10)
    predicted = labels.copy()
    predicted[0] = 6  # which no face is
    actual = scores.scores(np.eye(7)[predicted], labels, labels < 9, 10)
    assert actual["balanced_accuracy"] == pytest.approx((0.9 + 2) / 3)
    assert actual["macro_f1"] == pytest.approx((1.8 / 1.9 + 2) / 3)


def test_mcnemar_counts_the_faces_that_differ():
    first = np.array([True] * 10 + [False] * 6)
    second = np.array([True] * 2 + [False] * 8 + [True] + [False] * 5)
    actual = scores.mcnemar(first, second)
    assert (actual["only_first"], actual["only_second"]) == (8, 1)
    assert actual["p_value"] == pytest.approx(2 * (1 + 9) / 2**9)  # two tails of the binomial
    assert scores.mcnemar(first, first)["p_value"] == 1


def test_interval_contains_the_accuracy_and_shrinks_with_faces():
    # Newcombe 1998, doi:10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E
    assert scores.interval(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert scores.interval(1.0, 10) == pytest.approx((0.7225, 1), abs=1e-4)  # not 1 to 1


def test_coverage_answers_the_surest_first():
    sure = np.linspace(0.5, 1, 10)
    probabilities = np.stack([sure, 1 - sure], 1)
    labels = (sure < 0.8).astype(int)  # only the 4 surest are correct
    rows = scores.coverage(probabilities, labels)
    assert [row["share"] for row in rows] == pytest.approx(np.arange(1, 11) / 10)
    assert [row["accuracy"] for row in rows] == pytest.approx(
        [1] * 4 + [4 / n for n in range(5, 11)]
    )
    best = scores.answered(rows, 0.8)
    assert best["share"] == 0.5
    kept = sure >= best["confidence"]
    assert kept.sum() == 5
    assert scores.answered(scores.coverage(probabilities, 1 - labels * 0), 0.8) is None
