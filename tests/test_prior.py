"""Probabilities as if all classes were equally frequent."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer import Recognizer
from fer.core.errors import FerError
from fer.core.faces import Faces
from fer.core.prior import with_uniform_prior
from fer.deploy import export

NOISE = np.random.default_rng(0).integers(0, 256, (20, 48, 48), dtype=np.uint8)


@given(
    likelihoods=st.lists(st.floats(0.01, 1), min_size=2, max_size=5),
    counts=st.lists(st.integers(1, 9999), min_size=5, max_size=5),
)
def test_equal_likelihoods_give_equal_probabilities(likelihoods, counts):
    """By Bayes' rule, from the posterior of classes with these shares."""
    shares = {str(n): count / sum(counts) for n, count in enumerate(counts[: len(likelihoods)])}
    joint = np.array(likelihoods) * np.array(list(shares.values()))
    uniform = with_uniform_prior((joint / joint.sum())[None].astype(np.float32), shares)[0]
    np.testing.assert_allclose(uniform, np.array(likelihoods) / sum(likelihoods), rtol=1e-4)


def test_class_without_faces_is_no_division_by_zero():
    shares = {"a": 0.0, "b": 0.25, "c": 0.75}
    actual = with_uniform_prior(np.array([[0.0, 0.5, 0.5], [1.0, 0.0, 0.0]]), shares)
    np.testing.assert_allclose(actual, [[0, 0.75, 0.25], [1, 0, 0]])


def test_shares_of_soft_labels_are_those_of_the_votes():
    votes = np.array([[0.55, 0.42, 0.03]] * 9 + [[0.45, 0.52, 0.03]], np.float32)
    labels = votes.argmax(1).astype(np.uint8)
    assert Faces(NOISE[:10], labels, ("a", "b", "c")).shares() == {"a": 0.9, "b": 0.1, "c": 0.0}
    shares = Faces(NOISE[:10], labels, ("a", "b", "c"), votes).shares()
    assert shares == pytest.approx({"a": 0.54, "b": 0.43, "c": 0.03})


@pytest.mark.parametrize("model", ["nano", "small", "base", "large"])
def test_recognizer_predicts_rare_emotions_more_often(model):
    training, uniform = (
        Recognizer(model, prior=prior, threads=1) for prior in ("training", "uniform")
    )
    shares = training.metadata["class_shares"]
    assert list(shares) == training.classes
    assert sum(shares.values()) == pytest.approx(1)
    before, after = training.classify(NOISE), uniform.classify(NOISE)
    np.testing.assert_allclose(after, with_uniform_prior(before, shares), rtol=1e-6)
    disgust = training.classes.index("Disgust")
    assert (after[:, disgust] > before[:, disgust]).all()
    (face,) = uniform.predict(NOISE[0], face=True)
    assert sum(face.probabilities.values()) == pytest.approx(1)


def test_what_cannot_be_done_is_one_line(tmp_path):
    with pytest.raises(FerError, match="prior is 'flat'; use 'training' or 'uniform'"):
        Recognizer(prior="flat")
    path = tmp_path / "old.onnx"
    path.write_bytes(Recognizer().path.read_bytes())
    export.write_metadata(path, {"warning": None}, "abcdefg")
    assert Recognizer(path).prior == "training"
    with pytest.raises(FerError, match="has no class shares; quantize it anew"):
        Recognizer(path, prior="uniform")
