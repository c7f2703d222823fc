import pandas as pd
import pytest

from fer.report.headlines import steps

RUNTIMES = pd.DataFrame(
    {
        "runtime": ["ONNX Runtime, float32", "ONNX Runtime, int8"],
        "bytes": [216_000, 68_000],
        "val_accuracy": [0.5, 0.5],
    }
)


def results(winner, **accuracies):
    """Results of the stages with these test accuracies by model; averaging adds 0.02."""
    scores = {
        model: {"single_view": {"accuracy": value}, "flip_averaged": {"accuracy": value + 0.02}}
        for model, value in accuracies.items()
    }
    parameters = {"teacher": 1000, "baseline": 10, "tuned": 10}
    return {
        "evaluate": scores | {"faces": {"test": 400}, "parameters": parameters},
        "tune": {"winner": {"trial": winner}},
        "quantize": {"model": "tuned" if winner else "baseline"},
    }


def test_steps_gain_what_they_add_to_the_step_before():
    accuracies = {"teacher": 0.7, "baseline": 0.6, "tuned": 0.65, "float32": 0.65, "int8": 0.64}
    rows = steps(results(3, **accuracies), RUNTIMES)
    gains = [row["gain"] for row in rows]
    assert gains[:2] == [None, None]
    assert gains[2:] == pytest.approx([0.05, 0, -0.01, 0.02])
    assert [row["parameters"] for row in rows] == [1000, 10, 10, 10, 10, 10]
    assert [row["kB"] for row in rows] == [None, None, None, 216, 68, 68]
    assert rows[2]["step"] == "winner of the search"
    assert rows[-1]["test_accuracy"] == pytest.approx(0.66)


def test_without_a_teacher_the_baseline_comes_first():
    rows = steps(results(0, baseline=0.5, float32=0.5, int8=0.5), RUNTIMES)
    assert [row["step"] for row in rows[:2]] == [
        "baseline, kept by the search",
        "exported in float32",
    ]
    low, high = rows[0]["interval"]  # Wilson's is a little narrower than 1.96 standard errors
    assert (low, high) == pytest.approx((0.5 - 0.96 / 20, 0.5 + 0.96 / 20), abs=0.001)
