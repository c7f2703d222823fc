"""The script that trains several sizes, on a few faces with tiny networks."""

from pathlib import Path

import pytest
import torch

from fer import Recognizer
from fer.core import params
from fer.core.errors import FerError
from fer.core.faces import Faces
from fer.training import model_file
from fer.training.networks import build
from scripts import family

CPU = torch.device("cpu")
PARAMS = params.load(Path(__file__).parents[1] / "params.yaml")


@pytest.fixture
def fer2013(faces, tmp_path, monkeypatch):
    """A folder with FER2013's splits of a few faces, and plans of two epochs."""
    others = Faces(255 - faces.images, faces.labels, faces.classes)
    for split, content in (("train", faces), ("val", others), ("test", others)):
        content.save(tmp_path / "data" / "fer2013" / split)
    monkeypatch.chdir(tmp_path)
    tiny = {"model.width": 0.1, "train.input_sizes": [44]}
    monkeypatch.setattr(family, "TEACHERS", {"vgg": family.Plan(2, tiny)})
    monkeypatch.setattr(family, "STUDENTS", {"small": family.Plan(2, tiny)})
    monkeypatch.setattr(family, "RELEASED", ("small",))
    return tmp_path


def test_teacher_student_and_release(fer2013):
    (teacher,) = family.teacher_jobs(PARAMS)
    family.train(teacher, CPU)
    content = teacher.path.read_bytes()
    family.train(teacher, CPU)  # a finished training is not repeated
    assert teacher.path.read_bytes() == content
    (student,) = family.student_jobs(PARAMS, 0)
    _, metadata = model_file.load(family.train(student, CPU))
    assert metadata["scores"].keys() >= {"val_accuracy", "val_unseen_accuracy"}
    assert not [*Path(".checkpoints").glob("*.ckpt")]  # finished trainings leave none

    checkpoint_of_nano = Path("models/fer2013/baseline.pt")
    checkpoint_of_nano.write_bytes(student.path.read_bytes())
    root = Path(__file__).parents[1] / "models" / "fer2013"
    for name in ("fer.onnx", "fer.int8.onnx"):
        Path("models/fer2013", name).write_bytes((root / name).read_bytes())
    family.release(PARAMS, 0)
    recognizer = Recognizer(Path("fer/weights/small.int8.onnx"))
    assert recognizer.metadata["model"] == "small"
    ensemble = Recognizer(Path("fer/weights/large.int8.onnx"))
    assert ensemble.metadata["model"] == "large"
    rows = Path("plots/fer2013/family.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["model", "nano", "small", "large"]


def test_students_without_teachers_are_refused_in_one_line(fer2013):
    with pytest.raises(FerError, match="no model here; run python"):
        family.student_jobs(PARAMS, 0)


def test_ensemble_is_the_mean_over_networks_and_mirror_images():
    networks = [build(PARAMS.model, 7).eval() for _ in range(2)]
    images = torch.rand(3, 1, 44, 44)
    ensemble = family.Ensemble(networks).eval()
    with torch.inference_mode():
        expected = [network(view) for network in networks for view in (images, images.flip(3))]
        maps = [network.maps(images) for network in networks]
        torch.testing.assert_close(ensemble(images), torch.stack(expected).mean(0))
        torch.testing.assert_close(ensemble.maps(images), torch.stack(maps).mean(0))
