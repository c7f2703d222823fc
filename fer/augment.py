"""Random changes of a whole batch of faces at once, each face its own draw."""

import math

import torch
import torch.nn.functional as F

from fer.faces import FACE_SIZE
from fer.params import Augment

INPUT_SIZE = 44
"""Height and width of what the network sees, in pixels."""

_MARGIN = (FACE_SIZE - INPUT_SIZE) // 2


def center_crop(images: torch.Tensor) -> torch.Tensor:
    """The network's input without chance: uint8 [N, 48, 48] -> float32 [N, 1, 44, 44], 0 to 1."""
    inner = slice(_MARGIN, _MARGIN + INPUT_SIZE)
    return images[:, None, inner, inner].float() / 255


def augment(images: torch.Tensor, strengths: Augment, generator: torch.Generator) -> torch.Tensor:
    """The network's input with chance: uint8 [N, 48, 48] -> float32 [N, 1, 44, 44], 0 to 1.

    Flip, rotation, scale, shift and crop are one bilinear sampling; beyond the edge, the edge
    repeats. The draws come from `generator` on the CPU whatever the images' device is, so that a
    seed gives the same faces on each.
    """
    draws = torch.rand(6, len(images), generator=generator).to(images.device)
    flip, right, down, angle, zoom, contrast = draws
    grid = _sampling_grid(
        mirror=torch.where(flip < strengths.flip, -1.0, 1.0),
        right=_integer(right, strengths.shift),
        down=_integer(down, strengths.shift),
        angle=_either_way(angle, math.radians(strengths.rotation)),
        zoom=1 + _either_way(zoom, strengths.scale),
    )
    faces = images[:, None].float()
    faces = F.grid_sample(faces, grid, padding_mode="border", align_corners=False).div_(255)
    if strengths.contrast:
        mean = faces.mean((1, 2, 3), keepdim=True)
        factor = 1 + _either_way(contrast, strengths.contrast)
        faces = (mean + (faces - mean) * factor[:, None, None, None]).clamp(0, 1)
    return faces


def _either_way(draw: torch.Tensor, most: float) -> torch.Tensor:
    """From 0..1 to -most..most."""
    return (2 * draw - 1) * most


def _integer(draw: torch.Tensor, most: int) -> torch.Tensor:
    """From 0..1 to the integers -most..most: a shift by whole pixels blurs nothing."""
    return (draw * (2 * most + 1)).floor() - most


def _sampling_grid(
    mirror: torch.Tensor,
    right: torch.Tensor,
    down: torch.Tensor,
    angle: torch.Tensor,
    zoom: torch.Tensor,
) -> torch.Tensor:
    """Where in the face each pixel of the output comes from: five [N] -> [N, 44, 44, 2].

    Places are -1..1 from edge to edge, as `grid_sample` takes them. An affine map is a sum of
    one term for the column and one for the row; adding them is many times faster on a CPU than
    the matrix product of `affine_grid`.
    """
    output = (torch.arange(INPUT_SIZE, device=angle.device) * 2 + 1) / INPUT_SIZE - 1
    # -1..1 is 44 pixels on the way out and 48 on the way in.
    size = INPUT_SIZE / FACE_SIZE / zoom
    cos, sin = size * angle.cos(), size * angle.sin()
    column = torch.stack([mirror * cos, mirror * sin], 1)[:, :, None] * output
    shift = torch.stack([right, down], 1) * (2 / FACE_SIZE)
    row = torch.stack([-sin, cos], 1)[:, :, None] * output + shift[:, :, None]
    return (column[:, :, None, :] + row[:, :, :, None]).permute(0, 2, 3, 1)
