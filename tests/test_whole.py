"""One graph from a photo to emotions, which says what `Recognizer` says."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from PIL import Image
from test_recognizer import PHOTO

from fer import Recognizer
from fer.cli import main
from fer.data.sample import ACTION_UNITS, draw_large
from fer.deploy import whole

RECOGNIZER = Recognizer()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "photo.onnx"
    whole.export_whole("nano", path)
    return path


@pytest.fixture(scope="module")
def session(path):
    return ort.InferenceSession(path, providers=["CPUExecutionProvider"])


def assert_equal(session, image, count=None):
    """Check an image [H, W, C] of `count` faces, or of any number."""
    boxes, scores, probabilities, maps = session.run(None, {"image": image})
    faces = RECOGNIZER.predict(image)
    assert count in (None, len(faces))
    assert boxes.tolist() == [list(face.box) for face in faces]
    assert (boxes.dtype, maps.shape) == (np.int32, (len(faces), 7, 11, 11))
    np.testing.assert_allclose(scores, [face.score for face in faces], atol=1e-4)
    for face, values, face_maps in zip(faces, probabilities, maps, strict=True):
        np.testing.assert_allclose(values, list(face.probabilities.values()), atol=0.002)
        np.testing.assert_allclose(face_maps, face.maps, atol=0.05)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_photo_in_any_mode(session, mode):
    image = np.asarray(Image.open(PHOTO).convert(mode))
    boxes, *_ = session.run(None, {"image": image.reshape(*image.shape[:2], -1)})
    assert boxes.tolist() == [list(RECOGNIZER.predict(PHOTO)[0].box)]


@pytest.mark.parametrize("size", [(300, 352), (1001, 1173), (1152, 864), (2001, 2345), (33, 39)])
def test_photo_of_any_size(session, size):
    assert_equal(session, np.asarray(Image.open(PHOTO).resize(size)), 1)
    assert_equal(session, np.full((*size, 1), 100, np.uint8), 0)


@pytest.mark.parametrize("seed", range(12))
def test_drawn_scenes(session, seed):
    """Faces from a 16th of the long side on, some cut off and overlapping, in any shape."""
    generator = np.random.default_rng(seed)
    width, height = (int(side) for side in generator.integers(250, 1400, 2))
    page = Image.fromarray(generator.integers(0, 256, (4, 5), np.uint8)).resize((width, height))
    for _ in range(6):
        side = int(max(width, height) / generator.uniform(2, 14))
        face = draw_large(str(generator.choice(list(ACTION_UNITS))), generator).resize((side, side))
        page.paste(face, (int(generator.integers(width)), int(generator.integers(height))))
    noise = generator.normal(0, 5, (height, width))
    pixels = (np.asarray(page) + noise).round().clip(0, 255).astype(np.uint8)
    assert_equal(session, pixels[..., None])


def test_file_has_standard_operators_and_the_metadata_of_the_model(path):
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 20)]
    assert not model.functions
    properties = {entry.key for entry in model.metadata_props}
    assert properties == set(RECOGNIZER.metadata)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none", "--whole", "p.onnx"), "none: no model here"),
        (("--whole", "p.xml"), "p.xml: is no name for an ONNX file"),
        (("--whole", "p.onnx", "--out", "x.onnx"), "name either a model, --format"),
        (("x.pt", "--format", "onnx"), "name either a model, --format"),
    ],
)
def test_bad_input_is_one_line(run_main, arguments, message):
    status, out, err = run_main(main, "export", *arguments)
    assert message in str(status)
    assert (str(status).count("\n"), out, err) == (0, "", "")


def test_graph_that_finds_other_faces_is_not_kept(run_main, tmp_path, monkeypatch):
    (tmp_path / "p.onnx").write_text("of before")
    monkeypatch.setattr(whole.Recognizer, "predict", lambda *_: [])
    status, _, _ = run_main(main, "export", "--whole", tmp_path / "p.onnx")
    assert "is not kept: it finds other faces" in str(status)
    assert (tmp_path / "p.onnx").read_text() == "of before"
