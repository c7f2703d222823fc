import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fer.core.params import Augment
from fer.training.augmentation import augment, center_crop

STRONG = Augment(flip=0.5, shift=4, rotation=20.0, scale=0.2, contrast=0.5)


def images(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 48, 48), dtype=torch.uint8, generator=generator)


def run(faces, strengths, seed=0):
    return augment(faces, strengths, torch.Generator().manual_seed(seed))


def test_zero_strengths_give_the_center_crop_and_flip_its_mirror_image():
    faces = images(5)
    plain = center_crop(faces)
    torch.testing.assert_close(run(faces, Augment()), plain, atol=1e-5, rtol=0)
    torch.testing.assert_close(run(faces, Augment(flip=1.0)), plain.flip(-1), atol=1e-5, rtol=0)


def test_shift_gives_every_possible_crop():
    faces = images(300)
    output = run(faces, Augment(shift=2))[:, 0]
    crops = torch.stack(
        [faces[:, y : y + 44, x : x + 44].float() / 255 for y in range(5) for x in range(5)], 1
    )
    distance = (crops - output[:, None]).abs().amax((2, 3))
    assert (distance.amin(1) < 1e-4).all()
    assert len(distance.argmin(1).unique()) == 25  # each crop is drawn


def test_rotation_by_90_degrees_matches_rot90():
    faces = images(1)
    rotated = run(faces.repeat(500, 1, 1), Augment(rotation=180.0))
    expected = center_crop(faces)[0].rot90(1, (-2, -1))
    # Some draws are close to 90 degrees. Smoothing removes the blur of their interpolation.
    smooth = torch.nn.functional.avg_pool2d
    distance = (smooth(rotated, 11) - smooth(expected, 11)).abs().amax((1, 2, 3))
    assert distance.min() < 0.02 < distance.max()


def test_scale_resizes_a_centered_square():
    faces = torch.zeros(400, 48, 48, dtype=torch.uint8)
    faces[:, 12:36, 12:36] = 255
    sides = run(faces, Augment(scale=0.25)).sum((1, 2, 3)).sqrt()  # in pixels
    assert sides.min() == pytest.approx(24 * 0.75, abs=0.5)
    assert sides.max() == pytest.approx(24 * 1.25, abs=0.5)


def test_contrast_keeps_the_mean():
    faces = images(200) // 4 + 96  # medium greys, so that nothing is clipped
    output = run(faces, Augment(contrast=0.3))
    plain = center_crop(faces)
    torch.testing.assert_close(output.mean((1, 2, 3)), plain.mean((1, 2, 3)), atol=1e-4, rtol=0)
    ratio = output.std((1, 2, 3)) / plain.std((1, 2, 3))
    assert 0.69 < ratio.min() < 0.75
    assert 1.25 < ratio.max() < 1.31


@pytest.mark.parametrize("size", [22, 32, 44])
def test_smaller_size_shows_the_same_face(size):
    faces = torch.arange(48, dtype=torch.uint8).repeat(3, 48, 1) * 5  # a ramp, linear at any size
    plain = center_crop(faces, size)
    assert plain.shape == (3, 1, size, size)
    torch.testing.assert_close(
        augment(faces, Augment(), torch.Generator(), size), plain, atol=1e-5, rtol=0
    )
    step = 5 * 44 / size / 255  # difference of grey between neighboring pixels
    torch.testing.assert_close(plain[0, 0, 0].diff(), torch.full((size - 1,), step))


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_output_has_its_range_and_shape_and_follows_the_seed(count, seed):
    faces = images(1).repeat(count, 1, 1)
    output = run(faces, STRONG, seed)
    assert output.shape == (count, 1, 44, 44)
    assert output.dtype == torch.float32
    assert 0 <= output.min() <= output.max() <= 1
    assert torch.equal(output, run(faces, STRONG, seed))
    assert len({face.numpy().tobytes() for face in output}) == count  # separate draws
