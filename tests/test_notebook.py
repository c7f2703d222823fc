"""The notebook runs from top to bottom in a clone."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from layouts import ROOT
from nbclient import NotebookClient


@pytest.mark.long
def test_tour_runs_from_top_to_bottom(tmp_path, monkeypatch):
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    monkeypatch.setenv("PYTHONPATH", str(clone))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"])
    notebook = nbformat.read(ROOT / "examples/tour.ipynb", as_version=4)
    options = {"metadata": {"path": str(clone / "examples")}}
    NotebookClient(notebook, timeout=600, resources=options).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    text = "".join(output.get("text", "") for output in outputs)
    assert "Surprise 96%" in text  # of the predictions
    assert "The model: models/tour/nano/fer.int8.onnx" in text
    assert "others: fer.int8.onnx: 100 faces" in text
    (table,) = [output["data"]["text/html"] for output in outputs if "text/html" in str(output)]
    assert table.count("<tr") == 1 + 2  # a header and two experiments
    report = (clone / "plots/tour/nano/report.html").read_text(encoding="utf-8")
    assert not re.search(r"\bnan\b", report.lower().replace("tour-nano", ""))
