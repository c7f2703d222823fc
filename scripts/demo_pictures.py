"""Draw the example pictures of the page in demo/.

python -m scripts.demo_pictures writes demo/examples/.
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from fer.data.sample import draw_large

FOLDER = Path("demo/examples")
PICTURES = {
    "happy.png": [("Happy", 74)],
    "surprised.png": [("Surprise", 168)],
    "group.png": [("Neutral", 184), ("Happy", 282), ("Surprise", 292), ("Angry", 281)],
}
"""Emotion and seed of each face in each picture."""

FACE, MARGIN = 192, 56
"""Sides of a drawn face and of the space around it, in pixels."""


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, faces in PICTURES.items():
        picture = Image.new(
            "L", (FACE * len(faces) + MARGIN * (len(faces) + 1), FACE + 2 * MARGIN), 200
        )
        for number, (emotion, seed) in enumerate(faces):
            face = draw_large(emotion, np.random.default_rng(seed))
            picture.paste(face, (MARGIN + number * (FACE + MARGIN), MARGIN))
        picture.save(FOLDER / name, optimize=True)
    (FOLDER / "index.json").write_text(json.dumps(list(PICTURES)) + "\n")


if __name__ == "__main__":
    main()
