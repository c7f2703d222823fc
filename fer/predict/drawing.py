"""Boxes and emotions on a photo; what the model looked at."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from fer.predict.recognizer import Face

_COLOR, _TEXT = "#00c853", "black"


def mark(image: Image.Image, faces: Sequence[Face]) -> Image.Image:
    """A copy of `image` in RGB with a box and the emotion at each face."""
    image = image.convert("RGB")
    draw = ImageDraw.Draw(image)
    for face in faces:
        side = face.box[2] - face.box[0]
        points = max(12, side // 9)
        font = ImageFont.load_default(points)
        draw.rectangle(face.box, outline=_COLOR, width=max(2, side // 60))
        at = (max(0, face.box[0]), max(0, face.box[1] - round(1.25 * points)))
        draw.rectangle(draw.textbbox(at, _label(face), font=font), fill=_COLOR)
        draw.text(at, _label(face), fill=_TEXT, font=font)
    return image


def explain(faces: Sequence[Face], classes: Sequence[str]) -> Image.Image:
    """A sheet with each face as the model took it, and where in it stands its emotion.

    That is Grad-CAM of the last convolution (Selvaraju et al. 2017, arXiv:1610.02391): as the
    logits are the means of its maps, it is the map of the emotion, without its negative part.
    """
    side, text = 240, 28
    sheet = Image.new("RGB", (2 * side, (side + text) * len(faces)), "white")
    font = ImageFont.load_default(18)
    for number, face in enumerate(faces):
        top = number * (side + text)
        ImageDraw.Draw(sheet).text((4, top + 3), _label(face), fill=_TEXT, font=font)
        grey = Image.fromarray(face.pixels).resize((side, side), Image.Resampling.BICUBIC)
        heat = np.maximum(face.maps[list(classes).index(face.emotion)], 0)
        heat = np.uint8(255 * heat / max(heat.max(), 1e-12))
        heat = Image.fromarray(heat).resize((side, side), Image.Resampling.BILINEAR)
        colors = ImageOps.colorize(heat, "black", "yellow", mid="red")
        sheet.paste(grey, (0, top + text))
        sheet.paste(Image.blend(grey.convert("RGB"), colors, 0.5), (side, top + text))
    return sheet


def _label(face: Face) -> str:
    return f"{face.emotion} {face.probabilities[face.emotion]:.0%}"
