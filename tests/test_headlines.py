import pandas as pd
import pytest
from layouts import ROOT

from fer.report import page
from fer.report.headlines import steps
from fer.report.read import read_json, read_table
from stages.report import STAGES, TIMED

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
    parameters = {"baseline": 10, "tuned": 10}
    return {
        "evaluate": scores | {"faces": {"test": 400}, "parameters": parameters},
        "tune": {"winner": {"trial": winner}},
        "quantize": {"model": "tuned" if winner else "baseline"},
    }


def test_steps_gain_what_they_add_to_the_step_before():
    accuracies = {"baseline": 0.6, "tuned": 0.65, "float32": 0.65, "int8": 0.64}
    rows = steps(results(3, **accuracies), RUNTIMES)
    gains = [row["gain"] for row in rows]
    assert gains[0] is None
    assert gains[1:] == pytest.approx([0.05, 0, -0.01, 0.02])
    assert [row["parameters"] for row in rows] == [10] * 5
    assert [row["kB"] for row in rows] == [None, None, 216, 68, 68]
    assert rows[1]["step"] == "winner of the search"
    assert rows[-1]["test_accuracy"] == pytest.approx(0.66)


def test_baseline_comes_first():
    rows = steps(results(0, baseline=0.5, float32=0.5, int8=0.5), RUNTIMES)
    assert [row["step"] for row in rows[:2]] == [
        "baseline, kept by the search",
        "exported in float32",
    ]
    low, high = rows[0]["interval"]  # Wilson's is a little narrower than 1.96 standard errors
    assert (low, high) == pytest.approx((0.5 - 0.96 / 20, 0.5 + 0.96 / 20), abs=0.001)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"off": "40 different training faces show no gain below 22%"},
            "search is off, because 40",
        ),
        ({"trials": {"complete": 9, "diverged": 0}}, "9 trials do not show which parameter"),
        ({"trials": {"complete": 10, "diverged": 0}}, "The search keeps"),
    ],
)
def test_report_says_what_a_search_cannot_show(tmp_path, changes, expected):
    root = ROOT
    metrics, plots = root / "metrics/sample/nano", root / "plots/sample/nano"
    results = {stage: read_json(metrics / f"{stage}.json") for stage in STAGES}
    results["prepare"] = read_json(metrics.parent / "prepare.json")
    timings = {stage: read_json(metrics / f"timings/{stage}.json") for stage in TIMED}
    timings["benchmark"] = read_json(metrics.parent / "timings/benchmark.json")
    quantize, runtimes = (read_table(plots / f"{name}.csv") for name in ("quantize", "runtimes"))
    results["tune"] |= changes
    rows = steps(results, quantize)
    tables = {"runtimes": quantize.merge(runtimes, on="runtime"), "suspects": pd.DataFrame()}
    tables["classes"] = read_table(plots / "per_class.csv")
    tables["counts"] = read_table(plots.parent / "classes.csv")
    tables["loading"] = read_table(plots.parent / "benchmark.csv")
    tables["coverage"] = read_table(plots / "coverage.csv")
    page.write(tmp_path / "x.html", "mine", "nano", rows, results, timings, tables)
    text = (tmp_path / "x.html").read_text()
    assert expected in text
    assert ("trials.png" in text) == ("off" not in changes)
    assert ("which parameter matters" in text) == ("9 trials" in expected)
    assert any("kept by the search" in row["step"] for row in rows) == ("off" not in changes)
