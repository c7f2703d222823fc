import numpy as np
from layouts import PARAMS

from fer.data import formats, sample
from fer.data.fer2013 import CLASSES

SMALL = PARAMS.sample.model_copy(update={"train": 150, "val": 20, "test": 20, "label_noise": 0.0})


def test_same_params_same_bytes(tmp_path):
    for name in ("a", "b"):
        sample.write_csv(tmp_path / name, SMALL)
    sample.write_csv(tmp_path / "c", SMALL.model_copy(update={"seed": 1}))
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c


def test_is_read_as_kaggles_file(tmp_path):
    sample.write_csv(tmp_path / "sample.csv", SMALL)
    data = formats.read(tmp_path, PARAMS.prepare)
    assert data.dropped == []
    assert data.classes == CLASSES
    assert [*map(len, data.splits.values())] == [150, 20, 20]
    assert all(min(faces.counts().values()) > 0 for faces in data.splits.values())
    assert data.splits["train"].counts()["Disgust"] == 2  # rare, as in FER2013


def test_label_noise_is_the_share_asked_for():
    noisy = SMALL.model_copy(update={"label_noise": 1.0})
    # The draws of the faces are the same, so that the labels can be compared.
    pairs = zip(sample.draw_split(70, SMALL, 0), sample.draw_split(70, noisy, 0), strict=False)
    first = next(pairs)
    assert np.array_equal(first[0][1], first[1][1])
    assert first[0][0] != first[1][0]


def test_emotions_look_different():
    def mean(emotion):
        generator = np.random.default_rng(0)
        return np.mean([sample.draw(emotion, generator) for _ in range(60)], 0)

    faces = {emotion: mean(emotion) for emotion in CLASSES}
    for emotion in CLASSES[:-1]:
        assert np.abs(faces[emotion] - faces["Neutral"]).max() > 8
