"""What a user may get wrong: one line that says what and where, status 1, all outputs intact."""

import importlib
import io
import itertools
import pickle
import shutil
import signal
import sys
import tarfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from ruamel.yaml import YAML

from fer.cli import main
from fer.core import errors, params
from fer.core.faces import Faces
from fer.core.files import append_checksum
from fer.data.fer2013 import CLASSES
from fer.deploy import export
from fer.training import model_file
from fer.training.networks import build

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TINY = params.Model(name="compact", width=0.1)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The outputs of earlier runs, for a data set of the user's own."""
    folder = tmp_path_factory.mktemp("made")
    content = YAML().load(ROOT / "params.yaml")
    content["dataset"] = "mine"
    YAML().dump(content, folder / "params.yaml")
    generator = np.random.default_rng(0)
    for split, count in (("train", 30), ("val", 10), ("test", 10)):
        images = generator.integers(0, 256, (count, 48, 48), dtype=np.uint8)
        Faces(images, np.arange(count, dtype=np.uint8) % 7, CLASSES).save(
            folder / "data/mine" / split
        )
    models, network = folder / "models/mine", build(TINY, 7).eval()
    scores = {"val_accuracy": 0.5, "val_unseen_accuracy": 0.5}
    for name in ("baseline", "tuned"):
        about = {"classes": CLASSES, "dataset": "mine", "scores": scores, "history": []}
        model_file.save(models / f"{name}.pt", network, TINY, **about)
    export.export(models / "fer.onnx", network)
    export.write_metadata(models / "fer.onnx", {"warning": None}, CLASSES)
    shutil.copy(models / "fer.onnx", models / "fer.int8.onnx")
    (folder / "metrics/mine").mkdir(parents=True)
    (folder / "metrics/mine/prepare.json").write_text("{}")
    budget = params.load(folder / "params.yaml").budget_for(30)
    params.save_budget(folder / "metrics/mine/budget.yaml", budget)
    (folder / "data/raw/mine").mkdir(parents=True)
    return folder


@pytest.fixture
def project(made, tmp_path, monkeypatch):
    folder = shutil.copytree(made, tmp_path / "project")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return folder


def stage(name):
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    module = importlib.import_module(f"stages.{name}")
    for number, handler in handlers.items():  # those of pytest
        signal.signal(number, handler)
    return module.main


