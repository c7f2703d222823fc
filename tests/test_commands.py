"""The commands `fer val`, `fer train` and `fer export`."""

import csv
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer import Recognizer
from fer.cli import main, train
from fer.core import files
from fer.data.sample import ACTION_UNITS, draw, draw_large
from fer.deploy import convert, export, runtimes
from fer.training import model_file

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


def write_pixels(path, labels, usages=None):
    """Write a CSV as that of FER2013, in which each row has the same face."""
    face = draw_large("Happy", np.random.default_rng(0)).resize((48, 48))
    pixels = " ".join(map(str, np.asarray(face).ravel()))
    rows = [f"{label},{pixels}" for label in labels]
    header = "emotion,pixels"
    if usages:
        header += ",Usage"
        rows = [f"{row},{usage}" for row, usage in zip(rows, usages, strict=True)]
    path.write_text("\n".join([header, *rows, ""]))
    return path


def write_table(pictures):
    """Write a table of the pictures in a folder into it."""
    files = [path.relative_to(pictures).as_posix() for path in sorted(pictures.rglob("*.png"))]
    rows = [f"{file},{file.partition('/')[0]}" for file in files]
    (pictures / "table.csv").write_text("\n".join(["path,label", *rows]))
    return pictures / "table.csv"


def test_help_shows_all_commands(run):
    _, out, _ = run("--help")
    for command in ("predict", "serve", "val", "train", "export"):
        assert f"\n    {command} " in out


@pytest.mark.parametrize(
    ("command", "package"),
    [
        (("val", "x"), "pydantic"),
        (("train", "x"), "ruamel.yaml"),
        (("export", "x.pt", "--format", "onnx", "--out", "x.onnx"), "torch"),
    ],
)
def test_missing_package_is_one_line(command, package):
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"  # which makes its import fail
        "from fer.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True)
    message = f"this command needs {package}; pip install 'fer-pipeline[train]'"
    assert (done.returncode, done.stderr) == (1, f"error: {message}\n")


