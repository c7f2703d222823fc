"""Augment whole batches, with separate random draws for each face."""

import math

import torch
import torch.nn.functional as F

from fer.core.faces import FACE_SIZE, INPUT_SIZE, MARGIN
from fer.core.params import Augment


def center_crop(images: torch.Tensor, size: int = INPUT_SIZE) -> torch.Tensor:
    """Return the inner 44x44 pixels, resized: the network's input without augmentation.

    From uint8 [N, 48, 48] to float32 [N, 1, size, size], 0 to 1.
    """
    inner = slice(MARGIN, MARGIN + INPUT_SIZE)
    faces = images[:, None, inner, inner].float() / 255
    if size == INPUT_SIZE:
        return faces
    return F.interpolate(faces, size=(size, size), mode="bilinear", align_corners=False)


def augment(
    images: torch.Tensor, strengths: Augment, generator: torch.Generator, size: int = INPUT_SIZE
) -> torch.Tensor:
    """Return the network's input with random flip, shift, rotation, scale and contrast.

    From uint8 [N, 48, 48] to float32 [N, 1, size, size], 0 to 1. All geometric changes are one
    bilinear sampling. Pixels beyond the edge repeat the edge. The generator is on the CPU for every
    device, so a seed gives the same faces everywhere. To add an augmentation, draw its random
    numbers after all others, and only if its strength is above 0: a seed then keeps its faces.
    """
    draws = torch.rand(6, len(images), generator=generator)
    flip, right, down, angle, zoom, contrast = draws
    # Computed on the CPU: for so few numbers a GPU would take longer.
    column, row = _sampling_grid(
        mirror=torch.where(flip < strengths.flip, -1.0, 1.0),
        right=_to_integers(right, strengths.shift),
        down=_to_integers(down, strengths.shift),
        angle=_to_range(angle, math.radians(strengths.rotation)),
        zoom=1 + _to_range(zoom, strengths.scale),
        size=size,
    )
    device = images.device
    grid = column.to(device)[:, :, None, :] + row.to(device)[:, :, :, None]
    faces = F.grid_sample(
        images[:, None].float(),
        grid.permute(0, 2, 3, 1),
        padding_mode="border",
        align_corners=False,
    ).div_(255)
    if strengths.contrast:
        mean = faces.mean((1, 2, 3), keepdim=True)
        factor = (1 + _to_range(contrast, strengths.contrast)).to(device)
        faces = (mean + (faces - mean) * factor[:, None, None, None]).clamp(0, 1)
    return faces


def _to_range(draw: torch.Tensor, limit: float) -> torch.Tensor:
    return (2 * draw - 1) * limit


def _to_integers(draw: torch.Tensor, limit: int) -> torch.Tensor:
    """Map draws from 0..1 to whole pixels -limit..limit; fractions would blur the face."""
    return (draw * (2 * limit + 1)).floor() - limit


def _sampling_grid(
    mirror: torch.Tensor,
    right: torch.Tensor,
    down: torch.Tensor,
    angle: torch.Tensor,
    zoom: torch.Tensor,
    size: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return where in the face each output pixel is sampled, as a term per column and one per row.

    A position is the sum of both terms, float32 [N, 2, size], in the coordinates of `grid_sample`
    (-1 to 1 from edge to edge). On a CPU this sum is many times faster than the matrix product of
    `affine_grid`. All arguments are float32 [N]: `mirror` is -1 to flip, shifts are in pixels, the
    angle is in radians.
    """
    output = (torch.arange(size) * 2 + 1) / size - 1
    # From edge to edge, the output shows 44 of the face's 48 pixels.
    extent = INPUT_SIZE / FACE_SIZE / zoom
    cos, sin = extent * angle.cos(), extent * angle.sin()
    column = torch.stack([mirror * cos, mirror * sin], 1)[:, :, None] * output
    shift = torch.stack([right, down], 1) * (2 / FACE_SIZE)
    return column, torch.stack([-sin, cos], 1)[:, :, None] * output + shift[:, :, None]
