import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fer.params import Augment
from fer.training.augmentation import augment, center_crop

STRONG = Augment(flip=0.5, shift=4, rotation=20.0, scale=0.2, contrast=0.5)


def images(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 48, 48), dtype=torch.uint8, generator=generator)


def run(faces, strengths, seed=0):
    return augment(faces, strengths, torch.Generator().manual_seed(seed))


def test_without_strengths_it_is_the_centre():
    faces = images(5)
    torch.testing.assert_close(run(faces, Augment()), center_crop(faces), atol=1e-5, rtol=0)


def test_flip_is_the_mirror_image():
    faces = images(5)
    mirrored = center_crop(faces).flip(-1)
    torch.testing.assert_close(run(faces, Augment(flip=1.0)), mirrored, atol=1e-5, rtol=0)


def test_shift_is_a_random_crop():
    faces = images(300)
    output = run(faces, Augment(shift=2))[:, 0]
    crops = torch.stack(
        [faces[:, y : y + 44, x : x + 44].float() / 255 for y in range(5) for x in range(5)], 1
    )
    distance = (crops - output[:, None]).abs().amax((2, 3))
    assert (distance.amin(1) < 1e-4).all()
    assert len(distance.argmin(1).unique()) == 25  # each crop is drawn


def test_turning_a_quarter_turn():
    faces = images(1)
    drawn = run(faces.repeat(500, 1, 1), Augment(rotation=180.0))
    turned = center_crop(faces)[0].rot90(1, (-2, -1))
    # Some draw lies near a quarter turn, where the faces must agree in all but the blur.
    smooth = torch.nn.functional.avg_pool2d
    distance = (smooth(drawn, 11) - smooth(turned, 11)).abs().amax((1, 2, 3))
    assert distance.min() < 0.02 < distance.max()


def test_scale_keeps_the_middle_and_moves_the_rest():
    faces = torch.zeros(400, 48, 48, dtype=torch.uint8)
    faces[:, 12:36, 12:36] = 255
    areas = run(faces, Augment(scale=0.25)).sum((1, 2, 3)).sqrt()  # side of the square
    assert areas.min() == pytest.approx(24 * 0.75, abs=0.5)
    assert areas.max() == pytest.approx(24 * 1.25, abs=0.5)


def test_contrast_keeps_the_mean():
    faces = images(200) // 4 + 96  # grey enough that nothing is clipped
    output = run(faces, Augment(contrast=0.3))
    plain = center_crop(faces)
    torch.testing.assert_close(output.mean((1, 2, 3)), plain.mean((1, 2, 3)), atol=1e-4, rtol=0)
    ratio = output.std((1, 2, 3)) / plain.std((1, 2, 3))
    assert 0.69 < ratio.min() < 0.75
    assert 1.25 < ratio.max() < 1.31


@pytest.mark.parametrize("size", [22, 32, 44])
def test_smaller_is_the_same_face(size):
    faces = torch.arange(48, dtype=torch.uint8).repeat(3, 48, 1) * 5  # a ramp, which no size bends
    plain = center_crop(faces, size)
    assert plain.shape == (3, 1, size, size)
    torch.testing.assert_close(
        augment(faces, Augment(), torch.Generator(), size), plain, atol=1e-5, rtol=0
    )
    step = 5 * 44 / size / 255  # of grey from a pixel to the next
    torch.testing.assert_close(plain[0, 0, 0].diff(), torch.full((size - 1,), step))


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_range_shape_and_seed(count, seed):
    faces = images(count)
    output = run(faces, STRONG, seed)
    assert output.shape == (count, 1, 44, 44)
    assert output.dtype == torch.float32
    assert 0 <= output.min() <= output.max() <= 1
    assert torch.equal(output, run(faces, STRONG, seed))


def test_each_face_gets_its_own_draw():
    output = run(images(1).repeat(50, 1, 1), STRONG)
    assert len({face.numpy().tobytes() for face in output}) == 50
