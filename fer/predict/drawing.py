"""Boxes and emotions on a photo; what the model looked at."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from fer.predict import images
from fer.predict.recognizer import Face

_COLOR, _TEXT = "#00c853", "black"

_Area = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels."""


def mark(image: Image.Image, faces: Sequence[Face]) -> Image.Image:
    """A copy of `image` in RGB with a box and the emotion at each face.

    Labels do not cover each other while there is place: above the face, below it, else further up.
    """
    image = images.color(image)
    draw = ImageDraw.Draw(image)
    taken: list[_Area] = []
    for face in faces:
        side = face.box[2] - face.box[0]
        draw.rectangle(face.box, outline=_COLOR, width=max(2, side // 60))
        font = ImageFont.load_default(max(12, side // 9))
        area = _place(draw.textbbox((0, 0), _label(face), font=font), face.box, image.size, taken)
        taken.append(area)
        draw.rectangle(area, fill=_COLOR)
        draw.text(area[:2], _label(face), fill=_TEXT, font=font, anchor="lt")
    return image


def _place(text: _Area, face: _Area, size: tuple[int, int], taken: Sequence[_Area]) -> _Area:
    """Where in an image of `size` a label as large as `text` goes."""
    width, height = round(text[2] - text[0]) + 2, round(text[3] - text[1]) + 2
    left = min(max(0, face[0]), max(0, size[0] - width))
    tops = [face[1] - height, face[3] + 1, *range(round(face[1]) - 2 * height, 0, -height)]
    tops = [min(max(0, top), max(0, size[1] - height)) for top in tops]
    areas = [(left, top, left + width, top + height) for top in tops]
    free = (area for area in areas if not any(_meet(area, other) for other in taken))
    return next(free, areas[0])


def _meet(one: _Area, other: _Area) -> bool:
    return all(max(one[i], other[i]) < min(one[i + 2], other[i + 2]) for i in (0, 1))


def explain(faces: Sequence[tuple[str, Face]], classes: Sequence[str]) -> Image.Image:
    """A sheet with each face as the model took it, and where in it stands its emotion.

    faces: each with the name of its image
    classes: the emotions in the order of the maps

    That is Grad-CAM of the last convolution (Selvaraju et al. 2017, arXiv:1610.02391): as the
    logits are the means of its maps, it is the map of the emotion, without its negative part.
    """
    side, text = 160, 44
    columns = math.ceil(math.sqrt(len(faces) / 2))  # of two pictures each
    rows = math.ceil(len(faces) / columns)
    sheet = Image.new("RGB", (2 * side * columns, (side + text) * rows), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for number, (name, face) in enumerate(faces):
        top, left = (side + text) * (number // columns), 2 * side * (number % columns)
        draw.text((left + 4, top + 3), _shorten(name, font, 2 * side - 8), fill=_TEXT, font=font)
        draw.text((left + 4, top + 22), _label(face), fill=_TEXT, font=font)
        grey = Image.fromarray(face.pixels).resize((side, side), Image.Resampling.BICUBIC)
        heat = np.maximum(face.maps[list(classes).index(face.emotion)], 0)
        heat = np.uint8(255 * heat / max(heat.max(), 1e-12))
        heat = Image.fromarray(heat).resize((side, side), Image.Resampling.BILINEAR)
        colors = ImageOps.colorize(heat, "black", "yellow", mid="red")
        sheet.paste(grey, (left, top + text))
        sheet.paste(Image.blend(grey.convert("RGB"), colors, 0.5), (left + side, top + text))
    return sheet


def _shorten(name: str, font: Any, width: int) -> str:
    """The end of `name` that is not wider than so many pixels."""
    if font.getlength(name) <= width:
        return name
    while name and font.getlength(f"...{name}") > width:
        name = name[1:]
    return f"...{name}"


def _label(face: Face) -> str:
    label = f"{face.emotion} {face.probabilities[face.emotion]:.0%}"
    return label if face.id is None else f"{face.id}: {label}"
