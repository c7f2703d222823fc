"""Scale the logits of an ONNX file, so that its probabilities are calibrated.

Temperature scaling: Guo, Pleiss, Sun and Weinberger 2017, arXiv:1706.04599.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from fer.deploy.export import write_short
from fer.deploy.runtimes import Predictor, predict

_RANGE = (0.5, 4.0)
"""Allowed temperatures: few faces, all predicted correctly, would ask for 0."""


def fit(predictor: Predictor, images: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature with the highest likelihood of labelled faces, 0.5 to 4.

    The likelihood is that of the probabilities averaged over a face and its mirror image, which
    users see. The faces are uint8 [N, 48, 48], none of which the network was trained on.
    """
    views = np.stack([predict(predictor, view) for view in (images, images[..., ::-1])])
    logits = np.log(np.maximum(views, 1e-30, dtype=float))  # up to a constant per face

    def loss(temperature: float) -> float:
        probabilities = softmax(logits / temperature, 2).mean(0)
        return -float(np.log(np.take_along_axis(probabilities, labels[:, None], 1)).mean())

    labels = labels.astype(int)
    return round(float(minimize_scalar(loss, bounds=_RANGE, method="bounded").x), 4)


def write(path: Path, temperature: float) -> None:
    """Divide the logits of an ONNX file by a temperature; do it once, before `write_metadata`.

    The product in float32 before the softmax is the same on every processor, and the predicted
    class of a view stays, because the order of the logits does.
    """
    model = onnx.load(path)
    nodes = model.graph.node
    (last,) = (node for node in nodes if node.op_type == "Softmax")
    scale = numpy_helper.from_array(np.array(1 / temperature, np.float32), "inverse_temperature")
    model.graph.initializer.append(scale)
    scaled = helper.make_node("Mul", [last.input[0], scale.name], ["scaled_logits"])
    nodes.insert(list(nodes).index(last), scaled)
    last.input[0] = "scaled_logits"
    write_short(model, path)
