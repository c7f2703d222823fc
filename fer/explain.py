"""What the network looked at."""

import numpy as np
import torch
from captum.attr import LayerAttribution, LayerGradCam

from fer.augment import center_crop
from fer.faces import FACE_SIZE, INPUT_SIZE
from fer.model import MiniXception


def grad_cam(model: MiniXception, images: torch.Tensor, labels: torch.Tensor) -> np.ndarray:
    """Grad-CAM of the last convolution (Selvaraju et al. 2017, arXiv:1610.02391).

    images: uint8 [N, 48, 48]
    labels: int64 [N], the class to explain for each face

    Returns maps float32 [N, 48, 48], 0 to 1 within each face; the rim that the network does not
    see is 0.
    """
    cam = LayerGradCam(model.eval(), model.last_conv)
    maps = cam.attribute(center_crop(images), target=labels, relu_attributions=True)
    maps = LayerAttribution.interpolate(maps, (INPUT_SIZE, INPUT_SIZE), "bilinear").detach()
    maps = maps / maps.amax((1, 2, 3), keepdim=True).clamp(min=1e-12)
    rim = (FACE_SIZE - INPUT_SIZE) // 2
    return torch.nn.functional.pad(maps, [rim] * 4).squeeze(1).numpy()
