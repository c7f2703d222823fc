"""Draw the faces of the built-in sample, with expressions set by facial action units.

An action unit (AU) is a movement of facial muscles, from 0 (none) to 1 (full). Emotions are
combinations of action units (Ekman and Friesen 1978, Facial Action Coding System; EMFACS). Lengths
are in half heights of a head with its center at (0, 0), x to the right and y down.
"""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from fer.core.faces import FACE_SIZE
from fer.core.files import atomic_path
from fer.core.params import Sample
from fer.data.fer2013 import CLASSES, USAGES

ACTION_UNITS = {
    "Angry": (4, 5, 7, 23, 24),
    "Disgust": (4, 9, 10, 15, 16),
    "Fear": (1, 2, 4, 5, 7, 20, 25, 26),
    "Happy": (6, 12, 25),
    "Sad": (1, 4, 15, 17),
    "Surprise": (1, 2, 5, 25, 26),
    "Neutral": (),
}
"""Action units of each emotion's prototype.

1 inner brow up, 2 outer brow up, 4 brows down and together, 5 upper lid up, 6 cheeks up, 7 lids
tight, 9 nose wrinkled, 10 upper lip up, 12 lip corners up, 15 lip corners down, 16 lower lip down,
17 chin up, 20 lips stretched, 23 lips tight, 24 lips pressed, 25 lips apart, 26 jaw down
"""

SHARES = (0.139, 0.015, 0.143, 0.251, 0.168, 0.111, 0.173)
"""Share of each class in FER2013's training split."""

_UNITS = sorted({unit for units in ACTION_UNITS.values() for unit in units})
_ZOOM = 4
"""Pixels drawn per pixel of a face in each direction; averaging them smooths the edges."""

Point = tuple[float, float]
Points = list[Point]
"""Points of a shape: a few dozen, for which plain floats are faster than arrays."""

_CIRCLE = [
    (float(np.cos(angle)), float(np.sin(angle)))
    for angle in np.linspace(0, 2 * np.pi, 32, endpoint=False)
]
_BEZIER = [((1 - t) * (1 - t), 2 * t * (1 - t), t * t) for t in np.linspace(0, 1, 16).tolist()]
"""Weights of start, bend and end for each point of a quadratic Bezier curve."""


_FEATURES = {
    "width": (0.68, 0.82),
    "jaw": (0.5, 0.8),
    "hairline": (-0.78, -0.58),
    "hair_length": (-0.3, 0.9),
    "brow_thickness": (0.035, 0.08),
    "brow_height": (-0.36, -0.29),
    "eye_distance": (0.29, 0.35),
    "eye_width": (0.14, 0.18),
    "eye_height": (0.06, 0.085),
    "iris": (15, 90),
    "nose_width": (0.1, 0.17),
    "nose_length": (0.2, 0.3),
    "mouth_width": (0.22, 0.3),
    "mouth_height": (0.5, 0.57),
    "lips": (0.04, 0.075),
    "background": (20, 235),
}
"""Ranges of a person's features, in the order in which they are drawn."""


def draw_split(count: int, params: Sample, stream: int) -> Iterator[tuple[int, np.ndarray]]:
    """Draw faces; yield the label (0 to 6) and the face, uint8 [48, 48], of each.

    `stream` is the number of the split, so that each split has other faces.
    """
    generator = np.random.default_rng([params.seed, stream])
    numbers = np.floor(np.array(SHARES) * count).astype(int).clip(1)
    numbers[CLASSES.index("Happy")] += count - numbers.sum()
    for label in generator.permutation(np.repeat(np.arange(len(CLASSES)), numbers)):
        face = draw(CLASSES[label], generator)
        if generator.random() < params.label_noise:
            label = (label + generator.integers(1, len(CLASSES))) % len(CLASSES)
        yield int(label), face


def write_csv(path: Path, params: Sample) -> None:
    """Draw all splits and write them in Kaggle's format; the same params give the same bytes."""
    counts = {"train": params.train, "val": params.val, "test": params.test}
    with atomic_path(path) as temporary, temporary.open("w", newline="\n") as file:
        file.write("emotion,pixels,Usage\n")
        for stream, (usage, split) in enumerate(USAGES.items()):
            for label, face in draw_split(counts[split], params, stream):
                file.write(f"{label},{' '.join(map(str, face.ravel().tolist()))},{usage}\n")


