"""The temperature of a model: calibrated probabilities with the same classes."""

import numpy as np
import onnx
import pytest
from layouts import ROOT
from scipy.special import softmax

from fer.deploy import temperature
from fer.deploy.runtimes import onnx_predictor
from fer.report.scores import calibration_error

WEIGHTS = ROOT / "fer" / "weights"


def test_overconfident_model_is_calibrated():
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (4000, 7))
    labels = (softmax(logits, 1).cumsum(1) < generator.random((4000, 1))).sum(1).clip(max=6)
    # The network says twice these logits, and the faces carry their number.
    faces = np.zeros((4000, 48, 48), np.uint8)
    faces[:, 0, 0], faces[:, 1, 0] = np.divmod(np.arange(4000), 256)
    faces[..., 47] = faces[..., 0]

    def predict(images):
        numbers = images[:, 0, 0].astype(int) * 256 + images[:, 1, 0]
        return softmax(2 * logits[numbers], 1).astype(np.float32)

    fitted = temperature.fit(predict, faces, labels.astype(np.uint8))
    assert fitted == pytest.approx(2, abs=0.1)
    calibrated = softmax(2 * logits / fitted, 1)
    assert calibration_error(calibrated, labels, 15) < 0.02
    assert calibration_error(predict(faces), labels, 15) > 0.1
    assert temperature.fit(predict, faces, predict(faces).argmax(1)) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("precision", ["int8", "float32"])
def test_graph_keeps_its_classes_and_its_sums(faces, tmp_path, precision):
    path = tmp_path / "model.onnx"
    path.write_bytes((WEIGHTS / f"nano.{precision}.onnx").read_bytes())
    before = onnx_predictor(path, 1)(faces.images)
    weights = [tensor.raw_data for tensor in onnx.load(path).graph.initializer]
    temperature.write(path, 1.6)
    after = onnx_predictor(path, 1)(faces.images)
    assert (after.argmax(1) == before.argmax(1)).all()
    expected = softmax(np.log(before) / 1.6, 1)
    np.testing.assert_allclose(after, expected, atol=1e-5)
    after = [tensor.raw_data for tensor in onnx.load(path).graph.initializer]
    assert after[:-1] == weights  # quantized as before
