"""Damaged faces: drawn for training, and in the fixed ways by which models are measured."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import PARAMS
from PIL import Image

from fer.core.faces import Faces
from fer.core.params import DAMAGES, Augment
from fer.data.fer2013 import CLASSES
from fer.data.sample import draw
from fer.training import robustness
from fer.training.damage import _jpeg, damage
from fer.training.loading import make_loader

DAMAGE = PARAMS.damage
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def drawn():
    """14 drawn faces, uint8 [14, 48, 48]."""
    generator = np.random.default_rng(0)
    return np.stack([draw(emotion, generator) for emotion in CLASSES * 2])


def as_batch(images):
    return torch.tensor(images)[:, None, 2:46, 2:46] / 255


@settings(max_examples=20, deadline=None)
@given(
    size=st.sampled_from([24, 32, 44]),
    count=st.integers(0, 5),
    strengths=st.fixed_dictionaries(dict.fromkeys(DAMAGES, st.floats(0, 1))),
    seed=st.integers(0, 2**32 - 1),
)
def test_damage_keeps_shape_and_range_and_follows_from_its_seed(size, count, strengths, seed):
    faces = torch.rand(count, 1, size, size)
    before = faces.clone()
    first, again = (
        damage(faces, Augment(**strengths), torch.Generator().manual_seed(seed)) for _ in range(2)
    )
    assert torch.equal(first, again)
    assert torch.equal(faces, before)
    assert first.shape == faces.shape
    assert first.dtype == torch.float32
    assert ((first >= 0) & (first <= 1)).all()


@pytest.mark.parametrize("kind", DAMAGES)
def test_probability_is_the_share_of_damaged_faces(kind, drawn):
    faces = as_batch(np.tile(drawn, (40, 1, 1)))
    for probability, low, high in ((0.0, 0.0, 0.0), (0.3, 0.2, 0.4), (1.0, 1.0, 1.0)):
        changed = damage(faces, Augment(**{kind: probability}), torch.Generator().manual_seed(0))
        share = (changed != faces).flatten(1).any(1).double().mean()
        assert low <= share <= high


def test_jpeg_is_that_of_libjpeg(drawn):
    """Up to the rounding of pixels, for the quality in the middle of the range."""
    drawn = drawn[:, :40, :40]
    strengths = torch.full((len(drawn), 1, 1, 1), 0.5)
    changed = _jpeg(torch.tensor(drawn)[:, None] / 255, strengths)
    expected = []
    for image in drawn:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=40)
        expected.append(np.array(Image.open(file)))
    difference = np.abs(255 * changed[:, 0].clamp(0, 1).numpy() - np.array(expected))
    assert difference.mean() < 0.15 * np.abs(drawn.astype(float) - expected).mean() + 0.5


def test_teacher_sees_the_views_of_the_student_undamaged(faces):
    options = {"batch_size": 32, "seed": 0, "device": CPU}
    augment = Augment(flip=0.5, shift=2, noise=1.0)
    undamaged, student = (
        make_loader(faces, strengths, **options)
        for strengths in (augment.without_damage(), augment)
    )
    student.sampler.view = 0
    batches = {}
    for student.sampler.epoch in (0, 5):
        batches[student.sampler.epoch] = torch.cat([images for images, _ in student])
    teacher = torch.cat([images for images, _ in undamaged])
    assert not torch.equal(batches[0], batches[5])
    noise = (batches[5] - teacher).abs().mean((1, 2, 3))
    assert (noise < 0.06).all()  # the same faces, moved in the same way
    assert (noise > 0).all()


def test_damaged_copies_have_their_names_and_differ(drawn):
    copies = robustness.damaged(drawn, DAMAGE)
    expected = "resolution 32, resolution 24, jpeg 20, noise 10, gamma 0.6, gamma 1.6"
    assert list(
        copies
    ) == f"{expected}, contrast 0.5, box 0.85, box 1.2, rotation 12, motion 5".split(", ")
    for images in copies.values():
        assert images.shape == drawn.shape
        assert images.dtype == np.uint8
        assert (images != drawn).any((1, 2)).all()
    again = robustness.damaged(drawn, DAMAGE)
    assert all((copies[name] == again[name]).all() for name in copies)


def test_weakest_strengths_change_nothing(drawn):
    weakest = {"noise": [0.0], "gamma": [1.0], "contrast": [1.0], "box": [1.0]}
    options = DAMAGE.model_copy(
        update=dict.fromkeys(("resolution", "jpeg"), ())
        | weakest
        | {"rotation": [0.0], "motion": [1]}
    )
    for name, images in robustness.damaged(drawn, options).items():
        assert (images == drawn).all(), name


def test_tight_and_wide_boxes_are_seen_from_nearer_and_farther(drawn):
    copies = robustness.damaged(drawn, DAMAGE)
    for way, inner in (("box 0.85", slice(4, 44)), ("box 1.2", slice(0, 48))):
        for image, copy in zip(drawn, copies[way], strict=True):
            side = 48 if way == "box 0.85" else 40
            expected = Image.fromarray(image[inner, inner]).resize((side, side), Image.BILINEAR)
            margin = (48 - side) // 2
            actual = copy[margin : 48 - margin, margin : 48 - margin].astype(float)
            assert np.abs(actual - np.array(expected)).mean() < 3


def test_each_face_is_damaged_in_one_way_in_turn(drawn):
    faces = Faces(drawn, np.zeros(14, np.uint8), CLASSES)
    copies = list(robustness.damaged(drawn, DAMAGE).values())
    actual = robustness.damaged_in_turn(faces, DAMAGE)
    for number, image in enumerate(actual.images):
        assert (image == copies[number % len(copies)][number]).all()
    assert (actual.labels == faces.labels).all()
