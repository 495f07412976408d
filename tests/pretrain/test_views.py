"""Views: shapes, randomness, and that each parameter does what it says."""

import torch

from sigreg_lab.pretrain.views import ViewConfig, make_views
from sigreg_lab.slicing import seeded_generator

STILL = ViewConfig(rotation=0.0, scale=0.0, shift=0.0, contrast=0.0, noise=0.0)
PIXELS = torch.rand(5, 2, 8, 8, generator=torch.Generator().manual_seed(1))


def _views(config, seed=0, pixels=PIXELS, num_views=3):
    return make_views(pixels, num_views, seeded_generator(seed), config)


def test_with_everything_off_views_are_the_images():
    views = _views(STILL)
    assert views.shape == (3, 5, 2, 8, 8)
    assert torch.allclose(views, PIXELS.expand(3, -1, -1, -1, -1), atol=1e-5)


def test_the_generator_is_the_only_randomness():
    assert torch.equal(_views(ViewConfig()), _views(ViewConfig()))
    assert not torch.equal(_views(ViewConfig()), _views(ViewConfig(), seed=1))


def test_views_and_samples_differ_from_one_another():
    views = _views(ViewConfig(), pixels=PIXELS[:1].repeat(2, 1, 1, 1))
    flat = views.flatten(0, 1).flatten(1)
    assert torch.cdist(flat, flat).add(torch.eye(len(flat)) * 10).min() > 0.1


def test_noise_has_the_stated_standard_deviation():
    pixels = torch.zeros(200, 1, 8, 8)
    noise = _views(STILL._replace(noise=0.25), pixels=pixels, num_views=4)
    error = 0.25 / (2 * noise.numel()) ** 0.5
    assert abs(noise.std().item() - 0.25) < 4 * error


def test_a_shift_moves_mass_and_a_rotation_keeps_the_centre():
    dot = torch.zeros(1, 1, 9, 9)
    dot[..., 4, 4] = 1
    shifted = _views(STILL._replace(shift=0.3), pixels=dot, num_views=50)
    rotated = _views(STILL._replace(rotation=45.0), pixels=dot, num_views=50)
    assert (shifted[..., 4, 4] < 0.5).float().mean() > 0.3
    assert torch.allclose(rotated[..., 4, 4], torch.ones(50, 1, 1), atol=1e-5)


def test_contrast_scales_pixels_within_the_stated_range():
    views = _views(STILL._replace(contrast=0.3), pixels=torch.ones(100, 1, 4, 4), num_views=2)
    assert 0.7 <= views.min() < 0.72
    assert 1.28 < views.max() <= 1.3
