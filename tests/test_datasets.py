"""A user's own faces until a model is trained, with `dataset` as the only parameter to change."""

import shutil

import layouts
import pytest
from test_pipeline import ROOT, TINY, new_project
from test_user_data import dvc, git

from fer.core import faces

pytestmark = pytest.mark.slow

CHANGES = TINY | {"settings": {"wandb": "disabled"}}
FER2013 = "models/fer2013/nano/baseline.pt"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = new_project(tmp_path_factory.mktemp("own"), CHANGES)
    (folder / FER2013).parent.mkdir(parents=True)
    shutil.copy(ROOT / FER2013, folder / FER2013)
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    return folder


@pytest.mark.parametrize(
    ("dataset", "write", "classes", "options"),
    [
        # From the weights of a model whose head does not fit.
        ("nine", layouts.nine_classes, 9, ("-S", f"train.init={FER2013}", "train@nine-nano")),
        ("ferplus", layouts.ferplus, 8, ("-S", "prepare.votes=soft", "train@ferplus-nano")),
    ],
)
def test_own_faces_give_a_model_of_their_classes(project, dataset, write, classes, options):
    raw = project / "data/raw" / dataset
    write(raw)
    before = layouts.contents(raw)
    message = dvc(project, "exp", "run", "-S", f"dataset={dataset}", *options)
    ran = [line for line in message.splitlines() if line.startswith("Running stage")]
    stages = f"prepare@{dataset}", f"train@{dataset}-nano"
    assert ran == [f"Running stage '{stage}':" for stage in stages]
    if dataset == "nine":
        assert "all weights except the head, which is new for 9 classes" in message
    assert layouts.contents(raw) == before

    names = faces.load(project / "data" / dataset / "train").classes
    assert len(names) == classes
    for split in ("train", "val", "test"):
        count = len(faces.load(project / "data" / dataset / split))
        rows = (project / "data" / dataset / split / "pictures.csv").read_text(encoding="utf-8")
        assert len(rows.splitlines()) == count + 1