def test_val_scores_a_folder(run, pictures, tmp_path):
    (pictures / "happy/broken.png").write_bytes(b"no picture")
    status, out, err = run("val", pictures, "--out", tmp_path / "out")
    assert (status, err) == (0, "")
    assert "left out: 1 " in out
    assert "pictures: nano.int8.onnx: 8 faces" in out
    (pictures / "happy/broken.png").unlink()
    recognizer = Recognizer()
    files = sorted(pictures.rglob("*.png"))
    predicted = [recognizer.predict(path, face=True)[0].emotion for path in files]
    actual = [path.parent.name.capitalize() for path in files]
    correct = np.mean(np.array(predicted) == actual)
    assert f"accuracy {correct:.2%}, 95 % interval" in out
    with (tmp_path / "out/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["prediction"] for row in rows] == predicted
    assert [row["class"] for row in rows] == actual
    assert rows[0]["picture"] == "happy/0.png"
    assert Image.open(tmp_path / "out/confusion.png").width > 300


def test_val_scores_the_test_split_of_a_csv(run, tmp_path):
    usages = [*["Training"] * 7, "PublicTest", "PrivateTest", "PrivateTest"]
    path = write_pixels(tmp_path / "faces.csv", [*range(7), 3, 3, 4], usages)
    assert "faces.csv, test: nano.int8.onnx: 2 faces" in run("val", path)[1]
    assert ": 7 faces" in run("val", path, "--split", "train")[1]
    status, _, _ = run("val", path, "--split", "none")
    assert "has no split none, only train, val, test; leave out --split" in str(status)


def test_bad_input_of_val_is_one_line(run, pictures):
    def error(*arguments):
        status, _, err = run("val", *arguments)
        assert (err, "\n" in status) == ("", False)
        return status

    assert "none: no such file or folder; check the name" in error(pictures.parent / "none")
    assert "none.onnx: no model here" in error(pictures, "--model", "none.onnx")
    assert "is the folder with the pictures" in error(pictures, "--out", pictures / "out")
    assert "has no split test, only unsplit; leave out" in error(pictures, "--split", "test")
    (pictures / "happy").rename(pictures / "joy")
    assert "the model knows no joy, only Angry, " in error(pictures)
    for file in pictures.rglob("*.png"):
        file.unlink()
    assert "holds no data" in error(pictures)


def test_val_never_replaces_its_input(run, pictures, tmp_path):
    (tmp_path / "mine").mkdir()
    path = write_pixels(tmp_path / "mine/predictions.csv", range(7))
    before = path.read_bytes()
    status, _, _ = run("val", path, "--out", path.parent)
    assert "is the folder with the pictures; name another place" in str(status)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/predictions.csv").hardlink_to(path)
    status, _, _ = run("val", path, "--out", tmp_path / "out")
    assert "may be one of the inputs" in str(status)
    assert path.read_bytes() == before
    assert run("val", path, "--out", tmp_path / "new")[0] == 0
    assert ": 8 faces" in run("val", write_table(pictures), "--out", tmp_path)[1]  # beside it
    assert (tmp_path / "predictions.csv").exists()

    picture = (pictures / "happy/0.png").rename(pictures / "happy/confusion.png")
    before = picture.read_bytes()
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/Happy").symlink_to(pictures / "happy")
    for source in (write_table(pictures), tmp_path / "linked"):
        status, _, _ = run("val", source, "--out", pictures / "happy")
        assert "confusion.png: may be one of the inputs" in str(status)
    assert picture.read_bytes() == before


def test_val_scores_what_could_not_be_trained_on(run, pictures, tmp_path):
    """One class, no train, a class that train lacks, and some numbers among the classes."""
    shutil.copytree(pictures / "happy", tmp_path / "set/test/ Happy ")
    assert "set, test: " in run("val", tmp_path / "set")[1]
    shutil.copytree(pictures / "happy", tmp_path / "set/train/sad")
    assert "set, test: " in run("val", tmp_path / "set")[1]
    assert "accuracy" in run("val", tmp_path / "set/test")[1]
    (tmp_path / "classes.txt").write_text("\n".join(Recognizer().classes))
    for labels in ((3, 3), (0, 1, 2), (0,)):
        path = write_pixels(tmp_path / "faces.csv", labels)
        assert f"{len(labels)} faces" in run("val", path)[1]


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder that looks like a clone, with DVC replaced by a list of its commands."""
    (tmp_path / "clone").mkdir()
    (tmp_path / "clone/dvc.yaml").touch()
    shutil.copy(ROOT / "params.yaml", tmp_path / "clone")
    monkeypatch.chdir(tmp_path / "clone")
    commands = []

    def record(command, root):
        commands.append(command)
        path = root / "params.yaml"
        path.write_text(path.read_text().replace("size: nano", "size: small"))  # as DVC does
        (dataset,) = (part.partition("=")[2] for part in command if part.startswith("dataset="))
        files.write_table(
            Path("data", dataset, "small/suspects.csv"), ["picture"], [["happy/1.png"]]
        )
        scores = {"faces": {"test": 50}, "int8": {"flip_averaged": {"accuracy": 0.9}}}
        files.write_json(Path("metrics", dataset, "small/evaluate.json"), scores)
        return 0

    monkeypatch.setattr(train, "_run_to_its_end", record)
    monkeypatch.setattr(train, "_commit", lambda root, link: None)
    return commands


def linked(name):
    """Return the pictures to which those of a data set are linked."""
    return {path.resolve() for path in Path("data/raw", name).rglob("*.png")}


def test_train_links_the_folder_and_runs_the_pipeline(run, pictures, clone, tmp_path):
    pictures = pictures.rename(pictures.parent / "My pictures")
    status, out, _ = run("train", pictures, "-S", "train.seed=1")
    assert status == 0
    (command,) = clone
    assert command[1:] == [
        *("-m", "dvc", "exp", "run", "-S", "dataset=my-pictures", "-S", "train.seed=1")
    ]
    assert linked("my-pictures") == set(pictures.rglob("*.png"))
    assert out.splitlines()[-4:] == [
        "Accuracy on 50 test faces: 90.0% (95 % interval: 78.6% to 95.7%)",
        "The model: models/my-pictures/small/fer.int8.onnx",
        "The report: plots/my-pictures/small/report.html",
        "1 picture looks mislabelled: plots/my-pictures/small/report.html",
    ]
    assert Path("params.yaml").read_bytes() == (ROOT / "params.yaml").read_bytes()
    (pictures / "happy/0.png").unlink()
    (pictures / "happy/1.png").rename(pictures / "happy/9.png")
    assert run("train", pictures)[0] == 0  # again
    assert linked("my-pictures") == set(pictures.rglob("*.png"))
    (tmp_path / "elsewhere").mkdir()
    moved = pictures.rename(tmp_path / "elsewhere/My pictures")
    assert run("train", moved)[0] == 0
    assert linked("my-pictures") == set(moved.rglob("*.png"))


def test_train_leaves_links_and_copies_of_the_user(run, pictures, clone, tmp_path):
    other = (pictures / "happy/0.png").rename(tmp_path / "other.png")
    (pictures / "happy/0.png").symlink_to(other)
    for _ in range(2):
        assert run("train", pictures)[0] == 0
    assert other.is_file()
    Path("data/raw/pictures").unlink()
    own = Path("data/raw/pictures/happy")
    own.mkdir(parents=True)
    (own / "mine.png").symlink_to("/nowhere/1.png")
    assert "exists; rename" in str(run("train", pictures)[0])
    assert run("train", Path("data/raw/pictures"))[0] == 0  # in place
    assert (own / "mine.png").is_symlink()
    shutil.rmtree("data/raw/pictures")
    shutil.copytree(pictures, "data/raw/pictures")
    assert "exists; rename" in str(run("train", pictures)[0])
    assert not any(path.is_symlink() for path in Path("data/raw").rglob("*"))
    shutil.rmtree("data/raw/pictures")
    shutil.copytree(pictures, tmp_path / "other")
    Path("data/raw/pictures").symlink_to(tmp_path / "other")
    assert "exists; rename" in str(run("train", pictures)[0])
    assert Path("data/raw/pictures").resolve() == tmp_path / "other"


DVC = """
import signal, subprocess, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)  # while a stage runs
stage = [sys.executable, "-c", "print('begun', flush=True); import time; time.sleep(99)"]
status = subprocess.call([*stage, "stages.train"])
print("stage ended", status, flush=True)
"""
STOPPED = """
import sys
from pathlib import Path
from fer.cli import train
sys.exit(train._run_to_its_end([sys.executable, "-c", sys.argv[1]], Path.cwd()))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_train_ends_the_stage_and_lets_dvc_end_by_itself(number):
    command = [sys.executable, "-c", STOPPED, DVC]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        assert process.stdout.read() == f"stage ended -{int(signal.SIGTERM)}\n"
    assert process.returncode == 128 + number


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz", ".CSV"])
def test_train_on_a_file(run, clone, tmp_path, suffix):
    path = tmp_path / f"My faces{suffix}"
    path.touch()
    status, out, err = run("train", path)
    assert (status, err) == (0, "")
    assert "dataset=my-faces" in clone[0]
    assert "models/my-faces/small/fer.int8.onnx" in out
    assert Path("data/raw/my-faces", path.name).resolve() == path


