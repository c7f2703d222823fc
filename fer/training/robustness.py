"""Damage faces in a fixed list of ways, by which models are measured and epochs are selected.

The ways are chosen after RAF-DB-C (Greco et al. 2022, doi:10.1007/s11042-022-12790-7).
"""

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as T

from fer.core.faces import FACE_SIZE, Faces
from fer.core.params import Damage

_SIZE = [FACE_SIZE, FACE_SIZE]


def damaged(images: np.ndarray, options: Damage) -> dict[str, np.ndarray]:
    """Return copies of faces, uint8 [N, 48, 48], one per way, such as "jpeg 20".

    The faces keep their size. Noise is the same in each call. Pixels from outside a face repeat its
    edge.
    """
    faces = torch.tensor(images)[:, None]
    return {
        f"{kind} {value:g}": _KINDS[kind](faces, value)[:, 0].numpy()
        for kind, values in options
        for value in values
    }


def damaged_in_turn(faces: Faces, options: Damage) -> Faces:
    """Return a copy of N faces, each damaged in one of the ways, which take turns."""
    copies, images = damaged(faces.images, options), faces.images.copy()
    for turn, copy in enumerate(copies.values()):
        images[turn :: len(copies)] = copy[turn :: len(copies)]
    return replace(faces, images=images)


def _resolution(faces: torch.Tensor, size: int) -> torch.Tensor:
    return T.resize(T.resize(faces, [size, size]), _SIZE)


def _jpeg(faces: torch.Tensor, quality: int) -> torch.Tensor:
    """Compress faces by Pillow, because torchvision is giving up its JPEG."""
    copies = []
    for face in faces[:, 0]:
        file = BytesIO()
        Image.fromarray(face.numpy()).save(file, "JPEG", quality=quality)
        copies.append(np.array(Image.open(file)))
    return torch.tensor(np.stack(copies))[:, None]


def _noise(faces: torch.Tensor, deviation: float) -> torch.Tensor:
    """Add noise from a normal distribution; its standard deviation is in grey levels."""
    noise = torch.randn(faces.shape, generator=torch.Generator().manual_seed(0))
    return _to_uint8(faces + deviation * noise)


def _box(faces: torch.Tensor, factor: float) -> torch.Tensor:
    margin = round((factor - 1) / 2 * FACE_SIZE)
    if margin > 0:
        return T.resize(T.pad(faces, [margin], padding_mode="edge"), _SIZE)
    return T.resize(T.center_crop(faces, [FACE_SIZE + 2 * margin]), _SIZE)


def _rotation(faces: torch.Tensor, degrees: float) -> torch.Tensor:
    padded = T.pad(faces, [FACE_SIZE // 2], padding_mode="edge")
    return T.center_crop(T.rotate(padded, degrees, InterpolationMode.BILINEAR), _SIZE)


def _motion(faces: torch.Tensor, pixels: int) -> torch.Tensor:
    """Blur faces as by a movement to the side, over an odd number of pixels."""
    padded = T.pad(faces, [pixels // 2, 0], padding_mode="edge")
    return _to_uint8(F.avg_pool2d(padded.float(), (1, pixels), stride=1))


def _to_uint8(faces: torch.Tensor) -> torch.Tensor:
    return faces.round().clamp(0, 255).to(torch.uint8)


_KINDS: dict[str, Callable[[torch.Tensor, float], torch.Tensor]] = {
    "resolution": _resolution,
    "jpeg": _jpeg,
    "noise": _noise,
    "gamma": T.adjust_gamma,
    "contrast": T.adjust_contrast,
    "box": _box,
    "rotation": _rotation,
    "motion": _motion,
}
