"""Damage to what one stage hands to the next is noticed in one line, or changes nothing."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fer import Recognizer
from fer.core import faces
from fer.core.errors import FerError
from fer.core.faces import Faces
from fer.core.params import Model
from fer.deploy import export
from fer.training import model_file
from fer.training.networks import build

pytestmark = pytest.mark.slow

TINY = Model(name="compact", width=0.1)
CLASSES = tuple("abcdefg")


def write_faces(path):
    images = np.random.default_rng(0).integers(0, 256, (7, 48, 48), dtype=np.uint8)
    Faces(images, np.arange(7, dtype=np.uint8), CLASSES).save(path.parent)


def read_faces(path):
    content = faces.load(path.parent)
    return content.images.tobytes(), content.labels.tobytes(), content.classes


def write_model(path):
    torch.manual_seed(0)
    metadata = {"classes": CLASSES, "dataset": "sample", "scores": {}, "history": []}
    model_file.save(path, build(TINY, 7), TINY, **metadata)


def read_model(path):
    network, metadata = model_file.load(path)
    return metadata, [(k, v.numpy().tobytes()) for k, v in network.state_dict().items()]


KINDS = {"faces.npz": (write_faces, read_faces), "model.pt": (write_model, read_model)}


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
    path, content, read, expected = intact
    position = int(place * len(content))
    damaged = bytearray(content if bit is not None else content[:position])
    if bit is not None:
        damaged[position] ^= 1 << bit
    path.write_bytes(damaged)
    result, message = expected, path.name
    try:
        result = read(path)
    except FerError as error:
        message = str(error)
    assert result == expected
    assert path.name in message
    assert "\n" not in message


def test_onnx_file_that_is_cut_is_refused(tmp_path):
    path = tmp_path / "model.onnx"
    torch.manual_seed(0)
    export.export(path, build(TINY, 7).eval())
    export.write_metadata(path, {"scores": {"val_accuracy": 0.5}}, CLASSES)
    content = path.read_bytes()
    for position in range(0, len(content) - 1000, 1009):
        path.write_bytes(content[:position])
        with pytest.raises(FerError, match=r"model\.onnx") as error:
            Recognizer(path)
        assert "\n" not in str(error.value)