@pytest.mark.parametrize(
    "name", ["nan", "sample", "speeds", "default", "null", "1e3", "001", "yes", "---"]
)
def test_names_that_no_data_set_can_have(run, pictures, clone, name):
    folder = pictures.rename(pictures.parent / name)
    assert "as a data set; rename it" in str(run("train", folder)[0])
    assert not Path("data").exists()
    assert clone == []


def test_bad_input_of_train_is_one_line(run, pictures, clone, tmp_path, monkeypatch):
    assert "no such file or folder; check the name" in str(run("train", tmp_path / "none")[0])
    assert "-S dataset: follows" in str(run("train", pictures, "-S", "dataset=other")[0])
    Path("data/raw/pictures").mkdir(parents=True)
    Path("data/raw/pictures/mine.csv").touch()
    assert "exists; rename" in str(run("train", pictures)[0])
    monkeypatch.chdir(tmp_path)
    assert "runs in a clone of fer-pipeline" in str(run("train", pictures)[0])
    assert clone == []


MODELS = ROOT / "models/fer2013/nano"


@pytest.fixture(scope="module")
def uncalibrated(tmp_path_factory):
    """An ONNX file of baseline.pt, which has no temperature, unlike fer.onnx."""
    path = tmp_path_factory.mktemp("uncalibrated") / "fer.onnx"
    export.export(path, model_file.load(MODELS / "baseline.pt")[0])
    return path


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("model", [str(MODELS / "baseline.pt"), "nano"])
def test_export_to_onnx_predicts_the_same(run, faces, tmp_path, uncalibrated, model, flip):
    path = tmp_path / "m.onnx"
    options = ["--flip"] if flip else []
    status, out, err = run("export", model, "--format", "onnx", "--out", path, *options)
    assert (status, err) == (0, "")
    assert float(out.split("at most ")[1].split()[0]) < 1e-3
    assert ("sees one view of a face; --flip averages over each face and its mirror" in out) != flip
    original = Recognizer(precision="int8" if model == "nano" else "float32", flip=flip)
    exported = Recognizer(path, flip=False)
    probabilities = original.classify(faces.images)
    if model != "nano":
        views = runtimes.predict_views(runtimes.onnx_predictor(uncalibrated, 1), faces.images)
        probabilities = views["flip_averaged" if flip else "single_view"]
    np.testing.assert_allclose(exported.classify(faces.images), probabilities, atol=1e-4)
    (expected,), (actual,) = (r.predict(faces.images[0], face=True) for r in (original, exported))
    np.testing.assert_allclose(actual.maps, expected.maps, atol=1e-3)
    assert "may be one of the inputs" in str(run("export", path, "--format", "onnx", "--out", path))
    assert [file.name for file in tmp_path.iterdir()] == ["m.onnx"]


