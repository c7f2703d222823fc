"""Damage whole batches as cameras and networks do: light, resolution, noise, compression."""

import math
from functools import cache, partial

import torch
import torch.nn.functional as F

from fer.core.faces import FACE_SIZE
from fer.core.params import DAMAGES, Augment

_RESOLUTIONS = range(16, 41, 4)
"""Pixels per side of a face of 48 pixels before it is enlarged again."""

_GAMMA = 1.8
"""Largest gamma, and one by the smallest."""

_NOISE = 14 / 255
"""Largest standard deviation of the noise."""

_QUALITIES = 10, 70
"""Lowest and highest quality of JPEG."""

_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
"""Quantization steps of a block for quality 50: ITU-T T.81 (1992), table K.1."""


def damage(faces: torch.Tensor, strengths: Augment, generator: torch.Generator) -> torch.Tensor:
    """Return a copy in which some faces are damaged, float32 [N, 1, size, size], 0 to 1.

    Each kind of damage is drawn for each face, in the order of a camera: gamma, resolution, noise,
    JPEG. The generator is on the CPU, so a seed damages the same faces on every device.
    """
    faces = faces.clone()
    draws = torch.rand(2, len(DAMAGES), len(faces), generator=generator)
    for name, is_chosen, strength in zip(DAMAGES, *draws, strict=True):
        rows = torch.nonzero(is_chosen < getattr(strengths, name))[:, 0]
        if len(rows):
            strength = strength[rows].to(faces.device)[:, None, None, None]
            rows = rows.to(faces.device)
            change = _CHANGES.get(name) or partial(_add_noise, generator=generator)
            faces[rows] = change(faces[rows], strength).clamp_(0, 1)
    return faces


def _add_noise(
    faces: torch.Tensor, strength: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    noise = torch.randn(faces.shape, generator=generator).to(faces.device)
    return faces + noise * (strength * _NOISE)


def _gamma(faces: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    return faces ** (_GAMMA ** (2 * strength - 1))


def _shrink(faces: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    matrices = _resizing(faces.shape[-1]).to(faces.device)
    chosen = matrices[(strength[:, :, 0, 0] * len(matrices)).long()]
    return chosen @ faces @ chosen.mT


@cache
def _resizing(size: int) -> torch.Tensor:
    """Return the matrices float32 [R, size, size] that shrink and enlarge a side."""
    identity = torch.eye(size)[None, None]
    resize = {"mode": "bilinear", "align_corners": False, "antialias": True}
    counts = (max(1, round(pixels * size / FACE_SIZE)) for pixels in _RESOLUTIONS)
    small = (F.interpolate(identity, (count, size), **resize) for count in counts)
    return torch.cat([F.interpolate(side, (size, size), **resize)[0] for side in small])


def _jpeg(faces: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """Quantize the cosine transform of blocks of 8x8 pixels, as JPEG does.

    The steps follow from the quality as in libjpeg. The draws are uniform in the quality.
    """
    size = faces.shape[-1]
    forward, backward, steps = (t.to(faces.device) for t in _blocks(size))
    low, high = _QUALITIES
    quality = low + (high - low) * strength
    scale = torch.where(quality < 50, 50 / quality, 2 - quality / 50)
    steps = (steps * scale / 255).clamp(min=1 / 255)
    coefficients = forward @ (faces - 0.5) @ forward.mT
    return backward @ ((coefficients / steps).round_() * steps) @ backward.mT + 0.5


@cache
def _blocks(size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the cosine transform of a side in blocks of 8, its inverse, and the steps.

    The last block is filled with the last pixel. Shapes [M, size], [size, M] and [M, M], where M is
    the size rounded up to a multiple of 8.
    """
    k, n = torch.arange(8.0)[:, None], torch.arange(8.0)
    transform = torch.cos(math.pi / 8 * (n + 0.5) * k) / 2
    transform[0] /= math.sqrt(2)
    count = -(-size // 8)
    blocks = torch.block_diag(*[transform] * count)
    filling = torch.eye(size)[torch.arange(8 * count).clamp(max=size - 1)]
    steps = torch.tensor(_LUMINANCE, dtype=torch.float32).repeat(count, count)
    return blocks @ filling, blocks.T[:size].contiguous(), steps


_CHANGES = {"gamma": _gamma, "resolution": _shrink, "jpeg": _jpeg}
