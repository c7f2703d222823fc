from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from test_drawing import face_at
from test_recognizer import CLASSES

from fer.video.timeline import Timeline


def face(number, **probabilities):
    values = dict.fromkeys(CLASSES, 0.0) | probabilities
    emotion = max(values, key=values.get)
    old = face_at(0, 0, 48, 48)
    return type(old)(old.box, emotion, values, old.pixels, old.maps, id=number)


def test_summary_weighs_by_time():
    timeline = Timeline("v.mp4", CLASSES)
    timeline.add(0.0, [face(0, Happy=1.0), face(1, Sad=1.0)])
    timeline.add(3.0, [face(0, Sad=1.0)])
    timeline.add(3.5, [replace(face(0, Happy=1.0), emotion=None)])  # the model is unsure
    timeline.end = 4.0
    assert timeline.summary() == [
        "v.mp4: 4.00 s, faces: 2",
        "face 0, 4.00 s, share of time: Happy 75%, Sad 12%, unsure 12%",
        "face 1, 3.00 s, share of time: Sad 100%",
    ]


def test_summary_of_many_faces_keeps_the_longest():
    timeline = Timeline("v.mp4", CLASSES)
    for frame in range(20):
        timeline.add(frame / 10, [face(n, Happy=1.0) for n in range(20) if n >= frame])
    timeline.end = 2.0
    lines = timeline.summary()
    assert [line.split(",")[0] for line in lines[1:-1]] == [f"face {n}" for n in range(8, 20)]
    assert lines[-1] == "more faces: 8"


def columns_with_color(path, color):
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return (np.abs(pixels - color).max(2) < 30).sum(0) > 20


@pytest.mark.parametrize("step", [0.04, 2.0])
def test_plot_shows_all_times_and_gaps(tmp_path, step):
    timeline = Timeline("v.mp4", CLASSES)
    for frame in range(50):
        timeline.add(step * frame, [] if 20 <= frame < 40 else [face(0, Happy=1.0)])
    timeline.end = 50 * step
    timeline.plot(tmp_path / "out.png")
    shown = np.flatnonzero(columns_with_color(tmp_path / "out.png", (0xF0, 0xE4, 0x42)))
    assert len(shown) / (shown[-1] - shown[0] + 1) == pytest.approx(0.6, abs=0.05)
