"""What stages get from each other and from params.yaml: damage is one line, all outputs intact.

Data sets, parameters, pictures, videos and storages have tests of their own.
"""

import importlib
import io
import pickle
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fer.core import errors, faces
from fer.core.errors import FerError
from fer.core.faces import Faces
from fer.core.params import Model
from fer.data.fer2013 import CLASSES
from fer.deploy import export
from fer.training import model_file
from fer.training.networks import build

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TINY = Model(name="compact", width=0.1)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The outputs of earlier stages, on noise."""
    folder = tmp_path_factory.mktemp("made")
    shutil.copy(ROOT / "params.yaml", folder)
    generator = np.random.default_rng(0)
    for split, count in (("train", 30), ("val", 10), ("test", 10)):
        images = generator.integers(0, 256, (count, 48, 48), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 7
        Faces(images, labels, CLASSES).save(folder / "data/sample" / split)
    models, network = folder / "models/sample/nano", build(TINY, 7).eval()
    metadata = {"classes": CLASSES, "dataset": "sample", "scores": {}, "history": []}
    for name in ("baseline", "tuned/tuned"):
        model_file.save(models / f"{name}.pt", network, TINY, **metadata)
    export.export(models / "fer.onnx", network)
    export.write_metadata(models / "fer.onnx", {"warning": None}, CLASSES)
    (folder / "metrics/sample/nano").mkdir(parents=True)
    (folder / "metrics/sample/prepare.json").write_text("{}")
    return folder


@pytest.fixture
def project(made, tmp_path, monkeypatch):
    folder = shutil.copytree(made, tmp_path / "project")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return folder


def refusal(stage):
    """The one line with which a stage ends; what was there before is there still."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    main = importlib.import_module(f"stages.{stage}").main
    for number, handler in handlers.items():  # those of pytest
        signal.signal(number, handler)
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    with pytest.raises(SystemExit) as stop:
        errors.exit_on_error(main)
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before
    line = stop.value.code
    assert line.startswith("error: ")  # text: the status is 1
    assert line.isprintable()
    assert len(line) < 2000
    return line


def flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


CUTS = {
    "is gone": lambda content: None,
    "is empty": lambda content: b"",
    "is text": lambda content: b"hello\n",
    "is a pickle": lambda content: pickle.dumps({"weights": 1}),
    "is half": lambda content: content[: len(content) // 2],
}
CHANGED = CUTS | {"has another bit in the middle": flipped}


def read_model(path):
    network, metadata = model_file.load(path)
    return metadata, [tensor.numpy() for tensor in network.state_dict().values()]


READERS = {
    "data/sample/train/faces.npz": lambda path: faces.load(path.parent),
    "models/sample/nano/baseline.pt": read_model,
}


@pytest.mark.parametrize(
    ("path", "reader", "damage"),
    [
        pytest.param(path, reader, damage, id=f"{path} {name}")
        for path, reader, damages in (
            ("data/sample/train/faces.npz", "train", CHANGED),
            ("models/sample/nano/baseline.pt", "evaluate", CHANGED),
            ("models/sample/nano/tuned/tuned.pt", "quantize", {"is changed": flipped}),
            ("models/sample/nano/fer.onnx", "evaluate", CUTS),  # without a checksum
            ("metrics/sample/prepare.json", "report", CUTS),
        )
        for name, damage in damages.items()
    ],
)
def test_damaged_file(project, path, reader, damage):
    content = damage((project / path).read_bytes())
    (project / path).unlink()
    if content is not None:
        (project / path).write_bytes(content)
    assert path in refusal(reader)


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=150, deadline=None, suppress_health_check=HealthCheck)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.none() | st.integers(0, 7))
def test_damage_anywhere_is_noticed_or_changes_nothing(made, tmp_path, name, place, bit):
    """bit: what flips in the byte at `place`; None cuts the file there."""
    content, path = (made / name).read_bytes(), tmp_path / Path(name).name
    position = int(place * len(content))
    damaged = bytearray(content if bit is not None else content[:position])
    if bit is not None:
        damaged[position] ^= 1 << bit
    path.write_bytes(damaged)
    read, message = READERS[name], f"{path}: "
    result = expected = pickle.dumps(read(made / name))
    try:
        result = pickle.dumps(read(path))
    except FerError as error:
        message = str(error)
    assert result == expected
    assert message.startswith(f"{path}: ")
    assert "\n" not in message


class Touch:
    """What a pickle may carry: a call."""

    def __reduce__(self):
        return Path.touch, (Path("touched"),)


def test_pickle_in_a_model_file_is_not_run(project):
    stream = io.BytesIO()
    torch.save({"weights": Touch()}, stream)
    (project / "models/sample/nano/baseline.pt").write_bytes(stream.getvalue())
    assert "models/sample/nano/baseline.pt: is not a file of PyTorch" in refusal("evaluate")
    assert not Path("touched").exists()


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (np.zeros((3, 48, 48), np.uint8), np.full(3, 200, np.uint8)),
        (np.zeros((3, 48, 48), np.uint8), np.zeros(2, np.uint8)),
        (np.zeros((3, 48, 47), np.uint8), np.zeros(3, np.uint8)),
        (np.zeros((3, 48, 48), np.float32), np.zeros(3, np.uint8)),
        (np.zeros((3, 48, 48), object), np.zeros(3, np.uint8)),
        (np.uint8(3), np.zeros(3, np.uint8)),
    ],
    ids=["a label of 200", "too few labels", "47 wide", "floats", "objects", "one"],
)
def test_arrays_that_are_no_faces(project, images, labels):
    arrays = {"images": images, "labels": labels, "classes": np.array(CLASSES)}
    np.savez(project / "data/sample/train/faces.npz", **arrays)
    assert "data/sample/train/faces.npz: cannot be read" in refusal("train")