def draw(emotion: str, generator: np.random.Generator) -> np.ndarray:
    """Draw a new person with an expression of random strength, uint8 [48, 48]."""
    grey = np.asarray(draw_large(emotion, generator).reduce(_ZOOM), np.float32)
    y, x = np.mgrid[-1 : 1 : FACE_SIZE * 1j, -1 : 1 : FACE_SIZE * 1j].astype(np.float32)
    direction = generator.uniform(0, 2 * np.pi)
    light = generator.uniform(0, 0.35) * (np.cos(direction) * x + np.sin(direction) * y)
    grey = 128 + (grey * (1 + light) - 128) * generator.uniform(0.7, 1.1)
    grey += generator.uniform(-20, 20) + generator.normal(0, generator.uniform(2, 9), grey.shape)
    return grey.round().clip(0, 255).astype(np.uint8)


def draw_large(emotion: str, generator: np.random.Generator) -> Image.Image:
    """Draw a new person without light and noise, 192 x 192 pixels of grey."""
    return _Sketch(emotion, generator).image


def _expression(emotion: str, generator: np.random.Generator) -> dict[int, float]:
    """Return the strength of each action unit: a weak idle face plus most of the prototype."""
    strengths = {unit: generator.uniform(0, 0.16) for unit in _UNITS}
    intensity = generator.uniform(0.35, 1)
    for unit in ACTION_UNITS[emotion]:
        if generator.random() > 0.12:
            strengths[unit] = min(1.0, intensity * generator.uniform(0.7, 1.2))
    return strengths