@pytest.mark.parametrize(
    ("model", "options"),
    [(MODELS / "baseline.pt", ()), (MODELS / "fer.int8.onnx", ()), ("nano", ("--flip",))],
)
def test_export_to_openvino_says_what_its_default_options_cost(
    run, tmp_path, uncalibrated, model, options
):
    """By default, OpenVINO computes in bfloat16 where the processor does."""
    path = tmp_path / "m.xml"
    status, out, err = run("export", model, "--format", "openvino", "--out", path, *options)
    assert (status, err) == (0, "")
    assert f"{path}: needs m.bin beside it\n" in out
    assert {file.name for file in tmp_path.iterdir()} == {"m.xml", "m.bin"}
    compiled = runtimes._CORE.compile_model(path, "CPU")
    precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    assert f"default options of OpenVINO (here {precision};" in out
    generator = np.random.default_rng(0)
    faces = np.stack([draw(emotion, generator) for emotion in ACTION_UNITS for _ in range(10)])
    if "pt" in str(model):
        expected = runtimes.onnx_predictor(uncalibrated, 1)(faces)
    else:
        expected = Recognizer(model, flip=bool(options)).classify(faces)
    difference = np.abs(compiled(faces)[0] - expected).max()
    assert float(out.split("at most ")[1].split()[0]) == pytest.approx(difference, abs=1e-4)


@pytest.mark.parametrize(
    ("model", "same", "shift"),
    # They may differ by 0.005 on average: here by 2 * 0.021 / 7.
    [("baseline.pt", "fer.onnx", 0.021), ("fer.int8.onnx", "fer.int8.onnx", 0.021)],
)
def test_export_that_differs_is_not_kept(run, tmp_path, monkeypatch, model, same, shift):
    (tmp_path / "m.xml").write_text("of before")
    predict = convert.onnx_predictor(MODELS / same, 1)
    shifts = shift * np.array([1, 0, 0, 0, 0, 0, -1])
    monkeypatch.setattr(convert, "openvino_predictor", lambda *_: lambda x: predict(x) + shifts)
    status, _, _ = run(
        "export", MODELS / model, "--format", "openvino", "--out", tmp_path / "m.xml"
    )
    assert "is not kept: its probabilities differ by" in str(status)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["of before"]


@pytest.mark.parametrize(
    ("model", "kind", "name", "message"),
    [
        ("none.pt", "onnx", "m.onnx", "no model here"),
        ("baseline.pt", "onnx", "m.xml", "is no name for onnx; use the suffix .onnx"),
        ("../../../README.md", "onnx", "m.onnx", "is no model; use a PyTorch file of the pipeline"),
        ("../../../fer/images/yunet.onnx", "onnx", "m.onnx", "has no metadata of fer"),
        ("broken.onnx", "openvino", "m.xml", "is not a model that ONNX Runtime can read"),
        ("broken.pt", "openvino", "m.xml", "is not a file of PyTorch"),
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
