"""Stage teach: where the teacher comes from."""

import json
from pathlib import Path

import pytest
import torch
from test_pipeline import ROOT, update

from fer.core.errors import FerError
from fer.core.faces import Faces
from fer.core.params import Model
from fer.data.fer2013 import CLASSES
from fer.training import model_file
from fer.training.networks import build
from stages import teach

TINY = Model(name="compact", width=0.1)


@pytest.fixture
def project(tmp_path, monkeypatch, faces):
    """Data and parameters without a teacher, in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    faces.save(Path("data/sample/train"))
    Faces(255 - faces.images, faces.labels, faces.classes).save(Path("data/sample/val"))
    return tmp_path


def save(path, classes):
    metadata = {"classes": classes, "dataset": "other", "scores": {}, "history": []}
    model_file.save(path, build(TINY, len(classes)), TINY, **metadata)


def test_teacher_from_a_file_is_its_copy_and_none_with_0_epochs(project, run_main):
    save(Path("mine.pt"), CLASSES)
    update(project, {"teach": {"file": "mine.pt", "epochs": 1}})
    assert run_main(teach.main)[0] == 0
    path = Path("models/sample/teacher/teacher.pt")
    assert path.read_bytes() == Path("mine.pt").read_bytes()
    report = json.loads(Path("metrics/sample/teach.json").read_text())
    assert report["model"] == TINY.model_dump()
    assert 0 <= report["val_damaged_accuracy"] <= 1
    teacher = model_file.load_teacher(Path("models/sample"), CLASSES)
    assert torch.equal(teacher.head.weight, model_file.load(path)[0].head.weight)
    update(project, {"teach": {"epochs": 0}})
    assert run_main(teach.main)[0] == 0
    assert model_file.load_teacher(Path("models/sample"), CLASSES) is None


@pytest.mark.parametrize(
    ("write", "problem"),
    [
        (lambda path: None, "no model here"),
        (lambda path: path.write_bytes(b"onnx"), "is not a file of PyTorch, or damaged"),
        (lambda path: save(path, CLASSES[:2]), "was trained on the classes Angry, Disgust"),
    ],
)
def test_file_that_cannot_teach_is_one_line_and_stays(project, write, problem):
    write(Path("mine.pt"))
    before = [path.read_bytes() for path in project.glob("mine.pt")]
    update(project, {"teach": {"file": "mine.pt", "epochs": 1}})
    message = rf"^teach\.file: mine\.pt: {problem}.*; name a model file such as"
    with pytest.raises(FerError, match=message):
        teach.main()
    assert [path.read_bytes() for path in project.glob("mine.pt")] == before
    assert not Path("models").exists()