def outputs(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(main):
    """The one line with which `main` ends; what was there before is there still."""
    before = outputs(Path())
    with pytest.raises(SystemExit) as stop:
        errors.exit_on_error(main)
    after = outputs(Path())
    assert {path: after.get(path) for path in before} == before
    line = stop.value.code
    assert line.startswith("error: ")  # text: the status is 1
    assert line.isprintable()
    assert len(line) < 2000
    return line


def change(name, value):
    content = YAML().load(Path("params.yaml"))
    *sections, last = name.split(".")
    target = content
    for section in sections:
        target = target[section]
    target[last] = value
    YAML().dump(content, Path("params.yaml"))


# -- the data set ----------------------------------------------------------------------------------

HEADER = "emotion,pixels,Usage"
PIXELS = " ".join(["7"] * 2304)
USAGES = ("Training", "PublicTest", "PrivateTest")


def csv(*rows, header=HEADER):
    return "\n".join([header, *rows, ""]).encode()


GOOD = csv(
    *(
        f"{label},{PIXELS[:-1]}{number},{usage}"
        for number, usage in enumerate(USAGES)
        for label in (0, 1)
    )
)


def tar(members, mode="w:gz"):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def flipped(content, place):
    spoiled = bytearray(content)
    spoiled[place] ^= 1
    return bytes(spoiled)


UNKNOWN = "holds no data that is recognized"
TAR = tar({"fer2013/fer2013.csv": GOOD, "fer2013/README": bytes(3000)})
DATA_SETS = {
    "nothing": ({}, "data/raw/mine holds no data: put a folder of pictures"),
    "an empty file": ({"faces.csv": b""}, UNKNOWN),
    "two CSVs": ({"a.csv": GOOD, "b.csv": GOOD}, "mine: holds a.csv and b.csv; keep one file"),
    "a bad row": ({"faces.csv": csv("3,7,Training")}, "faces.csv: line 2: has 1 pixels"),
    "a label below 0": ({"faces.csv": csv(f"-1,{PIXELS},Training") + GOOD[21:]}, "emotion is '-1'"),
    "a row without end": ({"faces.csv": csv("3," + "7 " * 70_000)}, "line 2: has 65536 bytes"),
    "no training rows": ({"faces.csv": csv(f"0,{PIXELS},PrivateTest")}, "has no face for train"),
    "bytes": ({"faces.csv": bytes(range(256)) * 20}, UNKNOWN),
    "UTF-16": ({"faces.csv": GOOD.decode().encode("utf-16")}, "is not text in UTF-8; save"),
    "a spreadsheet": ({"faces.csv": b"PK\3\4" + bytes(100)}, "faces.csv: cannot be read"),
    "a web page": ({"fer2013.tar.gz": b"<!DOCTYPE html>\n"}, "fer2013.tar.gz: cannot be read"),
    "a pickle": ({"faces.csv": pickle.dumps([1, 2])}, UNKNOWN),
    "no CSV in a tar": ({"f.tar.gz": tar({"README": b"x"})}, "(found f.tar.gz/README)"),
    "half a tar": ({"f.tar.gz": TAR[: len(TAR) // 2]}, "f.tar.gz: cannot be read"),
    "a bit of a tar": ({"f.tar.gz": flipped(TAR, -6)}, "f.tar.gz: cannot be read: CRC"),
    "a path outside": ({"f.tar.gz": tar({"a/../../faces.csv": GOOD})}, "mine holds no data: put"),
}


def assert_says(line, message):
    assert message in line, line


@pytest.mark.parametrize(("files", "message"), DATA_SETS.values(), ids=DATA_SETS)
def test_data_set(project, files, message):
    for name, content in files.items():
        (project / "data/raw/mine" / name).write_bytes(content)
    assert_says(refusal(stage("prepare")), message)


def test_link_to_nothing(project):
    (project / "data/raw/mine/faces.csv").symlink_to("gone.csv")
    assert_says(refusal(stage("prepare")), "data/raw/mine holds no data")


# -- params.yaml -----------------------------------------------------------------------------------

VALUES = [
    ("dataset", "../mine"),
    ("dataset", ""),
    ("dataset", "raw"),
    ("dataset", 3.5),
    ("settings.device", "gpu"),
    ("settings.device", "cuda:x"),
    ("settings.wandb", "sometimes"),
    ("prepare.on_error", "ignore"),
    ("prepare.balance", "smote"),
    ("prepare.cap.Happy", 0),
    ("prepare.cap.Happy", 99999999999),
    ("prepare.face", "detected"),
    ("prepare.votes", "mean"),
    ("prepare.split.val", 0),
    ("budget.default.epochs", 0),
    ("prepare.drop_blank", "yes"),
    ("prepare.drop_leaks", 1),
    ("prepare.seed", -1),
    ("prepare.seed", 2**32),
    ("benchmark.workers", []),
    ("benchmark.workers", [1, 1]),
    ("benchmark.workers", [10**6]),
    ("budget.sample.timings.loader_epochs", 0),
    ("budget.sample.timings.runtime_rounds", 0),
    ("model.width", 0),
    ("model.width", "wide"),
    ("model.width", float("nan")),
    ("model.depth", 3),
    ("train.batch_size", 1),
    ("train.batch_size", 10**22),
    ("train.batch_size", 12.5),
    ("train.optimizer", "lion"),
    ("train.lr", 0),
    ("train.lr", -0.1),
    ("train.lr", 1e308),
    ("train.lr", float("inf")),
    ("train.lr", "1e-3x"),
    ("train.lr", None),
    ("train.momentum", 1),
    ("train.weight_decay", 1e20),
    ("train.schedule", "linear"),
    ("train.label_smoothing", 1),
    ("train.input_sizes", [24]),
    ("train.input_sizes", [44, 12, 44]),
    ("train.augment.flip", 2),
    ("train.augment.shift", 2.5),
    ("train.augment.shear", 1),
    ("train.num_workers", -1),
    ("train.precision", "int8"),
    ("tune.space", {}),
    ("tune.space", {"train.speed": {"low": 1, "high": 2}}),
    ("tune.space", {"train.lr": {"low": 1, "high": 0.1}}),
    ("tune.space", {"train.lr": {"low": 0, "high": 1, "log": True}}),
    ("tune.space", {"train.lr": {"choices": []}}),
    ("tune.space", {"train.lr": {"choices": [-1.0]}}),
    ("tune.space", {"train.lr": {"choices": [0.1], "low": 0}}),
    ("tune.space", {"train.optimizer": {"low": 0, "high": 1}}),
    ("quantize.calibration_method", "best"),
    ("quantize.calibration_faces", 0),
    ("quantize.max_accuracy_drop", 2),
    ("evaluate.calibration_bins", 0),
    ("budget.sample.epochs", 0),
    ("budget.sample.epochs", 10**30),
    ("budget.sample.search.trials", 0),
    ("budget.sample.search.minutes", 0),
]


@pytest.mark.parametrize(("name", "value"), VALUES, ids=lambda value: str(value)[:30])
def test_value(project, name, value):
    change(name, value)
    line = refusal(stage("prepare"))
    assert line.startswith("error: params.yaml: ")
    assert_says(line, name.rpartition(".")[2])


def bomb():
    """Names for lists of names for lists: 9 ** 7 in a few lines."""
    names = "abcdefg"
    lines = [f"{b}: &{b} [{','.join(['*' + a] * 9)}]" for a, b in itertools.pairwise(names)]
    return "\n".join(["a: &a [x,x,x,x,x,x,x,x,x]", *lines, ""])


TEXTS = {
    "nothing": lambda text: "",
    "a list": lambda text: "- 1\n",
    "half of it": lambda text: text[: len(text) // 2],
    "a tab": lambda text: "\tdataset: sample\n" + text,
    "a key twice": lambda text: text + "\ndataset: sample\n",
    "an alias bomb": lambda text: text + bomb(),
    "10,000 brackets": lambda text: "[" * 10_000,
    "a long value": lambda text: text + f"\nk: {'x' * 1_000_000}\n",
    "5,000 digits": lambda text: text.replace("batch_size: 128", f"batch_size: {'1' * 5000}"),
    "a Python object": lambda text: text + "\nk: !!python/object/apply:os.system [touch bad]\n",
    "a NUL": lambda text: text + "\0",
    "a key that is missing": lambda text: text.replace("  lr: 0.15", "  #"),
}


@pytest.mark.parametrize("spoil", TEXTS.values(), ids=TEXTS)
def test_params_file(project, spoil):
    path = project / "params.yaml"
    path.write_text(spoil(path.read_text()))
    assert_says(refusal(stage("prepare")), "params.yaml: ")
    assert not (project / "bad").exists()


def test_no_params(project):
    (project / "params.yaml").unlink()
    assert_says(refusal(stage("prepare")), "params.yaml: cannot be read")


def test_params_in_another_encoding(project):
    (project / "params.yaml").write_bytes("dataset: caf\u00e9".encode("latin-1"))
    assert_says(refusal(stage("prepare")), "params.yaml: cannot be read")


# -- where the search is kept ----------------------------------------------------------------------

STORAGES = {
    "": "Could not parse",
    "studies.db": "Could not parse",
    "redis://localhost/0": "Can't load plugin",
    "postgresql+nodriver://u@h/db": "Can't load plugin",
    "postgresql+psycopg://u:secret@localhost:port/db": "invalid literal",
    "postgresql+psycopg://u:secret@127.0.0.1:1/db": "127.0.0.1",
    "postgresql+psycopg://u:secret@no.such.host.invalid/db": "no.such.host.invalid",
    "sqlite:////dev/null/studies.db": "/dev/null",
    "sqlite:///data": "unable to open database file",
    "sqlite:///params.yaml": "not a database",
    "sqlite:///data/mine/train/faces.npz": "not a database",
}


@pytest.mark.parametrize(("url", "message"), STORAGES.items())
def test_storage(project, url, message):
    change("settings.storage", url)
    line = refusal(stage("tune"))
    assert "settings.storage is " in line
    assert "secret" not in line
    assert_says(line, message)


# -- what one stage hands to the next --------------------------------------------------------------


def damage(path, how):
    content = path.read_bytes()
    damaged = {
        "is gone": None,
        "is empty": b"",
        "is text": b"hello\n",
        "is a web page": b"<!DOCTYPE html>\n",
        "is a pickle": pickle.dumps({"weights": 1}),
        "is cut short": content[:-100],
        "is half": content[: len(content) // 2],
        "has another byte in front": flipped(content, 100),
        "has another byte in the middle": flipped(content, len(content) // 2),
        "has another byte at the end": flipped(content, -5),
    }[how]
    path.unlink()
    if damaged is not None:
        path.write_bytes(damaged)


DAMAGES = (
    *("is gone", "is empty", "is text", "is a web page", "is a pickle", "is cut short", "is half"),
    *("has another byte in front", "has another byte in the middle"),
    "has another byte at the end",
)


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize(
    ("path", "reader"),
    [
        ("data/mine/train/faces.npz", "train"),
        ("data/mine/val/faces.npz", "quantize"),
        ("models/mine/baseline.pt", "tune"),
        ("models/mine/tuned.pt", "quantize"),
        ("models/mine/fer.onnx", "evaluate"),
        ("metrics/mine/budget.yaml", "train"),
    ],
)
def test_damaged_file(project, path, reader, how):
    damage(project / path, how)
    assert_says(refusal(stage(reader)), path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", "fer-pipeline model 1"),
        ("classes", ["Happy", "Sad"]),
        ("input_size", 48),
        ("face_size", 64),
        ("normalisation", {"mean": 0.5, "std": 0.5}),
        ("model", {"name": "resnet", "width": 1.0}),
        ("model", {"name": "compact", "width": 3.0}),
        ("model", "compact"),
        ("weights", {}),
        ("weights", 3),
    ],
)
def test_model_of_another_kind(project, key, value):
    path = project / "models/mine/baseline.pt"
    model_file.write(path, model_file.read(path) | {key: value})
    line = refusal(stage("evaluate"))
    assert "models/mine/baseline.pt" in line


class Touch:
    """What a pickle may carry: a call."""

    def __reduce__(self):
        return Path.touch, (Path("touched"),)


@pytest.mark.parametrize(
    "wrap", [lambda b: b, append_checksum], ids=["as it is", "with a checksum"]
)
def test_pickle_in_a_model_file_is_not_run(project, wrap):
    stream = io.BytesIO()
    torch.save({"weights": Touch()}, stream)
    (project / "models/mine/baseline.pt").write_bytes(wrap(stream.getvalue()))
    assert_says(refusal(stage("evaluate")), "models/mine/baseline.pt: is not a file of PyTorch")
    assert not Path("touched").exists()


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (np.zeros((3, 48, 48), np.uint8), np.full(3, 200, np.uint8)),
        (np.zeros((3, 48, 48), np.uint8), np.zeros(2, np.uint8)),
        (np.zeros((3, 48, 47), np.uint8), np.zeros(3, np.uint8)),
        (np.zeros((3, 48, 48), np.float32), np.zeros(3, np.uint8)),
        (np.zeros((3, 48, 48), np.uint8), np.zeros(3, np.int64)),
        (np.zeros((3, 48, 48), object), np.zeros(3, np.uint8)),
        (np.uint8(3), np.zeros(3, np.uint8)),
    ],
    ids=["a label of 200", "too few labels", "47 wide", "floats", "wide labels", "objects", "one"],
)
def test_arrays_that_are_no_faces(project, images, labels):
    np.savez(project / "data/mine/train/faces.npz", images=images, labels=labels)
    assert_says(refusal(stage("train")), "data/mine/train/faces.npz: is damaged")


@pytest.mark.parametrize("device", ["cuda:7", "mps"])
def test_device_that_is_not_there(project, device):
    change("settings.device", device)
    assert_says(refusal(stage("train")), f"settings.device is {device}, but this machine has none")


# -- the command fer -------------------------------------------------------------------------------


def picture(kind="PNG", mode="L"):
    stream = io.BytesIO()
    Image.effect_noise((60, 60), 50).convert(mode).save(stream, kind)
    return stream.getvalue()


PICTURES = {
    "is gone": None,
    "is empty": b"",
    "is text": b"hello",
    "is a web page": b"<!DOCTYPE html>\n",
    "is a pickle": pickle.dumps([1]),
    "is half a PNG": picture()[:2000],
    "is half a JPEG": picture("JPEG")[:400],
    "is a header of a PNG": picture()[:33],
    "is a PNG of no width": picture()[:16] + bytes(4) + picture()[20:],
    "is a PNG of a billion pixels": picture()[:16] + b"\0\0\xff\xff" * 2 + picture()[24:],
}


def refusal_of_fer(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["fer", "predict", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    if isinstance(stop.value.code, str):
        return stop.value.code
    assert stop.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("content", PICTURES.values(), ids=PICTURES)
def test_picture(project, monkeypatch, capsys, content):
    if content is not None:
        (project / "face.png").write_bytes(content)
    line = refusal_of_fer(monkeypatch, capsys, "face.png", "--face")
    assert line.startswith("error: face.png: ")


@pytest.mark.parametrize("how", DAMAGES[:7])  # another byte may be one of a weight
def test_damaged_onnx_file(project, monkeypatch, capsys, how):
    (project / "face.png").write_bytes(picture())
    damage(project / "models/mine/fer.onnx", how)
    model = ("--model", "models/mine/fer.onnx")
    line = refusal_of_fer(monkeypatch, capsys, "face.png", "--face", *model)
    assert line.startswith("error: models/mine/fer.onnx: ")


def test_onnx_file_of_somebody_else(project, monkeypatch, capsys):
    (project / "face.png").write_bytes(picture())
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "g", [x], [y])
    onnx.save(onnx.helper.make_model(graph, ir_version=10), project / "theirs.onnx")
    line = refusal_of_fer(monkeypatch, capsys, "face.png", "--face", "--model", "theirs.onnx")
    assert_says(line, "theirs.onnx: its inputs, outputs or metadata are not those of fer")


@pytest.mark.parametrize("content", [None, b"", b"hello", bytes(5000)])
def test_video(project, monkeypatch, capsys, content):
    if content is not None:
        (project / "v.mp4").write_bytes(content)
    line = refusal_of_fer(monkeypatch, capsys, "--video", "v.mp4")
    assert line.startswith("error: v.mp4: ")


@pytest.mark.parametrize(
    "content", ["", "{", '{"seconds_per_epoch": ', "[1, 2", "\x00", "{'a': 1}", "[1]", "3"]
)
def test_half_a_json_is_named(project, content):
    (project / "metrics/mine/train.json").write_text(content)
    assert_says(refusal(stage("report")), "metrics/mine/train.json: cannot be read")
