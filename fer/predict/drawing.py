"""Draw boxes and emotions on a photo, and sheets of class activation maps."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from fer.images import reading
from fer.predict.recognizer import Face

_COLOR, _TEXT_COLOR = "#00c853", "black"

_Area = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""


def draw_boxes(image: Image.Image, faces: Sequence[Face]) -> Image.Image:
    """Return a copy in RGB with a box and the emotion at each face.

    A label stands above its face, below it, or further up, where it covers no other label. If
    there is no such place, it stands above its face.

    Args:
        image: The image, of any mode.
        faces: Its faces.
    """
    image = reading.color(image)
    draw = ImageDraw.Draw(image)
    label_areas: list[_Area] = []
    for face in faces:
        side = face.box[2] - face.box[0]
        draw.rectangle(face.box, outline=_COLOR, width=max(2, side // 60))
        font = ImageFont.load_default(max(12, side // 9))
        text = draw.textbbox((0, 0), _label(face), font=font)
        area = _find_area(text, face.box, image.size, label_areas)
        label_areas.append(area)
        draw.rectangle(area, fill=_COLOR)
        draw.text(area[:2], _label(face), fill=_TEXT_COLOR, font=font, anchor="lt")
    return image


def _find_area(
    text: _Area, face: _Area, size: tuple[int, int], label_areas: Sequence[_Area]
) -> _Area:
    """Return where a label of the size of `text` goes in an image of `size`."""
    width, height = round(text[2] - text[0]) + 2, round(text[3] - text[1]) + 2
    left = min(max(0, face[0]), max(0, size[0] - width))
    tops = [face[1] - height, face[3] + 1, *range(round(face[1]) - 2 * height, 0, -height)]
    tops = [min(max(0, top), max(0, size[1] - height)) for top in tops]
    areas = [(left, top, left + width, top + height) for top in tops]
    free = (area for area in areas if not any(_overlap(area, label) for label in label_areas))
    return next(free, areas[0])


def _overlap(first: _Area, second: _Area) -> bool:
    return all(max(first[i], second[i]) < min(first[i + 2], second[i + 2]) for i in (0, 1))


def draw_explanations(faces: Sequence[tuple[str, Face]], classes: Sequence[str]) -> Image.Image:
    """Return a sheet with each face and the class activation map of its likeliest emotion.

    The map is that of Grad-CAM for the last convolution (Selvaraju et al. 2017, arXiv:1610.02391):
    the map of the class without its negative part, because the logits are the means of the maps.

    Args:
        faces: Faces, each with the name of its image.
        classes: Names of the classes, in the order of the maps.
    """
    side, text = 160, 44
    columns = math.ceil(math.sqrt(len(faces) / 2))  # each has two pictures
    rows = math.ceil(len(faces) / columns)
    sheet = Image.new("RGB", (2 * side * columns, (side + text) * rows), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for number, (name, face) in enumerate(faces):
        top, left = (side + text) * (number // columns), 2 * side * (number % columns)
        title = name if len(name) <= 34 else f"...{name[-31:]}"
        draw.text((left + 4, top + 3), title, fill=_TEXT_COLOR, font=font)
        draw.text((left + 4, top + 22), _label(face), fill=_TEXT_COLOR, font=font)
        grey = Image.fromarray(face.pixels).resize((side, side), Image.Resampling.BICUBIC)
        likeliest = max(classes, key=lambda name: face.probabilities[name])
        class_map = np.maximum(face.maps[list(classes).index(likeliest)], 0)
        class_map = (255 * class_map / max(class_map.max(), 1e-12)).astype(np.uint8)
        heatmap = Image.fromarray(class_map).resize((side, side), Image.Resampling.BILINEAR)
        colors = ImageOps.colorize(heatmap, "black", "yellow", mid="red")
        sheet.paste(grey, (left, top + text))
        sheet.paste(Image.blend(grey.convert("RGB"), colors, 0.5), (left + side, top + text))
    return sheet


def _label(face: Face) -> str:
    return face.label if face.id is None else f"{face.id}: {face.label}"
