"""A flipped bit or a cut in what one stage hands to the next is noticed, or changes nothing."""

import contextlib
import gzip
import io
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_bad_input import GOOD, ROOT, TINY, tar

from fer.core import faces, params
from fer.core.errors import FerError
from fer.core.faces import Faces
from fer.data import formats
from fer.data.fer2013 import CLASSES
from fer.deploy import export
from fer.predict.recognizer import Recognizer
from fer.training import model_file
from fer.training.networks import build

pytestmark = pytest.mark.slow

PREPARE = params.load(ROOT / "params.yaml").prepare


def zipped():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("faces.csv", GOOD)
    return stream.getvalue()


def write_faces(path):
    images = np.random.default_rng(0).integers(0, 256, (7, 48, 48), dtype=np.uint8)
    Faces(images, np.arange(7, dtype=np.uint8), CLASSES).save(path.parent)


def read_faces(path):
    actual = faces.load(path.parent)
    return actual.images.tobytes(), actual.labels.tobytes(), actual.classes


def write_model(path):
    torch.manual_seed(0)
    about = {"classes": CLASSES, "dataset": "sample", "scores": {}, "history": []}
    model_file.save(path, build(TINY, 7), TINY, **about)


def read_model(path):
    network, about = model_file.load(path)
    return about, [(k, v.numpy().tobytes()) for k, v in network.state_dict().items()]


def write_onnx(path):
    torch.manual_seed(0)
    export.export(path, build(TINY, 7).eval())
    export.write_metadata(path, {"scores": {"val_accuracy": 0.5}}, CLASSES)


def read_onnx(path):
    recognizer = Recognizer(path)
    about = {
        key: value for key, value in recognizer.metadata.items() if key in ("classes", "scores")
    }
    return about, recognizer.classify(np.full((1, 48, 48), 99, np.uint8)).tobytes()


def read_csv(path):
    data = formats.read(path.parent, PREPARE)
    return [(s, f.images.tobytes(), f.labels.tobytes()) for s, f in data.splits.items()]


KINDS = {
    "faces.npz": (write_faces, read_faces),
    "model.pt": (write_model, read_model),
    "model.onnx": (write_onnx, read_onnx),
    "faces.csv.gz": (lambda path: path.write_bytes(gzip.compress(GOOD)), read_csv),
    "faces.tar.gz": (lambda path: path.write_bytes(tar({"a.csv": GOOD, "b": b"b"})), read_csv),
    "faces.zip": (lambda path: path.write_bytes(zipped()), read_csv),
}


@pytest.fixture(scope="module", params=KINDS)
def intact(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("intact") / request.param
    write, read = KINDS[request.param]
    write(path)
    return path, path.read_bytes(), read, read(path)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.none() | st.integers(0, 7))
def test_damage_is_noticed_or_changes_nothing(intact, place, bit):
    """bit: what flips in the byte at `place`; None cuts the file there."""
    path, content, read, meant = intact
    at = int(place * len(content))
    spoiled = bytearray(content if bit is not None else content[:at])
    if bit is not None:
        spoiled[at] ^= 1 << bit
    path.write_bytes(spoiled)
    actual, message = meant, f"{path.name}: "
    try:
        actual = read(path)
    except FerError as error:
        message = str(error)
    assert actual == meant
    assert path.name in message or message.startswith(f"{path.parent} holds no data")
    assert "\n" not in message


def test_onnx_file_that_is_cut_in_what_it_says_of_itself(tmp_path_factory, intact_onnx):
    """Also between two entries, where what is left is a whole ONNX file without a checksum."""
    content, meant = intact_onnx
    path = tmp_path_factory.mktemp("cut") / "model.onnx"
    for at in range(content.index(b"producer"), len(content)):
        path.write_bytes(content[:at])
        with contextlib.suppress(FerError):
            assert read_onnx(path) == meant


@pytest.mark.parametrize("place", range(76, 65, -1))
def test_damage_to_the_mark_of_an_onnx_checksum(place, tmp_path_factory, intact_onnx):
    """Where the mark is another, there is no checksum: what the graph says must be the same."""
    content, meant = intact_onnx
    path = tmp_path_factory.mktemp("mark") / "model.onnx"
    for bit in range(8):
        spoiled = bytearray(content)
        spoiled[-place] ^= 1 << bit
        path.write_bytes(spoiled)
        actual, message = meant, ""
        try:
            actual = read_onnx(path)
        except FerError as error:
            message = str(error)
        assert actual == meant
        assert "\n" not in message


@pytest.fixture(scope="module")
def intact_onnx(tmp_path_factory):
    path = tmp_path_factory.mktemp("intact") / "model.onnx"
    write_onnx(path)
    return path.read_bytes(), read_onnx(path)
