"""Augmentation: random changes of a batch of faces at once, drawn for each face on its own."""

import math

import torch
import torch.nn.functional as F

from fer.faces import FACE_SIZE, INPUT_SIZE, MARGIN
from fer.params import Augment


def center_crop(images: torch.Tensor, size: int = INPUT_SIZE) -> torch.Tensor:
    """The network's input, not augmented: uint8 [N, 48, 48] -> float32 [N, 1, size, size], 0 to 1.

    size: pixels to which the inner 44x44 are brought
    """
    inner = slice(MARGIN, MARGIN + INPUT_SIZE)
    faces = images[:, None, inner, inner].float() / 255
    if size == INPUT_SIZE:
        return faces
    return F.interpolate(faces, size=(size, size), mode="bilinear", align_corners=False)


def augment(
    images: torch.Tensor,
    strengths: Augment,
    generator: torch.Generator,
    size: int = INPUT_SIZE,
    share: slice = slice(None),
) -> torch.Tensor:
    """The network's input, augmented: uint8 [N, 48, 48] -> float32 [N, 1, size, size], 0 to 1.

    size: pixels to which 44x44 of the face are brought
    share: which of the faces to return, each as it is among all

    Flip, rotation, scale, shift and crop are one bilinear sampling; beyond the edge, the edge
    repeats. The draws come from `generator` on the CPU whatever the images' device is, so that a
    seed gives the same faces on each. What follows from them for each face is computed there, too:
    for so few numbers a GPU takes longer.
    """
    draws = torch.rand(6, len(images), generator=generator)[:, share]
    images = images[share]
    flip, right, down, angle, zoom, contrast = draws
    column, row = _sampling_lines(
        mirror=torch.where(flip < strengths.flip, -1.0, 1.0),
        right=_integer(right, strengths.shift),
        down=_integer(down, strengths.shift),
        angle=_either_way(angle, math.radians(strengths.rotation)),
        zoom=1 + _either_way(zoom, strengths.scale),
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
        factor = (1 + _either_way(contrast, strengths.contrast)).to(device)
        faces = (mean + (faces - mean) * factor[:, None, None, None]).clamp(0, 1)
    return faces


def _either_way(draw: torch.Tensor, most: float) -> torch.Tensor:
    """From 0..1 to -most..most."""
    return (2 * draw - 1) * most


def _integer(draw: torch.Tensor, most: int) -> torch.Tensor:
    """From 0..1 to the integers -most..most; a shift by part of a pixel would blur the face."""
    return (draw * (2 * most + 1)).floor() - most


def _sampling_lines(
    mirror: torch.Tensor,
    right: torch.Tensor,
    down: torch.Tensor,
    angle: torch.Tensor,
    zoom: torch.Tensor,
    size: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Where in the face each pixel of the output comes from: two float32 [N, 2, size].

    The place is the sum of a term for the pixel's column and one for its row, -1..1 from edge to
    edge, as `grid_sample` takes it. Adding them is many times faster on a CPU than the matrix
    product of `affine_grid`.

    mirror, right, down, angle, zoom: float32 [N]: -1 or 1, pixels, pixels, radians, a factor
    """
    output = (torch.arange(size) * 2 + 1) / size - 1
    # From edge to edge, the output shows 44 of the face's 48 pixels.
    seen = INPUT_SIZE / FACE_SIZE / zoom
    cos, sin = seen * angle.cos(), seen * angle.sin()
    column = torch.stack([mirror * cos, mirror * sin], 1)[:, :, None] * output
    shift = torch.stack([right, down], 1) * (2 / FACE_SIZE)
    return column, torch.stack([-sin, cos], 1)[:, :, None] * output + shift[:, :, None]
