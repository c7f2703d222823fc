"""The commands `fer val` and `fer train`."""

import csv
import importlib.util
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer import Recognizer
from fer.cli import main, train
from fer.data.sample import draw_large
from fer.deploy import convert

ROOT = Path(__file__).parents[1]


@pytest.fixture
def run(run_main):
    return partial(run_main, main)


@pytest.fixture
def pictures(tmp_path):
    """A folder of 8 pictures in two classes, in another case than the model's."""
    for label in ("happy", "surprise"):
        (tmp_path / "pictures" / label).mkdir(parents=True)
        for number in range(4):
            picture = draw_large(label.capitalize(), np.random.default_rng(number))
            picture.save(tmp_path / "pictures" / label / f"{number}.png")
    return tmp_path / "pictures"


def test_help_shows_all_commands(run):
    _, out, _ = run("--help")
    for command in ("predict", "serve", "val", "train", "export"):
        assert f"\n    {command} " in out


def test_val_scores_a_folder(run, pictures, tmp_path):
    status, out, err = run("val", pictures, "--out", tmp_path / "out")
    assert (status, err) == (0, "")
    recognizer = Recognizer()
    files = sorted(pictures.rglob("*.png"))
    predicted = [recognizer.predict(path, face=True)[0].emotion for path in files]
    actual = [path.parent.name.capitalize() for path in files]
    correct = np.mean(np.array(predicted) == actual)
    assert f"accuracy {correct:.2%}, standard error" in out
    with (tmp_path / "out/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["prediction"] for row in rows] == predicted
    assert [row["class"] for row in rows] == actual
    assert rows[0]["picture"] == "happy/0.png"
    assert Image.open(tmp_path / "out/confusion.png").width > 300


def test_val_scores_the_test_split_of_a_csv(run, tmp_path):
    face = draw_large("Happy", np.random.default_rng(0)).resize((48, 48))
    pixels = " ".join(map(str, np.asarray(face).ravel()))
    rows = [f"{label},{pixels},Training" for label in range(7)]
    rows += [f"3,{pixels},PublicTest", f"3,{pixels},PrivateTest", f"4,{pixels},PrivateTest"]
    (tmp_path / "faces.csv").write_text("\n".join(["emotion,pixels,Usage", *rows, ""]))
    assert "faces.csv, test: fer.int8.onnx: 2 faces" in run("val", tmp_path / "faces.csv")[1]
    assert ": 7 faces" in run("val", tmp_path / "faces.csv", "--split", "train")[1]
    status, _, _ = run("val", tmp_path / "faces.csv", "--split", "none")
    assert "has no split none, only train, val, test; name another" in str(status)


def test_mistakes_are_a_sheet(run, pictures, tmp_path):
    (pictures / "happy").rename(pictures / "sad")
    status, _, _ = run("val", pictures, "--out", tmp_path / "out")
    assert status == 0
    assert Image.open(tmp_path / "out/mistakes.png").width > 500


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (lambda p: None, ("none",), "none: no such file or folder; check the name"),
        (lambda p: (p / "happy").rename(p / "joy"), (), "the model knows no joy, only Angry, "),
        (lambda p: [f.unlink() for f in p.rglob("*.png")], (), "holds no data"),
        (lambda p: None, ("--model", "none.onnx"), "none.onnx: no model here"),
        (lambda p: None, ("--out", "pictures/out"), "is the folder with the pictures"),
        (lambda p: None, ("--split", "test"), "pictures: has no splits; leave out --split"),
        (
            lambda p: [d.rename(p / str(n)) for n, d in enumerate(sorted(p.iterdir()))],
            *(
                (),
                "the classes are numbers; name them in a file classes.txt there",
            ),
        ),
    ],
)
def test_bad_input_of_val_is_one_line(run, pictures, monkeypatch, change, arguments, message):
    monkeypatch.chdir(pictures.parent)
    change(pictures)
    source = () if arguments[:1] == ("none",) else ("pictures",)
    status, _, err = run("val", *source, *arguments)
    assert message in str(status)
    assert "\n" not in str(status)
    assert err == ""