class _Sketch:
    """A new person on a canvas of 192x192 pixels, in one pose."""

    def __init__(self, emotion: str, generator: np.random.Generator) -> None:
        skin = generator.uniform(95, 215)
        hair = generator.choice([generator.uniform(15, 70), generator.uniform(60, 200)])
        features = {name: generator.uniform(low, high) for name, (low, high) in _FEATURES.items()}
        self.person = SimpleNamespace(skin=skin, hair=hair, **features)
        self.units = _expression(emotion, generator)
        self.image = Image.new("L", (FACE_SIZE * _ZOOM,) * 2, round(self.person.background))
        self.canvas = ImageDraw.Draw(self.image)
        self.scale = FACE_SIZE * _ZOOM / 2 * generator.uniform(0.98, 1.18)
        tilt = np.radians(generator.normal(0, 6))
        self.cos, self.sin = float(np.cos(tilt)), float(np.sin(tilt))
        self.yaw = generator.normal(0, 0.06)
        self.middle = (FACE_SIZE * _ZOOM * (0.5 + generator.normal(0, 0.015, 2))).tolist()
        self.head()
        for side in (-1, 1):
            self.eye(side)
            self.brow(side)
            self.folds(side)
        self.forehead_and_nose()
        self.mouth()
        self.fringe()

    def place(self, points: Points) -> Points:
        (u, v), scale, cos, sin = self.middle, self.scale, self.cos, self.sin
        pixels = []
        for x, y in points:
            relative = x / 0.9
            x += self.yaw * (1 - relative * relative)  # the center of a turned head moves most
            pixels.append((u + scale * (cos * x - sin * y), v + scale * (sin * x + cos * y)))
        return pixels

    def fill(self, points: Points, tone: float) -> None:
        self.canvas.polygon(self.place(points), fill=_tone(tone))

    def stroke(self, points: Points, factor: float, width: float) -> None:
        """Draw a line whose tone is that of the skin times a factor."""
        pixels = max(1, round(width * self.scale))
        tone = _tone(self.person.skin * factor)
        self.canvas.line(self.place(points), fill=tone, width=pixels, joint="curve")

    def head(self) -> None:
        p, chin = self.person, 0.93 + 0.12 * self.units[26]
        side, low, neck = p.width * 1.14, p.hair_length, 0.5 * p.width
        self.fill(_ellipse((0, -0.25), side, 0.85), p.hair)
        self.fill([(-side, -0.25), (side, -0.25), (side, low), (-side, low)], p.hair)
        shoulders = [(neck * 1.1, 1.6), (-neck * 1.1, 1.6)]
        self.fill([(-neck, 0.6), (neck, 0.6), *shoulders], p.skin * 0.8)
        angle = np.linspace(0, 2 * np.pi, 60)
        down = np.clip(np.sin(angle), 0, 1)
        x = p.width * np.cos(angle) * (1 - (1 - p.jaw) * down**2)
        y = np.where(np.sin(angle) > 0, chin, 0.9) * np.sin(angle)
        for side in (-1, 1):
            self.fill(_ellipse((side * p.width, 0.02), 0.08, 0.16), p.skin * 0.85)
        self.fill(list(zip(x.tolist(), y.tolist(), strict=True)), p.skin)
        if self.units[17] > 0.3:
            self.stroke(_arch(0, 0.8, 0.1, -0.06), 0.75, 0.025)

    def fringe(self) -> None:
        p = self.person
        angle = np.linspace(np.pi, 2 * np.pi, 30)
        x, y = 1.04 * p.width * np.cos(angle), np.sin(angle) - 0.02
        line = _curve((p.width, -0.25), (0, 2 * p.hairline + 0.25), (-p.width, -0.25))
        self.fill([*zip(x, y, strict=True), *line], p.hair)

    def eye(self, side: int) -> None:
        p, u = self.person, self.units
        x, y = side * p.eye_distance, -0.12
        upper = p.eye_height * (1 + 0.8 * u[5] - 0.35 * u[6] - 0.35 * u[7] - 0.3 * u[9])
        lower = 0.75 * p.eye_height * (1 + 0.2 * u[5] - 0.8 * u[6] - 0.45 * u[7] - 0.3 * u[9])
        left, right = (x - p.eye_width, y), (x + p.eye_width, y)
        lid = _curve(left, (x, y - 2 * upper), right)
        under = _curve(right, (x, y + 2 * lower), left)
        self.fill(lid + under, min(250, 150 + 0.4 * p.skin))
        self.clipped(lid + under, _ellipse((x, y - 0.01), 0.072, 0.072), p.iris)
        self.clipped(lid + under, _ellipse((x, y - 0.01), 0.032, 0.032), 5)
        self.stroke(lid, 0.3, 0.03)
        self.stroke(under, 0.7, 0.012)
        self.stroke(_curve(left, (x, y - 2 * upper - 0.1), right), 0.8 - 0.15 * u[5], 0.015)
        if u[6] > 0.25:  # the cheek pushes up a fold, and crow's feet
            self.stroke(_arch(x, y + 0.13, 0.15, 0.07), 1 - 0.3 * u[6], 0.022)
            for end in (-0.05, 0.03):
                corner = (side * (p.eye_distance + p.eye_width + 0.03), y + 0.02)
                outer = (corner[0] + side * 0.09, y + 0.02 + end)
                self.stroke([corner, outer], 1 - 0.25 * u[6], 0.014)

    def clipped(self, window: Points, shape: Points, tone: float) -> None:
        """Fill the part of `shape` inside `window`."""
        masks = [Image.new("1", self.image.size) for _ in range(2)]
        for mask, points in zip(masks, (window, shape), strict=True):
            ImageDraw.Draw(mask).polygon(self.place(points), fill=1)
        self.image.paste(_tone(tone), mask=ImageChops.logical_and(*masks))

    def brow(self, side: int) -> None:
        p, u = self.person, self.units
        frown = 0.15 * u[4] + 0.08 * u[9]
        inner = (p.eye_distance - 0.16 - 0.05 * u[4], p.brow_height - 0.17 * u[1] + frown)
        peak = (p.eye_distance + 0.03, p.brow_height - 0.1 - 0.08 * (u[1] + u[2]) + 0.5 * frown)
        outer = (p.eye_distance + 0.22, p.brow_height + 0.03 - 0.13 * u[2] + 0.05 * u[1])
        arch = _curve(*[(side * x, y) for x, y in (inner, peak, outer)])
        self.stroke(arch, min(0.65, (p.hair + 10) / p.skin), p.brow_thickness)
        if max(u[4], u[9]) > 0.3:
            crease = [(side * 0.04, p.brow_height - 0.02), (side * 0.05, p.brow_height + 0.14)]
            self.stroke(crease, 1 - 0.4 * max(u[4], u[9]), 0.022)

    def folds(self, side: int) -> None:
        """Draw the fold from the nose to the corner of the mouth."""
        p, u = self.person, self.units
        depth = max(u[12], u[10], u[9])
        if depth > 0.2:
            start = (side * (p.nose_width + 0.04), 0.18)
            bend = (side * (p.mouth_width + 0.12), 0.28)
            end = (side * (p.mouth_width + 0.1 + 0.05 * u[12]), p.mouth_height - 0.05)
            self.stroke(_curve(start, bend, end), 1 - 0.35 * depth, 0.022)

    def forehead_and_nose(self) -> None:
        p, u = self.person, self.units
        raised = min(u[1], u[2])
        if raised > 0.3:
            for y in (-0.56, -0.64):
                self.stroke(_arch(0, y, 0.3, -0.03), 1 - 0.25 * raised, 0.018)
        tip = p.nose_length - 0.05 * u[9]
        w = p.nose_width * (1 + 0.2 * u[9])
        self.stroke(_curve((-0.06, -0.1), (-0.05, 0.1), (-w, tip)), 0.82, 0.02)
        self.stroke(_arch(0, tip, w, 0.09), 0.62, 0.028)
        for side in (-1, 1):
            self.fill(_ellipse((side * 0.55 * w, tip + 0.015), 0.03, 0.018), p.skin * 0.35)
        if u[9] > 0.25:
            for y in (-0.1, -0.04, 0.02):
                self.stroke(_arch(0, y, 0.09, -0.05), 1 - 0.4 * u[9], 0.018)

    def mouth(self) -> None:
        p, u = self.person, self.units
        width = p.mouth_width * (1 + 0.3 * u[12] + 0.35 * u[20] - 0.18 * u[23] - 0.22 * u[26])
        y = p.mouth_height - 0.04 * u[17]
        corner = y - 0.13 * u[12] + 0.12 * u[15] + 0.02 * u[20]
        gap = 0.1 * u[25] + 0.3 * u[26] + 0.07 * u[16] + 0.04 * u[10] - 0.15 * u[24] - 0.05
        gap = max(0.0, gap)
        lips = p.lips * (1 - 0.45 * max(u[23], u[24]) + 0.25 * u[10])
        top = y - 0.1 * u[10] - 0.05 * u[9] + 0.04 * u[12] - 0.3 * gap
        bottom = y + 0.04 * u[12] + 0.7 * gap

        def edge(middle: float) -> Points:
            # The middle of a curve is half way to its bend.
            return _curve((-width, corner), (0, 2 * middle - corner), (width, corner))

        self.fill(edge(top - lips) + edge(bottom + lips * 1.25)[::-1], p.skin * 0.62)
        if gap > 0.015:
            opening = edge(top) + edge(bottom)[::-1]
            self.fill(opening, 30)
            if max(u[12], u[10], u[20]) > 0.3:
                teeth = min(0.09, 0.6 * gap)
                row = _ellipse((0, top + teeth * 0.3), width * 0.75, teeth)
                self.clipped(opening, row, 225)
        else:
            self.stroke(edge(y + 0.04 * u[12]), 0.3, 0.025)
        end = corner - 0.04 * (u[12] - u[15])
        for side in (-1, 1):
            self.stroke([(side * width, corner), (side * (width + 0.03), end)], 0.5, 0.022)


def _tone(value: float) -> int:
    return min(max(round(value), 0), 255)


def _ellipse(middle: Point, width: float, height: float) -> Points:
    x, y = middle
    return [(x + width * cos, y + height * sin) for cos, sin in _CIRCLE]


def _curve(start: Point, bend: Point, end: Point) -> Points:
    """Return points on a quadratic Bezier curve."""
    (x0, y0), (x1, y1), (x2, y2) = start, bend, end
    return [(a * x0 + b * x1 + c * x2, a * y0 + b * y1 + c * y2) for a, b, c in _BEZIER]


def _arch(x: float, y: float, width: float, depth: float) -> Points:
    """Return points on a curve that is bent down around x, or up if `depth` is negative."""
    return _curve((x - width, y), (x, y + depth), (x + width, y))
