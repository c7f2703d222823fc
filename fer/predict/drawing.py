"""Draw boxes and emotions on a photo."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from fer.images import reading
from fer.predict.recognizer import Face

_COLOR, _TEXT_COLOR = "#00c853", "black"

_Area = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""


def draw_boxes(image: Image.Image, faces: Sequence[Face]) -> Image.Image:
    """Return a copy in RGB with a box and the emotion at each face.

    A label stands above its face, or else below it or further up, to cover no other label.
    """
    image = reading.color(image)
    draw = ImageDraw.Draw(image)
    label_areas: list[_Area] = []
    for face in faces:
        side = face.box[2] - face.box[0]
        draw.rectangle(face.box, outline=_COLOR, width=max(2, side // 60))
        font = ImageFont.load_default(max(12, side // 9))
        label = face.label if face.id is None else f"{face.id}: {face.label}"
        text = draw.textbbox((0, 0), label, font=font)
        area = _find_area(text, face.box, image.size, label_areas)
        label_areas.append(area)
        draw.rectangle(area, fill=_COLOR)
        draw.text(area[:2], label, fill=_TEXT_COLOR, font=font, anchor="lt")
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