def test_val_never_replaces_its_input(run, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    face = draw_large("Happy", np.random.default_rng(0)).resize((48, 48))
    pixels = " ".join(map(str, np.asarray(face).ravel()))
    rows = [f"{label},{pixels}" for label in range(7)]
    (folder / "predictions.csv").write_text("\n".join(["emotion,pixels", *rows, ""]))
    before = (folder / "predictions.csv").read_bytes()
    status, _, _ = run("val", folder / "predictions.csv", "--out", folder)
    assert "is the folder with the pictures; name another place" in str(status)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/predictions.csv").hardlink_to(folder / "predictions.csv")
    status, _, _ = run("val", folder / "predictions.csv", "--out", tmp_path / "out")
    assert "is an input, and is not overwritten" in str(status)
    assert (folder / "predictions.csv").read_bytes() == before
    assert run("val", folder / "predictions.csv", "--out", tmp_path / "new")[0] == 0


def test_val_scores_what_could_not_be_trained_on(run, pictures, tmp_path):
    """One class, no train, and a class that train lacks."""
    shutil.copytree(pictures / "happy", tmp_path / "set/test/ Happy ")
    assert "set, test: " in run("val", tmp_path / "set")[1]
    shutil.copytree(pictures / "happy", tmp_path / "set/train/sad")
    assert "set, test: " in run("val", tmp_path / "set")[1]
    assert "accuracy" in run("val", tmp_path / "set/test")[1]


def test_val_writes_beside_the_folder(run, pictures):
    assert run("val", pictures, "--out", pictures.parent)[0] == 0
    assert (pictures.parent / "predictions.csv").exists()
    table = pictures / "faces.csv"
    table.write_text("path,label\nhappy/0.png,happy\nsurprise/0.png,surprise\n")
    status, _, _ = run("val", table, "--out", pictures)
    assert "is the folder with the pictures" in str(status)
    assert not (pictures / "predictions.csv").exists()


def test_val_never_replaces_a_picture(run, pictures, tmp_path):
    picture = pictures / "happy" / "confusion.png"
    (pictures / "happy/0.png").rename(picture)
    content = picture.read_bytes()
    files = [path.relative_to(pictures).as_posix() for path in sorted(pictures.rglob("*.png"))]
    rows = ["path,label", *(f"{file},{file.partition('/')[0]}" for file in files)]
    (pictures / "faces.csv").write_text("\n".join(rows))
    status, _, _ = run("val", pictures / "faces.csv", "--out", pictures / "happy")
    assert "confusion.png: is an input, and is not overwritten" in str(status)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/Happy").symlink_to(pictures / "happy")
    status, _, _ = run("val", tmp_path / "linked", "--out", pictures / "happy")
    assert "confusion.png: is an input, and is not overwritten" in str(status)
    assert picture.read_bytes() == content


@pytest.mark.parametrize("labels", [(3, 3), (0, 1, 2), (0,)])
def test_val_scores_some_numbered_classes_of_the_model(run, tmp_path, labels):
    face = draw_large("Happy", np.random.default_rng(0)).resize((48, 48))
    pixels = " ".join(map(str, np.asarray(face).ravel()))
    rows = [f"{label},{pixels}" for label in labels]
    (tmp_path / "faces.csv").write_text("emotion,pixels\n" + "\n".join(rows))
    assert "classes.txt" in str(run("val", tmp_path / "faces.csv")[0])
    (tmp_path / "classes.txt").write_text("\n".join(Recognizer().classes))
    status, out, _ = run("val", tmp_path / "faces.csv")
    assert status == 0
    assert f"{len(labels)} faces" in out


def test_val_scores_a_table_of_files(run, pictures):
    files = [path.relative_to(pictures).as_posix() for path in sorted(pictures.rglob("*.png"))]
    rows = ["path,label", *(f"{file},{file.partition('/')[0]}" for file in files)]
    (pictures / "table.csv").write_text("\n".join(rows))
    assert f": {len(files)} faces" in run("val", pictures / "table.csv")[1]


def test_broken_pictures_are_left_out(run, pictures):
    (pictures / "happy/broken.png").write_bytes(b"no picture")
    status, out, _ = run("val", pictures)
    assert status == 0
    assert "left out: 1 " in out
    assert ": 8 faces" in out


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder that looks like a clone, with DVC replaced by a list of its commands."""
    (tmp_path / "clone").mkdir()
    (tmp_path / "clone/dvc.yaml").touch()
    monkeypatch.chdir(tmp_path / "clone")
    commands = []

    def record(command, cwd):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(train.subprocess, "run", record)
    return commands


def test_train_links_the_folder_and_runs_the_pipeline(run, pictures, clone):
    pictures = pictures.rename(pictures.parent / "My pictures")
    status, out, _ = run("train", pictures, "-S", "train.seed=1")
    assert status == 0
    (command,) = clone
    assert command[1:] == [
        *("-m", "dvc", "exp", "run", "-S", "dataset=my-pictures", "-S", "train.seed=1")
    ]
    linked = sorted(Path("data/raw/my-pictures").rglob("*.png"))
    assert [path.resolve() for path in linked] == sorted(pictures.rglob("*.png"))
    assert "models/my-pictures/fer.int8.onnx" in out
    (pictures / "happy/0.png").unlink()
    (pictures / "happy/1.png").rename(pictures / "happy/9.png")
    assert run("train", pictures)[0] == 0  # again
    linked = {path.resolve() for path in Path("data/raw/my-pictures").rglob("*.png")}
    assert linked == set(pictures.rglob("*.png"))


def test_train_on_a_folder_that_was_moved(run, pictures, clone, tmp_path):
    assert run("train", pictures)[0] == 0
    (tmp_path / "elsewhere").mkdir()
    moved = pictures.rename(tmp_path / "elsewhere/pictures")
    assert run("train", moved)[0] == 0
    linked = {path.resolve() for path in Path("data/raw/pictures").rglob("*.png")}
    assert linked == set(moved.rglob("*.png"))


def test_train_leaves_links_of_the_user(run, pictures, clone):
    own = Path("data/raw/pictures/happy")
    own.mkdir(parents=True)
    (own / "mine.png").symlink_to("/nowhere/1.png")
    assert "exists; rename" in str(run("train", pictures)[0])
    assert run("train", Path("data/raw/pictures"))[0] == 0  # in place
    assert (own / "mine.png").is_symlink()


def test_train_leaves_copies_and_linked_folders_of_the_user(run, pictures, clone, tmp_path):
    shutil.copytree(pictures, "data/raw/pictures")
    assert "exists; rename" in str(run("train", pictures)[0])
    assert not any(path.is_symlink() for path in Path("data/raw").rglob("*"))
    shutil.rmtree("data/raw/pictures")
    assert run("train", pictures)[0] == 0
    (tmp_path / "other").mkdir()
    Path("data/raw/pictures/other").symlink_to(tmp_path / "other")
    assert "exists; rename" in str(run("train", pictures)[0])
    assert Path("data/raw/pictures/happy/0.png").exists()


def test_train_again_on_a_folder_with_links(run, pictures, clone, tmp_path):
    other = (pictures / "happy/0.png").rename(tmp_path / "other.png")
    (pictures / "happy/0.png").symlink_to(other)
    assert run("train", pictures)[0] == 0
    assert run("train", pictures)[0] == 0
    assert other.is_file()


def test_train_refuses_another_data_set(run, pictures, clone):
    assert "-S dataset: follows" in str(run("train", pictures, "-S", "dataset=other")[0])


@pytest.mark.parametrize(
    "name", ["nan", "sample", "scratch", "default", "null", "1e3", "001", "yes", "---"]
)
def test_names_that_no_data_set_can_have(run, pictures, clone, name):
    folder = pictures.rename(pictures.parent / name)
    assert "as a data set; rename the folder" in str(run("train", folder)[0])
    assert not Path("data").exists()
    assert clone == []


def test_bad_input_of_train_is_one_line(run, pictures, clone, tmp_path, monkeypatch):
    assert "no such folder; check the name" in str(run("train", tmp_path / "none")[0])
    Path("data/raw/pictures").mkdir(parents=True)
    Path("data/raw/pictures/mine.csv").touch()
    assert "exists; rename" in str(run("train", pictures)[0])
    monkeypatch.chdir(tmp_path)
    assert "runs in a clone of fer-pipeline" in str(run("train", pictures)[0])
    assert clone == []


MODELS = ROOT / "models/fer2013"


@pytest.mark.parametrize(
    ("model", "kind", "name"),
    [
        ("baseline.pt", "onnx", "m.onnx"),
        ("baseline.pt", "onnx", "model.onnx"),
        ("baseline.pt", "openvino", "m.xml"),
        ("fer.int8.onnx", "openvino", "m.xml"),
        ("baseline.pt", "torchscript", "m.torchscript"),
        pytest.param(
            *("baseline.pt", "litert", "m.tflite"),
            marks=pytest.mark.skipif(
                importlib.util.find_spec("litert_torch") is None, reason="needs litert-torch"
            ),
        ),
    ],
)
def test_export_keeps_what_predicts_the_same(run, tmp_path, model, kind, name):
    status, out, err = run("export", MODELS / model, "--format", kind, "--out", tmp_path / name)
    assert (status, err) == (0, "")
    assert float(out.split("at most ")[1].split()[0]) < 0.02
    files = {path.name for path in tmp_path.iterdir()}
    assert files == ({"m.xml", "m.bin"} if kind == "openvino" else {name})


def test_exported_onnx_is_a_model_of_the_recognizer(run, tmp_path):
    run("export", MODELS / "baseline.pt", "--format", "onnx", "--out", tmp_path / "m.onnx")
    faces = np.random.default_rng(0).integers(0, 256, (4, 48, 48), np.uint8)
    difference = Recognizer(tmp_path / "m.onnx").classify(faces) - Recognizer("float32").classify(
        faces
    )
    assert np.abs(difference).max() < 1e-4


def test_export_without_its_package_is_one_line(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "litert_torch", None)  # which makes its import fail
    target = tmp_path / "m.tflite"
    status, _, err = run("export", MODELS / "baseline.pt", "--format", "litert", "--out", target)
    assert (status, err) == ("error: litert needs litert-torch; pip install litert-torch", "")
    assert list(tmp_path.iterdir()) == []


def test_export_that_differs_is_not_kept(run, tmp_path, monkeypatch):
    (tmp_path / "m.xml").write_text("of before")
    suffix, write, _ = convert.FORMATS["openvino"]
    other = np.full((64, 7), 1 / 7, np.float32)
    monkeypatch.setitem(convert.FORMATS, "openvino", (suffix, write, lambda path, faces: other))
    status, _, _ = run(
        "export", MODELS / "baseline.pt", "--format", "openvino", "--out", tmp_path / "m.xml"
    )
    assert "is not kept: its probabilities differ by" in str(status)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["of before"]


@pytest.mark.parametrize(
    ("model", "kind", "name", "message"),
    [
        ("none.pt", "onnx", "m.onnx", "no model here"),
        ("baseline.pt", "onnx", "m.xml", "is no name for onnx; use the suffix .onnx"),
        ("fer.onnx", "torchscript", "m.torchscript", "needs a PyTorch file of the pipeline"),
        ("../../README.md", "onnx", "m.onnx", "needs a PyTorch file of the pipeline"),
        ("broken.onnx", "openvino", "m.xml", "is not a model that ONNX Runtime can read"),
        ("broken.pt", "torchscript", "m.torchscript", "is not a file of PyTorch"),
    ],
)
def test_bad_input_of_export_is_one_line(
    run, tmp_path, tmp_path_factory, model, kind, name, message
):
    path = MODELS / model
    if "broken" in model:
        path = tmp_path_factory.mktemp("models") / model
        path.write_bytes(b"text")
    status, _, err = run("export", path, "--format", kind, "--out", tmp_path / name)
    assert message in str(status)
    assert "\n" not in str(status)
    assert err == ""
    assert list(tmp_path.iterdir()) == []
