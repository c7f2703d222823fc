"""A user's own faces through the whole pipeline, with `dataset` as the only parameter to change."""

import json
import shutil

import layouts
import numpy as np
import pytest
from PIL import Image
from test_pipeline import ROOT, TINY, new_project, run
from test_user_data import dvc, git

from fer.core import faces
from fer.data.sample import draw

pytestmark = pytest.mark.slow

CHANGES = TINY | {"teach": TINY["teach"] | {"epochs": 0}, "settings": {"wandb": "disabled"}}
STAGES = ("prepare", "benchmark", "teach", "train", "tune", "quantize", "evaluate", "report")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = new_project(tmp_path_factory.mktemp("own"), CHANGES)
    shutil.copytree(ROOT / ".dvc/plots", folder / ".dvc/plots")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    return folder


def emotions(project, dataset):
    """The probabilities that the command line prints for a picture of one face."""
    photo = project / "photo.png"
    Image.fromarray(draw("Happy", np.random.default_rng(0))).save(photo)
    model = f"models/{dataset}/fer.int8.onnx"
    result = run(project, "fer", "predict", "--face", "--json", "--model", model, str(photo))
    assert result.returncode == 0, result.stderr
    (face,) = json.loads(result.stdout)["faces"]
    assert face["emotion"] == max(face["probabilities"], key=face["probabilities"].get)
    return face["probabilities"]


@pytest.mark.parametrize(
    ("dataset", "write", "classes", "options"),
    [
        ("two", layouts.two_classes, 2, ()),
        # From the weights of the data set before it, whose head does not fit.
        ("nine", layouts.nine_classes, 9, ("-S", "train.init=models/two/baseline.pt")),
        ("rafdb", layouts.rafdb, 7, ("-S", "train.init=models/scratch")),
        ("ferplus", layouts.ferplus, 8, ("-S", "prepare.votes=soft")),
    ],
)
def test_own_faces_give_a_model_of_their_classes(project, dataset, write, classes, options):
    raw = project / "data/raw" / dataset
    write(raw)
    before = layouts.contents(raw)
    message = dvc(project, "exp", "run", "-S", f"dataset={dataset}", *options)
    ran = [line for line in message.splitlines() if line.startswith("Running stage")]
    assert ran == [f"Running stage '{stage}@{dataset}':" for stage in STAGES]
    if dataset == "nine":
        assert "all weights except the head, which is new for 9 classes" in message
    assert layouts.contents(raw) == before

    names = faces.load(project / "data" / dataset / "train").classes
    assert len(names) == classes
    assert f"metrics/headlines/{dataset}.json" in dvc(project, "metrics", "show")
    assert "test_int8" in dvc(project, "metrics", "diff")
    dvc(project, "plots", "show")
    page = (project / "plots" / dataset / "report.html").read_text(encoding="utf-8")
    assert "nan" not in page.lower()
    for split in ("train", "val", "test"):
        count = len(faces.load(project / "data" / dataset / split))
        rows = (project / "data" / dataset / split / "pictures.csv").read_text(encoding="utf-8")
        assert len(rows.splitlines()) == count + 1

    assert tuple(emotions(project, dataset)) == names


def test_again_is_up_to_date(project):
    assert "Data and pipelines are up to date." in run(project, "dvc", "repro").stdout
